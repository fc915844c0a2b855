package source

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
)

func TestFateOf(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err    error
		closed bool
		want   ledger.Fate
	}{
		"refused": {&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "23505"},
			false, ledger.Failed},
		"statement timeout": {&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "57014"},
			false, ledger.Failed},
		"the session was ended": {&pgconn.PgError{SeverityUnlocalized: "FATAL", Code: "57P01"},
			true, ledger.Indeterminate},
		"completion unknown": {&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "40003"},
			false, ledger.Indeterminate},
		"broken connection":       {errors.New("EOF"), true, ledger.Indeterminate},
		"an argument was refused": {errors.New("cannot encode"), false, ledger.Failed},
	} {
		if got := fateOf(test.err, test.closed); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

func TestExecuteFates(t *testing.T) {
	t.Parallel()
	database := servertest.StartPostgres(t)
	const timeout = 500 * time.Millisecond
	s, err := Open(t.Context(), database.DSN(), 2, timeout)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const insert = `INSERT INTO public.customer (id, email, status) VALUES ($1, ` +
		`'a@example.com', 'active')`
	const key = "4c6f7574-0000-4000-8000-000000000001"
	check := func(name string, want ledger.Fate, reason, sql string, arguments ...any) {
		t.Helper()
		fate, err := s.Execute(t.Context(), sql, arguments)
		if fate != want || (err == nil) != (want == ledger.Acked) || err != nil &&
			!strings.Contains(err.Error(), reason) {
			t.Errorf("%s: got %s, %v; want %s %q", name, fate, err, want, reason)
		}
	}
	check("insert", ledger.Acked, "", insert, key)
	check("again", ledger.Failed, "23505", insert, key)
	check("no such row", ledger.Failed, "did not change one row",
		`DELETE FROM public.customer WHERE id = $1`, key[:35]+"9")
	check("an argument of the wrong type", ledger.Failed, "encode",
		`UPDATE public.customer SET lab_version = $1`, struct{}{})
	check("too slow", ledger.Failed, "57014",
		`UPDATE public.customer SET status = 'x' || pg_sleep(5) WHERE id = $1`, key)
	check("its session is ended", ledger.Indeterminate, "57P01",
		`UPDATE public.customer SET status = pg_terminate_backend(pg_backend_pid())::text WHERE `+
			`id = $1`,
		key)
	database.Kill()
	// on the connection left over
	check("the server is away", ledger.Indeterminate, "", insert, key)
	check("still", ledger.Failed, "no connection within 500ms", insert, key)
	database.Start(t)
	check("back", ledger.Acked, "", `UPDATE public.customer SET status = 'paused' WHERE id = $1`,
		key)
}

// A worker waits for PostgreSQL's restart, so that the worker's write is late and not lost.
func TestExecuteWaitsForARestart(t *testing.T) {
	t.Parallel()
	database := servertest.StartPostgres(t)
	s, err := Open(t.Context(), database.DSN(), 1, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	database.Kill()
	const probe = `INSERT INTO public.customer (id, email, status) VALUES (gen_random_uuid(), ` +
		`'a', 'b')`
	_, _ = s.Execute(t.Context(), probe, nil) // ends the dead connection
	result := make(chan error)
	go func() {
		_, err := s.Execute(t.Context(), probe, nil)
		result <- err
	}()
	database.Start(t)
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestOpenSourceErrors(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, dsn := range []string{"postgres://user:secret@127.0.0.1:1/x",
		"postgres://user:secret@127.0.0.1:port/x"} {
		_, err := Open(ctx, dsn, 1, time.Second)
		if err == nil || !strings.Contains(err.Error(), `option "postgres"`) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", dsn, err)
		}
	}
}
