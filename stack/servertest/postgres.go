package servertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

const (
	// installLimit bounds the fetching of a server.
	installLimit = 5 * time.Minute
	// startLimit bounds the start of a server.
	startLimit = 2 * time.Minute
	// postgresDirEnv names the folder that holds PostgreSQL's bin, as the lab's --postgres-dir.
	postgresDirEnv = "CDCLAB_POSTGRES_DIR"
)

// postgresSettings make a server small, and roomy enough for tests running at the same time.
var postgresSettings = []string{"shared_buffers = 64MB", "max_connections = 200",
	"max_wal_senders = 60",
	"max_replication_slots = 60"}

var findPostgres = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), installLimit)
	defer cancel()
	cache, err := programs.CacheDir("")
	if err != nil {
		return "", err
	}
	binDir, _, err := programs.FindPostgres(ctx, os.Getenv(postgresDirEnv), cache, func(string) {})
	return binDir, err
})

// Postgres starts a server of the test's own with the lab's tables. Settings are lines of
// postgresql.conf, such as "fsync = off".
func Postgres(t testing.TB, settings ...string) *postgres.Server {
	t.Helper()
	return started(t, false, settings)
}

// PostgresOnDisk is Postgres with the data on a Disk of its own.
func PostgresOnDisk(t testing.TB, settings ...string) *postgres.Server {
	t.Helper()
	return started(t, true, settings)
}

func started(t testing.TB, onDisk bool, settings []string) *postgres.Server {
	t.Helper()
	binDir := postgresPrograms(t)
	p, err := startPostgres(Folder(t), binDir, onDisk, settings)
	if p != nil {
		t.Cleanup(func() {
			if err := p.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func postgresPrograms(t testing.TB) string {
	t.Helper()
	binDir, err := findPostgres()
	if err != nil {
		expect.Lacking(t, "PostgreSQL", err)
	}
	return binDir
}

func startPostgres(f *process.Folder, binDir string, onDisk bool,
	settings []string) (*postgres.Server, error) {
	p, err := postgres.New(f, binDir, 0, slices.Concat(postgresSettings, settings)...)
	if err == nil && onDisk {
		err = p.PutOnDisk()
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	return p, p.Start(ctx)
}

var sharedPostgres = sync.OnceValues(func() (*postgres.Server, error) {
	binDir, err := findPostgres()
	if err != nil {
		return nil, err
	}
	f, err := newFolder()
	if err != nil {
		return nil, err
	}
	p, err := startPostgres(f, binDir, false, nil)
	if err != nil {
		return nil, errors.Join(err, f.Close(false))
	}
	return p, nil
})

// SharedPostgres returns one server for all tests of the test binary that do not break the server.
func SharedPostgres(t testing.TB) *postgres.Server {
	t.Helper()
	postgresPrograms(t)
	p, err := sharedPostgres()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var databases atomic.Int64

// Database makes an empty database in a server and returns its name, used by no other test.
func Database(t testing.TB, p *postgres.Server) string {
	t.Helper()
	name := fmt.Sprintf("t%d", databases.Add(1))
	Exec(t, p.DSNOf("postgres"), "CREATE DATABASE "+name+" TEMPLATE template0")
	return name
}

// Exec runs SQL on a connection of its own; several statements without arguments are one
// transaction.
func Exec(t testing.TB, dsn, sql string, args ...any) {
	t.Helper()
	ctx := expect.Context(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Connect opens a connection that ends with the test.
func Connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(expect.Context(t), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
