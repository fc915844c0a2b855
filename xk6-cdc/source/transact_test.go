package source

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
)

func TestTransactFates(t *testing.T) {
	t.Parallel()
	database := servertest.StartPostgres(t)
	s, err := Open(t.Context(), database.DSN(), 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const key = "4c6f7574-0000-4000-8000-00000000000"
	insert := func(n string) Query { return insertOf(key + n) }
	check := func(name string, want ledger.Fate, reason string, statements ...Query) error {
		t.Helper()
		fate, err := s.Transact(t.Context(), statements)
		if fate != want || (err == nil) != (want == ledger.Acked) || err != nil &&
			!strings.Contains(err.Error(), reason) {
			t.Errorf("%s: got %s, %v; want %s %q", name, fate, err, want, reason)
		}
		return err
	}
	rows := func(want int) {
		t.Helper()
		var got int
		if err := s.pool.QueryRow(t.Context(),
			`SELECT count(*) FROM public.customer`).Scan(&got); err != nil || got != want {
			t.Errorf("%d rows, %v; want %d", got, err, want)
		}
	}
	check("two", ledger.Acked, "", insert("1"), insert("2"))
	check("a key twice", ledger.Failed, "write 2 of a transaction of 3: ERROR", insert("3"),
		insert("1"), insert("4"))
	rows(2)
	err = check("no such row", ledger.Failed,
		"write 2 of a transaction of 2: the statement did not change one row: DELETE 0",
		insert("5"), Query{`DELETE FROM public.customer WHERE id = $1`, []any{key + "9"}})
	var missing *NoRowError
	if !errors.As(err, &missing) || missing.Statement != 1 {
		t.Errorf("got %#v", err)
	}
	check("too slow", ledger.Failed, "57014", insert("6"),
		Query{`UPDATE public.customer SET status = 'x' || pg_sleep(5)`, nil})
	check("its session is ended before the commit", ledger.Failed, "57P01", insert("7"),
		Query{endSession, []any{key + "1"}})
	rows(2)
	database.Run(t, refuseDeletes)
	check("refused by the commit", ledger.Failed, "commit a transaction of 2: ERROR: refused",
		insert("8"),
		Query{`DELETE FROM public.customer WHERE id = $1`, []any{key + "1"}})
	rows(2)
	database.Run(t, `CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$`)
	check("its session is ended by the commit", ledger.Indeterminate, "57P01", insert("8"),
		Query{`DELETE FROM public.customer WHERE id = $1`, []any{key + "1"}})
	rows(2)
	database.Kill()
	check("the server is away", ledger.Failed, "", insert("8"), insert("9"))
}

// TestTraced: a write with a trace context is committed like any other, and the reason of a failed
// write counts the write alone.
func TestTraced(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), servertest.StartPostgres(t).DSN(), 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const key = "4c6f7574-0000-4000-8000-000000000001"
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	fate, err := s.Traced(t.Context(), parent, insertOf(key))
	if fate != ledger.Acked || err != nil {
		t.Errorf("%s, %v", fate, err)
	}
	remove := Query{`DELETE FROM public.customer WHERE id = $1`, []any{key}}
	if fate, err = s.Traced(t.Context(), parent, remove); fate != ledger.Acked || err != nil {
		t.Errorf("%s, %v", fate, err)
	}
	fate, err = s.Traced(t.Context(), parent, remove)
	var missing *NoRowError
	if fate != ledger.Failed || !errors.As(err, &missing) || missing.Statement != 0 {
		t.Errorf("%s, %#v", fate, err)
	}
}
