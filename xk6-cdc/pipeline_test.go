package cdc

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.k6.io/k6/lib"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// Each statement of a batch has the fate that it would have alone.
func TestPipelineFates(t *testing.T) {
	t.Parallel()
	database := startDatabase(t)
	s, err := openSource(t.Context(), database.dsn(), 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	const key = "4c6f7574-0000-4000-8000-00000000000"
	insert := func(n string) query {
		return query{`INSERT INTO customer (id, email, status) VALUES ($1, 'a@example.com', 'active')`, []any{key + n}}
	}
	type fates []ledger.Fate
	const a, f, i = ledger.Acked, ledger.Failed, ledger.Indeterminate
	check := func(name string, want fates, reasons string, statements ...query) {
		t.Helper()
		var got fates
		var said []string
		s.pipeline(t.Context(), statements, func(n int, fate ledger.Fate, err error) {
			if n != len(got) {
				t.Errorf("%s: statement %d is known after %d others", name, n, len(got))
			}
			got = append(got, fate)
			if (err == nil) != (fate == ledger.Acked) {
				t.Errorf("%s: statement %d is %s: %v", name, n, fate, err)
			}
			if err != nil {
				said = append(said, err.Error())
			}
		})
		if !slices.Equal(got, want) || !strings.Contains(strings.Join(said, "; "), reasons) {
			t.Errorf("%s: got %v, want %v; %q in %q", name, got, want, reasons, said)
		}
	}
	rows := func(want int) {
		t.Helper()
		var got int
		if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM customer`).Scan(&got); err != nil || got != want {
			t.Errorf("%d rows, %v; want %d", got, err, want)
		}
	}
	check("all", fates{a, a, a}, "", insert("1"), insert("2"), insert("3"))
	check("a key twice", fates{a, f, a}, "23505", insert("4"), insert("1"), insert("5"))
	rows(5)
	check("no such row", fates{f, a}, "did not change one row: DELETE 0",
		query{`DELETE FROM customer WHERE id = $1`, []any{key + "9"}}, query{`DELETE FROM customer WHERE id = $1`, []any{key + "5"}})
	check("no such table", fates{a, f, a}, "42P01", insert("5"), query{`DELETE FROM nothing`, nil}, insert("6"))
	check("no such type", fates{a, f, a}, "failed to encode", insert("7"),
		query{`INSERT INTO customer (id, email, status) VALUES ($1, 'a@example.com', 'active')`, []any{struct{}{}}}, insert("8"))
	check("too slow", fates{f, a}, "57014", query{`UPDATE customer SET status = 'x' || pg_sleep(5)`, nil},
		query{`DELETE FROM customer WHERE id = $1`, []any{key + "8"}})
	rows(7)
	database.run(t, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER DELETE ON customer DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	check("refused by the commit", fates{a, f, a}, "refused", insert("8"),
		query{`DELETE FROM customer WHERE id = $1`, []any{key + "1"}}, insert("9"))
	rows(9)
	check("the session is ended", fates{a, i, i}, "57P01", query{`UPDATE customer SET status = 'x' WHERE id = $1`, []any{key + "2"}},
		query{`UPDATE customer SET status = pg_terminate_backend(pg_backend_pid())::text WHERE id = $1`, []any{key + "1"}},
		query{`UPDATE customer SET status = 'x' WHERE id = $1`, []any{key + "3"}})
	check("after that", fates{a, a}, "", query{`UPDATE customer SET status = 'y' WHERE id = $1`, []any{key + "2"}},
		query{`UPDATE customer SET status = 'y' WHERE id = $1`, []any{key + "3"}})
	database.kill()
	check("the server is away", fates{f, f}, "", insert("8"), insert("9"))
}

// A burst on one connection, in batches of which some writes fail: every write has its own fate and is
// seen, and for each row the order of the IDs is the order of the commits.
func TestLabBatches(t *testing.T) {
	t.Parallel()
	target, source := startServer(t), startDatabase(t)
	lab, _ := labOn(t, target, func(o *Options) {
		o.Postgres, o.SeedRows, o.Workers, o.Batch, o.Entities = source.dsn(), 20, 1, 50, Entities{Customer: 1}
	})
	startCopier(t, source, target, lab.options.Database)
	if err := lab.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	source.run(t, `CREATE TABLE log AS SELECT 0::bigint AS number, ''::text AS key, 0::bigint AS version LIMIT 0;
		CREATE SEQUENCE numbers;
		CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO log VALUES (nextval('numbers'), NEW.id, NEW.lab_version); RETURN NULL; END $$;
		CREATE TRIGGER log AFTER INSERT OR UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION log();
		ALTER TABLE customer ADD CHECK (lab_version % 7 <> 0) NOT VALID`)
	const writes = 500
	for range writes {
		now := lab.now()
		if err := lab.enqueue(request{scenario: "load", mix: Mix{20, 70, 10}, intendedNs: now, enqueuedNs: now,
			part: part{entity: anyEntity}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	_, lines, end := readLedger(t, lab)
	batches, acked := map[int64]int{}, 0
	for _, w := range lines {
		if w.Scenario != "load" {
			continue
		}
		batches[w.SentNs]++
		failed := w.Op != ledger.Delete && w.ID%7 == 0
		if (w.Fate == ledger.Failed) != failed || failed != strings.Contains(w.Error, "23514") {
			t.Errorf("%+v", w)
		}
		if w.Fate == ledger.Acked {
			acked++
			if w.VisibleNs == 0 || w.CommittedNs <= w.SentNs {
				t.Errorf("%+v", w)
			}
		}
	}
	most := 0
	for _, n := range batches {
		most = max(most, n)
	}
	if len(lines) != 20+writes || end.Outstanding != 0 || most > 50 || most < 10 || acked < writes*8/10 {
		t.Errorf("%d lines, %d acked, the largest batch is %d, end %+v", len(lines), acked, most, end)
	}
	connection, err := openSource(t.Context(), source.dsn(), 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.close()
	var disorder int
	err = connection.pool.QueryRow(t.Context(), `SELECT count(*) FROM (SELECT version < lag(version) OVER
		(PARTITION BY key ORDER BY number) AS back FROM log) AS l WHERE back`).Scan(&disorder)
	if err != nil || disorder > 0 {
		t.Errorf("%d commits after one of a later ID, %v", disorder, err)
	}
}
