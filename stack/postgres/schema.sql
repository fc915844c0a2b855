-- The source schema of the lab: spec 2.3, four tables. lab_version is the lab's own column: the id
-- of the write that made this version of the row, which the tracker waits for in MongoDB.
CREATE TABLE public.customer (
    id          uuid PRIMARY KEY,
    email       text NOT NULL,
    status      text NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    lab_version bigint NOT NULL DEFAULT 0
);

CREATE TABLE public.address (
    id          uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES public.customer (id),
    type        text NOT NULL,
    street      text,
    city        text,
    state       text,
    postal_code text,
    country     text,
    is_default  boolean NOT NULL DEFAULT false,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    lab_version bigint NOT NULL DEFAULT 0
);
CREATE INDEX address_customer_id ON public.address (customer_id);

CREATE TABLE public."order" (
    id           uuid PRIMARY KEY,
    customer_id  uuid NOT NULL REFERENCES public.customer (id),
    status       text NOT NULL,
    total_amount numeric(12, 2) NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    lab_version  bigint NOT NULL DEFAULT 0
);
CREATE INDEX order_customer_id ON public."order" (customer_id);

CREATE TABLE public.order_item (
    id           uuid PRIMARY KEY,
    order_id     uuid NOT NULL REFERENCES public."order" (id),
    product_sku  text NOT NULL,
    product_name text NOT NULL,
    quantity     integer NOT NULL,
    unit_price   numeric(12, 2) NOT NULL,
    line_total   numeric(12, 2) NOT NULL,
    lab_version  bigint NOT NULL DEFAULT 0
);
CREATE INDEX order_item_order_id ON public.order_item (order_id);

-- An item lives inside its order's document: a delete must name the order, and the key alone does not.
ALTER TABLE public.order_item REPLICA IDENTITY FULL;

CREATE PUBLICATION cdclab FOR ALL TABLES;

-- Signals for Debezium (signal.data.collection), in a schema of its own: public holds what is captured.
CREATE SCHEMA debezium;
CREATE TABLE debezium.signal (
    id   text PRIMARY KEY,
    type text NOT NULL,
    data text
);
