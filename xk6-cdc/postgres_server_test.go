package cdc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// database is a PostgreSQL server as a child process, with the lab's schema.
type database struct {
	program, data, port string
	child               *exec.Cmd
}

// startDatabase skips the test where PostgreSQL is not installed.
func startDatabase(t testing.TB) *database {
	t.Helper()
	program := findPostgres()
	if program == "" {
		t.Skip("no PostgreSQL: put postgres and initdb on PATH")
	}
	data, err := os.MkdirTemp("", "cdclab-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	d := &database{program: program, data: data}
	t.Cleanup(func() {
		d.kill()
		os.RemoveAll(data)
	})
	if os.Getuid() == 0 {
		if err := os.Chown(data, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	initialize := exec.Command(filepath.Join(filepath.Dir(program), "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"--no-sync", "--no-instructions")
	d.demote(initialize)
	if out, err := initialize.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, d.port, _ = net.SplitHostPort(listener.Addr().String())
	listener.Close()
	d.start(t)
	schema, err := os.ReadFile(filepath.Join("..", "stack", "postgres", "schema.sql"))
	if err != nil {
		t.Fatal(err)
	}
	d.run(t, string(schema))
	return d
}

// nobody is whom PostgreSQL runs as when the test is root, which it refuses.
const nobody = 65534

func findPostgres() string {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return path
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return ""
	}
	return slices.Max(found)
}

func (d *database) demote(command *exec.Cmd) {
	command.Dir = d.data
	if os.Getuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

// start returns when the server answers.
func (d *database) start(t testing.TB) {
	t.Helper()
	d.child = exec.Command(d.program, "-D", d.data, "-p", d.port, "-h", "127.0.0.1", "-k", "", "-F",
		"-c", "wal_level=logical", "-c", "max_connections=150")
	d.demote(d.child)
	if err := d.child.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		connection, err := pgx.Connect(ctx, d.dsn())
		if err == nil {
			connection.Close(ctx)
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("PostgreSQL did not start: %v", err)
		case <-tick.C:
		}
	}
}

// kill is PostgreSQL's immediate shutdown: as after a crash, but no child stays behind.
func (d *database) kill() {
	if d.child != nil {
		_ = d.child.Process.Signal(syscall.SIGQUIT)
		_ = d.child.Wait()
		d.child = nil
	}
}

func (d *database) dsn() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%s/postgres?sslmode=disable", d.port)
}

// run executes SQL on a connection of its own.
func (d *database) run(t testing.TB, sql string) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), d.dsn())
	if err == nil {
		_, err = connection.Exec(t.Context(), sql)
		err = errors.Join(err, connection.Close(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
}
