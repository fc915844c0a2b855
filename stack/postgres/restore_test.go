package postgres

import (
	"errors"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// identity returns who the cluster is, how far its log is, and how many slots there are.
func identity(t *testing.T, p *Server) (system, position int64, slots int) {
	t.Helper()
	err := as(t, p.DSN(), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), `SELECT system_identifier,
			(pg_current_wal_lsn() - '0/0')::bigint, (SELECT count(*) FROM pg_replication_slots)
			FROM pg_control_system()`).Scan(&system, &position, &slots)
	})
	if err != nil {
		t.Fatal(err)
	}
	return system, position, slots
}

// TestRestore: the rows and the roles are there, at the same address, in a cluster whose log begins
// anew. A restore that fails leaves everything as before.
func TestRestore(t *testing.T) {
	t.Parallel()
	p := testPostgres(t)
	startPostgres(t, p)
	expect.Error(t, p.Restore(t.Context()), "it is running")
	execPostgres(t, p, `INSERT INTO customer (id, email, status)
		SELECT gen_random_uuid(), repeat('x', n), 'NEW' FROM generate_series(1, 1000) n`)
	execPostgres(t, p, `INSERT INTO address (id, customer_id, type)
		SELECT gen_random_uuid(), id, 'HOME' FROM customer`)
	execPostgres(t, p, "SELECT pg_create_logical_replication_slot('cdclab', 'pgoutput')")
	const digest = `SELECT md5(string_agg(c::text || a::text, '' ORDER BY c.id))
		FROM customer c JOIN address a ON a.customer_id = c.id`
	text := func(role string) (text string) {
		t.Helper()
		err := as(t, p.DSNFor(role), func(conn *pgx.Conn) error {
			return conn.QueryRow(t.Context(), digest).Scan(&text)
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	want := text(Check)
	system, position, _ := identity(t, p)

	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	inTheWay := p.dataDir() + "-new"
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect.Error(t, p.Restore(t.Context()), "restore postgres")
	if _, err := os.Stat(inTheWay); err == nil {
		t.Error("the restore that failed left its cluster")
	}
	startPostgres(t, p)
	if is, _, slots := identity(t, p); is != system || slots != 1 || text(Check) != want {
		t.Errorf("after a restore that failed: cluster %d with %d slots, want %d with 1", is,
			slots, system)
	}

	if err := errors.Join(p.Stop(t.Context()), p.Restore(t.Context())); err != nil {
		t.Fatal(err)
	}
	startPostgres(t, p)
	is, at, slots := identity(t, p)
	if is == system || at >= position || slots != 0 {
		t.Errorf("cluster %d at %d with %d slots, want another than %d below %d with none", is, at,
			slots, system, position)
	}
	if got := text(Check); got != want {
		t.Errorf("the rows are %s, want %s", got, want)
	}
	asGenerator := func() error {
		return as(t, p.DSNFor(Generator), func(conn *pgx.Conn) error {
			_, err := conn.Exec(t.Context(), insertCustomer)
			return err
		})
	}
	expect.Error(t, asGenerator(), "not permitted to log in")
	if err := errors.Join(p.LetWrite(t.Context()), asGenerator()); err != nil {
		t.Error(err)
	}
	if got := customers(t, p); got != 1001 {
		t.Errorf("%d customers, want 1001", got)
	}
}
