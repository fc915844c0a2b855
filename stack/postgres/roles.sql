-- Roles of least privilege, one for each part that comes to the database of schema.sql. None has a
-- password yet, and a role without one cannot log in.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['cdclab_generator', 'cdclab_connector', 'cdclab_check',
        'cdclab_monitor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        END IF;
    END LOOP;
END $$;
-- Nobody else may connect, or make tables that the publication would then replicate.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', pg_catalog.current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO cdclab_generator, cdclab_connector, cdclab_check, '
        'cdclab_monitor', pg_catalog.current_database());
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- The generator writes rows.
GRANT SELECT, INSERT, UPDATE, DELETE
    ON public.customer, public.address, public."order", public.order_item TO cdclab_generator;

-- The table check reads rows.
GRANT SELECT ON public.customer, public.address, public."order", public.order_item TO cdclab_check;

-- The exporter of metrics reads the server's statistics, and no row.
GRANT pg_monitor TO cdclab_monitor;

-- The connector streams the log and reads every table of the publication, also one made later; an
-- incremental snapshot marks chunks in the table of signals.
ALTER ROLE cdclab_connector REPLICATION;
GRANT USAGE ON SCHEMA debezium TO cdclab_connector;
GRANT SELECT ON ALL TABLES IN SCHEMA public, debezium TO cdclab_connector;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO cdclab_connector;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO cdclab_connector;
GRANT INSERT ON debezium.signal TO cdclab_connector;
