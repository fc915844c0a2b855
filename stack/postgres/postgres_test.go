package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func testPostgres(t *testing.T) *Server {
	t.Helper()
	cache, err := programs.CacheDir("")
	if err != nil {
		t.Fatal(err)
	}
	binDir, note, err := programs.FindPostgres(t.Context(), "", cache, func(s string) { t.Log(s) })
	if err != nil {
		expect.Lacking(t, "PostgreSQL's programs", err)
	}
	if note != "" {
		t.Log(note)
	}
	f, err := process.NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(f, binDir, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Stop(context.Background()), f.Close(false)); err != nil {
			t.Error(err)
		}
	})
	return p
}

func startPostgres(t *testing.T, p *Server) {
	t.Helper()
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// as lends do a connection as psql makes them, with the role's own search_path.
func as(t *testing.T, dsn string, do func(*pgx.Conn) error) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	return do(conn)
}

func execPostgres(t *testing.T, p *Server, sql string) {
	t.Helper()
	err := as(t, p.DSN(), func(conn *pgx.Conn) error {
		_, err := conn.Exec(t.Context(), sql)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func customers(t *testing.T, p *Server) (n int) {
	t.Helper()
	err := as(t, p.DSN(), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), "SELECT count(*) FROM customer").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const insertCustomer = `INSERT INTO customer (id, email, status) ` +
	`VALUES (gen_random_uuid(), 'a@b.c', 'active')`

func TestPostgresKeepsDataOverStopAndKill(t *testing.T) {
	t.Parallel()
	p := testPostgres(t)
	startPostgres(t, p)
	dsn := p.DSN()
	if v := p.Version(); !strings.HasPrefix(v, "PostgreSQL 1") || strings.Contains(v, "(") {
		t.Errorf("version %q", v)
	}
	if len(p.PIDs()) < 2 {
		t.Errorf("PIDs %v, want the postmaster and its children", p.PIDs())
	}
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "is running") {
		t.Errorf("second Start: %v", err)
	}
	execPostgres(t, p, insertCustomer)
	stop := func() error { return p.Stop(t.Context()) }
	for n, end := range []func() error{p.Kill, stop, p.Kill} {
		tree := p.PIDs()
		if err := end(); err != nil {
			t.Fatal(err)
		}
		for _, pid := range tree {
			if seen, err := process.Find(pid); err == nil && seen.State != "Z" {
				t.Errorf("process %d is still there", pid)
			}
		}
		if err := p.Health(t.Context()); err == nil {
			t.Error("healthy after its end")
		}
		startPostgres(t, p)
		if err := p.Health(t.Context()); err != nil {
			t.Error(err)
		}
		if got := customers(t, p); got != n+1 {
			t.Fatalf("%d customers after restart, want %d", got, n+1)
		}
		execPostgres(t, p, insertCustomer)
	}
	if p.DSN() != dsn {
		t.Errorf("it moved from %s to %s", dsn, p.DSN())
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPostgresKilledWhileItWorks(t *testing.T) {
	t.Parallel()
	p := testPostgres(t)
	startPostgres(t, p)
	var busy sync.WaitGroup
	for range 4 {
		conn, err := pgx.Connect(t.Context(), p.DSN())
		if err != nil {
			t.Fatal(err)
		}
		busy.Go(func() {
			defer conn.Close(context.Background())
			// A backend busy computing does not look whether its postmaster lives.
			_, err := conn.Exec(t.Context(),
				"SELECT sum(a * b) FROM generate_series(1, 100000) a, generate_series(1, 100000) b")
			if err == nil {
				t.Error("the query ended before the kill")
			}
		})
	}
	expect.True(t, "4 active queries", func() bool {
		var n int
		err := as(t, p.DSN(), func(conn *pgx.Conn) error {
			return conn.QueryRow(t.Context(),
				"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT sum%'").Scan(&n)
		})
		return err == nil && n >= 4
	})
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	busy.Wait()
	startPostgres(t, p)
}

func TestPostgresPause(t *testing.T) {
	t.Parallel()
	p := testPostgres(t)
	startPostgres(t, p)
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := p.Health(ctx); err == nil {
		t.Error("healthy while paused")
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := p.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPostgresKilledFromOutside(t *testing.T) {
	t.Parallel()
	p := testPostgres(t)
	startPostgres(t, p)
	pid := p.PIDs()[0]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("pid %d) ended by itself: signal: killed", pid)
	if got := <-p.Folder.Deaths; !strings.Contains(got, want) {
		t.Errorf("death %q, want %q", got, want)
	}
	if err := p.Health(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("health %v, want %q", err, want)
	}
	if err := p.Kill(); err == nil {
		t.Error("killed a dead one")
	}
}

func TestPostgresPortInUse(t *testing.T) {
	t.Parallel()
	p := testPostgres(t)
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), p.address) ||
		!strings.Contains(err.Error(), "in use") {
		t.Errorf("error %v, want one that names %s", err, p.address)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	startPostgres(t, p)
}
