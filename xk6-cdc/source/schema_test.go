package source

import (
	"errors"
	"testing"
	"time"

	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
)

// traps leads every session of the role elsewhere: tables of the same names in other schemas, a
// function of the same name, and settings of the role, of the database and of both.
const traps = `
	CREATE SCHEMA other;
	CREATE SCHEMA cdclab_generator;
	CREATE TABLE other.customer (LIKE public.customer INCLUDING ALL);
	CREATE TABLE cdclab_generator.customer (LIKE public.customer INCLUDING ALL);
	GRANT ALL ON SCHEMA other, cdclab_generator TO cdclab_generator;
	GRANT ALL ON other.customer, cdclab_generator.customer TO cdclab_generator;
	CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql
		AS $$ BEGIN RAISE 'not the now of PostgreSQL'; END $$;
	ALTER ROLE cdclab_generator SET search_path = other, public;
	ALTER DATABASE lab SET search_path = other;
	ALTER ROLE cdclab_generator IN DATABASE lab SET search_path = other, public, pg_catalog`

// loginTrap sets the path after the client's own settings.
const loginTrap = `
	CREATE FUNCTION lead() RETURNS event_trigger LANGUAGE plpgsql
		AS $$ BEGIN PERFORM set_config('search_path', 'other', false); END $$;
	CREATE EVENT TRIGGER lead ON login EXECUTE FUNCTION lead();
	ALTER EVENT TRIGGER lead ENABLE ALWAYS`

// The generator writes to the named schema, or to none.
func TestStatementsStayInTheirSchema(t *testing.T) {
	t.Parallel()
	database := servertest.StartPostgres(t)
	database.Run(t, traps)
	var version int
	database.Scan(t, `SELECT current_setting('server_version_num')::int`, &version)
	const hasLoginTriggers = 170000
	if version >= hasLoginTriggers {
		database.Run(t, loginTrap)
	}
	dsn := database.DSNFor(postgres.Generator)
	s, err := Open(t.Context(), dsn, 2, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const key = "4c6f7574-0000-4000-8000-000000000001"
	for _, write := range []struct {
		sql  string
		fate ledger.Fate
	}{
		{`INSERT INTO public.customer (id, email, status) VALUES ($1, 'a@example.com', 'x')`,
			ledger.Acked},
		{`UPDATE public.customer SET updated_at = now() WHERE id = $1`, ledger.Acked},
		{`UPDATE customer SET status = 'y' WHERE id = $1`, ledger.Acked},
		{`INSERT INTO cdclab_connector.customer (id) VALUES ($1)`, ledger.Failed},
	} {
		fate, err := s.Execute(t.Context(), write.sql, []any{key})
		if fate != write.fate {
			t.Errorf("%s: %s, %v", write.sql, fate, err)
		}
	}
	var ours, theirs int
	database.Scan(t, `SELECT (SELECT count(*) FROM public.customer),
		(SELECT count(*) FROM other.customer) +
		(SELECT count(*) FROM cdclab_generator.customer)`, &ours, &theirs)
	if ours != 1 || theirs != 0 {
		t.Errorf("%d rows in the named schema and %d in others, want 1 and 0", ours, theirs)
	}
	for _, setting := range []string{"search_path=other", "options=-csearch_path%3Dother",
		"role=postgres", "service=x"} {
		if _, err := Open(t.Context(), dsn+"&"+setting, 1, time.Second); err == nil ||
			setting != "service=x" && !errors.Is(err, pg.ErrSetting) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}
