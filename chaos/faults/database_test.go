package faults

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/servertest"
)

// siteAt is the Site of a fault on a PostgreSQL of the test.
func siteAt(t *testing.T, server *postgres.Server, kind Kind, with Values) Site {
	t.Helper()
	return Site{Target: stack.Postgres, With: with.WithDefaults(kind), Part: server,
		Ends: []stack.Component{server}, At: stack.Endpoints{PostgresDSN: server.DSN(),
			CheckDSN: server.DSNFor(postgres.Check)}}
}

// bound binds a fault on PostgreSQL; the fault is undone when the test ends, if not before.
func bound(t *testing.T, server *postgres.Server, name string) *Injection {
	t.Helper()
	kind, ok := Find(name)
	if !ok {
		t.Fatalf("no fault %s", name)
	}
	i := kind.Bind(siteAt(t, server, kind, nil))
	t.Cleanup(func() {
		if err := i.Undo(context.Background()); err != nil {
			t.Errorf("undo %s: %v", name, err)
		}
	})
	return i
}

// proven wants evidence, or the reason why there is none.
func proven(t *testing.T, i *Injection, evidence, missing string) {
	t.Helper()
	got, err := i.During(t.Context())
	switch {
	case missing == "" && (err != nil || !strings.Contains(got, evidence)):
		t.Errorf("evidence %q, error %v, want %q", got, err, evidence)
	case missing != "" && (err == nil || !strings.Contains(err.Error(), missing) || got != ""):
		t.Errorf("evidence %q, error %v, want none: %q", got, err, missing)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const insertCustomer = `INSERT INTO customer (id, email, status, lab_version)
	VALUES (gen_random_uuid(), 'a@example.com', 'ACTIVE', 1 + (SELECT count(*) FROM customer))`

// TestDatabaseFaults breaks a real PostgreSQL in each way, and takes the effect away again.
func TestDatabaseFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("starts PostgreSQL")
	}
	server := servertest.Postgres(t, "fsync = off", "max_connections = 20")
	conn := servertest.Connect(t, server.DSN())
	exec := func(t *testing.T, sql string) {
		t.Helper()
		_, err := conn.Exec(t.Context(), sql)
		must(t, err)
	}
	t.Run("slot-held", func(t *testing.T) {
		exec(t, "SELECT pg_create_logical_replication_slot('"+stack.Slot+"', 'pgoutput')")
		defer exec(t, "SELECT pg_drop_replication_slot('"+stack.Slot+"')")
		i := bound(t, server, "slot-held")
		must(t, i.Inject(t.Context()))
		exec(t, insertCustomer)
		proven(t, i, "slot cdclab held at ", "")
		exec(t, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
			WHERE state = 'idle in transaction'`)
		proven(t, i, "", "the transaction ended before the fault did")
	})
	t.Run("table-locked", func(t *testing.T) {
		i := bound(t, server, "table-locked")
		must(t, i.Inject(t.Context()))
		proven(t, i, "", "0 writers wait")
		written := make(chan error, 1)
		go func() { _, err := conn.Exec(context.Background(), insertCustomer); written <- err }()
		awaitWaiting(t, server.DSN())
		proven(t, i, `1 writers wait for the lock on "public"."customer"`, "")
		must(t, i.Undo(t.Context()))
		must(t, <-written)
		proven(t, i, "", "there is no transaction")
	})
	t.Run("column-added", func(t *testing.T) {
		i := bound(t, server, "column-added")
		must(t, i.Inject(t.Context()))
		proven(t, i, "", "there was no load")
		exec(t, insertCustomer)
		proven(t, i, "1 rows of", "")
		must(t, i.Undo(t.Context()))
		proven(t, i, "", "chaos_column")
	})
	t.Run("connections-exhausted", func(t *testing.T) { testExhausted(t, server) })
	t.Run("replication-cut and slot-dropped", func(t *testing.T) { testStreaming(t, server, conn) })
	t.Run("slot-invalidated", func(t *testing.T) { testInvalidated(t, server, conn) })
	t.Run("clock-shifted", func(t *testing.T) { testClock(t, server) })
	t.Run("immediate-shutdown", func(t *testing.T) { testShutdown(t, server) })
}

// awaitWaiting waits until somebody waits for a lock.
func awaitWaiting(t *testing.T, dsn string) {
	t.Helper()
	must(t, until(t.Context(), func() error {
		var waiting bool
		err := ask(t.Context(), dsn, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)", nil,
			&waiting)
		if err == nil && !waiting {
			err = context.DeadlineExceeded
		}
		return err
	}))
}

// testStreaming: the connector comes after the first look for a stream, as after another fault.
func testStreaming(t *testing.T, server *postgres.Server, conn *pgx.Conn) {
	_, err := conn.Exec(t.Context(),
		"SELECT pg_create_logical_replication_slot('"+stack.Slot+"', 'pgoutput')")
	must(t, err)
	cut, i := bound(t, server, "replication-cut"), bound(t, server, "slot-dropped")
	looks := func() (n int) {
		must(t, conn.QueryRow(t.Context(), `SELECT sessions FROM pg_stat_database
			WHERE datname = current_database()`).Scan(&n))
		return n
	}
	before, injected := looks(), make(chan error, 1)
	go func() { injected <- cut.Inject(t.Context()) }()
	must(t, until(t.Context(), func() error {
		if looks() == before {
			return errors.New("nobody looked")
		}
		return nil
	}))
	stream(t, server.DSN())
	must(t, <-injected)
	proven(t, cut, " gone", "")
	_, err = cut.After(t.Context())
	must(t, err)
	must(t, i.Inject(t.Context()))
	proven(t, i, "slot cdclab was dropped before ", "")
	if err := i.Inject(t.Context()); err == nil || !strings.Contains(err.Error(), "cdclab") {
		t.Errorf("a slot that is not there: %v", err)
	}
}

// stream streams from the slot, and again at once after each break, until the test ends.
func stream(t *testing.T, dsn string) {
	t.Helper()
	config, err := pgconn.ParseConfig(dsn)
	must(t, err)
	config.RuntimeParams["replication"] = "database"
	go func() {
		for t.Context().Err() == nil {
			conn, err := pgconn.ConnectConfig(t.Context(), config)
			if err != nil {
				continue
			}
			_, _ = conn.Exec(t.Context(), "START_REPLICATION SLOT "+stack.Slot+
				" LOGICAL 0/0 (proto_version '1', publication_names 'none')").ReadAll()
			_ = conn.Close(context.Background())
		}
	}()
}

// idle is a connector that the test need not run.
type idle struct {
	stack.Component
	starts int
}

func (c *idle) Stop(context.Context) error   { return nil }
func (c *idle) Start(context.Context) error  { c.starts++; return nil }
func (c *idle) Health(context.Context) error { return context.Canceled }

func testInvalidated(t *testing.T, server *postgres.Server, conn *pgx.Conn) {
	_, err := conn.Exec(t.Context(),
		"SELECT pg_create_logical_replication_slot('"+stack.Slot+"', 'pgoutput')")
	must(t, err)
	kind, _ := Find("slot-invalidated")
	site := siteAt(t, server, kind, nil)
	connector := &idle{}
	site.Part = connector
	i := kind.Bind(site)
	proven(t, i, "", "wal_status of slot cdclab is ")
	must(t, i.Inject(t.Context()))
	proven(t, i, "wal_status of slot cdclab is lost", "")
	must(t, i.Undo(t.Context()))
	proven(t, i, "", "wal_status of slot cdclab is none")
	var size string
	must(t, conn.QueryRow(t.Context(), "SELECT setting FROM pg_settings "+
		"WHERE name = 'max_slot_wal_keep_size'").Scan(&size))
	if size != "-1" || connector.starts != 1 {
		t.Errorf("max_slot_wal_keep_size %s, %d starts of the connector", size, connector.starts)
	}
}

// testExhausted: after the end the role connects again.
func testExhausted(t *testing.T, server *postgres.Server) {
	i := bound(t, server, "connections-exhausted")
	must(t, i.Inject(t.Context()))
	proven(t, i, "a further one refused", "")
	must(t, i.Undo(t.Context()))
	further := siteAt(t, server, Kind{}, nil).At.CheckDSN
	open, err := pg.Connect(t.Context(), further)
	must(t, err)
	must(t, open.Close(t.Context()))
	proven(t, i, "", "a further connection was not refused")
}

// TestAskDuringARestart: a question for the proof of a fault waits for a PostgreSQL that another
// fault has down.
func TestAskDuringARestart(t *testing.T) {
	t.Parallel()
	server := servertest.Postgres(t)
	must(t, server.Kill())
	started := make(chan error, 1)
	go func() { started <- server.Start(t.Context()) }()
	var one int
	if err := ask(t.Context(), server.DSN(), "SELECT 1", nil, &one); err != nil || one != 1 {
		t.Errorf("%d, %v", one, err)
	}
	must(t, <-started)
}

// testShutdown: other processes come after the start, and recover; after a shutdown in good order
// there is nothing to recover.
func testShutdown(t *testing.T, server *postgres.Server) {
	i := bound(t, server, "immediate-shutdown")
	before := server.PIDs()
	must(t, i.Inject(t.Context()))
	proven(t, i, "gone", "")
	must(t, i.Undo(t.Context()))
	after, err := i.After(t.Context())
	if err != nil || !strings.Contains(after, "came and recovered") || len(before) == 0 {
		t.Errorf("%q %v", after, err)
	}
	proven(t, i, "", "served during the fault")
	must(t, errors.Join(server.Stop(t.Context()), server.Start(t.Context())))
	if after, err := i.After(t.Context()); err == nil {
		t.Errorf("after a shutdown in good order: %q", after)
	}
	i.Undo = func(context.Context) error { return nil } // it runs
}

// testClock: a clock that was not shifted is no evidence, and the machine's clock is back after the
// end.
func testClock(t *testing.T, server *postgres.Server) {
	kind, _ := Find("clock-shifted")
	site := siteAt(t, server, kind, Values{"clock": "behind", "by": "2h"})
	if err := kind.ImpossibleOn(stack.Embedded, stack.Postgres); err != nil {
		t.Skip(err)
	}
	i := kind.Bind(site)
	proven(t, i, "", "the clock of postgres is off by 0s, want -2h0m0s")
	must(t, i.Inject(t.Context()))
	proven(t, i, "the clock of postgres is off by -2h0m0s", "")
	if text, err := i.After(t.Context()); err == nil {
		t.Errorf("before the end: %q", text)
	}
	must(t, i.Undo(t.Context()))
	if text, err := i.After(t.Context()); err != nil {
		t.Errorf("after the end: %q, %v", text, err)
	}
}

// TestNoOtherClock: a machine without libfaketime, and a part without a clock of its own, are told
// before the run.
func TestNoOtherClock(t *testing.T) {
	t.Parallel()
	if err := lacksClock(""); err == nil || !strings.Contains(err.Error(), "libfaketime") {
		t.Error(err)
	}
	kind, _ := Find("clock-shifted")
	err := kind.Impossible(Site{Target: stack.Postgres, Part: &idle{}})
	if err == nil || !strings.Contains(err.Error(), "the machine's clock") {
		t.Error(err)
	}
}
