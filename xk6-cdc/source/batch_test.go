package source

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
)

const (
	// endSession changes a customer and ends the session.
	endSession = `UPDATE public.customer ` +
		`SET status = pg_terminate_backend(pg_backend_pid())::text WHERE id = $1`
	// refuseDeletes makes a commit fail after a delete of a customer.
	refuseDeletes = `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql ` +
		`AS $$ BEGIN RAISE 'refused'; END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER DELETE ON public.customer ` +
		`DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`
)

// insertOf inserts a customer of the key.
func insertOf(key string) Query {
	return Query{
		`INSERT INTO public.customer (id, email, status) VALUES ($1, 'a@example.com', 'active')`,
		[]any{key},
	}
}

// Each statement of a batch has the same fate as alone.
func TestPipelineFates(t *testing.T) {
	t.Parallel()
	database := servertest.StartPostgres(t)
	s, err := Open(t.Context(), database.DSN(), 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const key = "4c6f7574-0000-4000-8000-00000000000"
	insert := func(n string) Query { return insertOf(key + n) }
	type fates []ledger.Fate
	const a, f, i = ledger.Acked, ledger.Failed, ledger.Indeterminate
	check := func(name string, want fates, reasons string, statements ...Query) {
		t.Helper()
		var got fates
		var said []string
		s.Batch(t.Context(), statements, func(n int, fate ledger.Fate, err error) {
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
		if err := s.pool.QueryRow(t.Context(),
			`SELECT count(*) FROM public.customer`).Scan(&got); err != nil || got != want {
			t.Errorf("%d rows, %v; want %d", got, err, want)
		}
	}
	check("all", fates{a, a, a}, "", insert("1"), insert("2"), insert("3"))
	check("a key twice", fates{a, f, a}, "23505", insert("4"), insert("1"), insert("5"))
	rows(5)
	check("no such row", fates{f, a}, "did not change one row: DELETE 0",
		Query{`DELETE FROM public.customer WHERE id = $1`, []any{key + "9"}},
		Query{`DELETE FROM public.customer WHERE id = $1`, []any{key + "5"}})
	check("no such table", fates{a, f, a}, "42P01", insert("5"), Query{`DELETE FROM nothing`, nil},
		insert("6"))
	check("no such type", fates{a, f, a}, "failed to encode", insert("7"),
		Query{`INSERT INTO public.customer (id, email, status) VALUES ($1, 'a@example.com', ` +
			`'active')`,
			[]any{struct{}{}}}, insert("8"))
	check("too slow", fates{f, a}, "57014",
		Query{`UPDATE public.customer SET status = 'x' || pg_sleep(5)`, nil},
		Query{`DELETE FROM public.customer WHERE id = $1`, []any{key + "8"}})
	rows(7)
	database.Run(t, refuseDeletes)
	check("refused by the commit", fates{a, f, a}, "refused", insert("8"),
		Query{`DELETE FROM public.customer WHERE id = $1`, []any{key + "1"}}, insert("9"))
	rows(9)
	check("the session is ended", fates{a, i, i}, "57P01",
		Query{`UPDATE public.customer SET status = 'x' WHERE id = $1`, []any{key + "2"}},
		Query{endSession, []any{key + "1"}},
		Query{`UPDATE public.customer SET status = 'x' WHERE id = $1`, []any{key + "3"}})
	check("after that", fates{a, a}, "",
		Query{`UPDATE public.customer SET status = 'y' WHERE id = $1`, []any{key + "2"}},
		Query{`UPDATE public.customer SET status = 'y' WHERE id = $1`, []any{key + "3"}})
	database.Kill()
	check("the server is away", fates{f, f}, "", insert("8"), insert("9"))
}
