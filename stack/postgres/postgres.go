// Package postgres runs a real PostgreSQL, with the lab's tables, as a part that can be killed,
// frozen and started again. The package finds no program. Start reading at Server.Start.
package postgres

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/stack/process"
)

// Name is the Component's name.
const Name = "postgres"

// Facts of the lab's database that Debezium, too, has to know.
const (
	User     = "postgres"
	Database = "lab"
)

// Roles of least privilege, made by roles.sql: for the writer of the load, for the source connector
// and for the table check.
const (
	Generator = "cdclab_generator"
	Connector = "cdclab_connector"
	Check     = "cdclab_check"
)

//go:embed schema.sql
var schema string

//go:embed roles.sql
var roles string

//go:embed postgresql.conf
var settings string

// Server is a real PostgreSQL of the Stack's own, on the same port over restarts. Each role has a
// random password (scram-sha-256), because every user of the machine reaches the loopback address,
// and a superuser runs programs.
type Server struct {
	*process.Child
	binDir  string
	address string
	// passwords are the roles', User's among them.
	passwords map[string]string
	// owner is the user of the server's processes; nil is the lab's own.
	owner *syscall.Credential
	// more holds settings beyond a Stack's server's.
	more []string

	mu sync.Mutex
	// clock are the variables that change the clock of the next start's processes.
	clock []string
}

// SetClock has the processes of the next starts see a clock that is ahead by so much, or behind;
// 0 is the machine's clock. The library is libfaketime's. Times between two events stay as they
// are.
func (p *Server) SetClock(library string, ahead time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock = nil
	if ahead != 0 {
		p.clock = []string{"LD_PRELOAD=" + library,
			fmt.Sprintf("FAKETIME=%+.3f", ahead.Seconds()), "FAKETIME_DONT_FAKE_MONOTONIC=1",
			// No segment of shared memory that would outlive the server.
			"FAKETIME_DISABLE_SHM=1"}
	}
}

// environment returns the variables of the server's processes.
func (p *Server) environment() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.clock)
}

// New takes the programs of programs.FindPostgres and the port to listen on; 0 is a free port.
// More are lines of postgresql.conf, such as "fsync = off", which win over the Server's own.
func New(f *process.Folder, binDir string, port int, more ...string) (*Server, error) {
	if port == 0 {
		var err error
		if port, err = process.FreePort(); err != nil {
			return nil, fmt.Errorf("prepare PostgreSQL: %w", err)
		}
	}
	owner, err := owner()
	if err != nil {
		return nil, fmt.Errorf("prepare PostgreSQL: %w", err)
	}
	passwords := map[string]string{}
	for _, role := range []string{User, Generator, Connector, Check} {
		passwords[role] = rand.Text()
	}
	return &Server{
		// SIGINT is PostgreSQL's fast shutdown: open transactions are rolled back.
		Child:  process.NewChild(Name, f, syscall.SIGINT),
		binDir: binDir, address: process.Loopback(port), owner: owner, more: more,
		passwords: passwords,
	}, nil
}

// Address is "host:port".
func (p *Server) Address() string { return p.address }

// DSN is the URL of the lab's database, for its superuser.
func (p *Server) DSN() string { return p.DSNOf(Database) }

// DSNOf is the URL of a database, for its superuser.
func (p *Server) DSNOf(database string) string { return p.dsn(User, database) }

// DSNFor is the URL of the lab's database for a role, such as Generator.
func (p *Server) DSNFor(role string) string { return p.dsn(role, Database) }

// DSNAt is DSNFor by another way to the server, such as a proxy's address.
func (p *Server) DSNAt(address, role string) string { return p.dsnAt(address, role, Database) }

func (p *Server) dsn(role, database string) string { return p.dsnAt(p.address, role, database) }

func (p *Server) dsnAt(address, role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, p.passwords[role]),
		Host: address, Path: database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Password is the password of a role, such as Connector.
func (p *Server) Password(role string) string { return p.passwords[role] }

// PutOnDisk puts the data onto a Disk, before the first start.
func (p *Server) PutOnDisk() error { return p.Child.PutOnDisk(p.owner) }

func (p *Server) dataDir() string { return p.Data() }

// Start makes the data folder the first time, starts the server on its port and returns when the
// lab's tables are there.
func (p *Server) Start(ctx context.Context) error {
	if running := p.Current(); running.Alive() {
		return fmt.Errorf("start postgres: it is running (pid %d)", running.PID())
	}
	// PostgreSQL says so too, but in its log and after a while.
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("start postgres: its address is in use by something else: %w", err)
	}
	if err := listener.Close(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := p.initialise(ctx); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	_, port, _ := strings.Cut(p.address, ":")
	server := process.Command{
		Path: filepath.Join(p.binDir, "postgres"), Args: []string{"-D", p.dataDir(), "-p", port},
		Dir: p.dataDir(), Log: p.Folder.File("postgres.log"), Owner: p.owner,
		Env: p.environment(),
		// SIGQUIT is PostgreSQL's immediate shutdown, as after a crash.
		Quit: syscall.SIGQUIT,
	}
	if err := p.Launch(ctx, server, p.answers); err != nil {
		return err
	}
	if err := p.prepareDatabase(ctx); err != nil {
		return errors.Join(fmt.Errorf("start postgres: %w", err), p.Kill())
	}
	return nil
}

// Stop is PostgreSQL's fast shutdown. PostgreSQL waits until the connector has confirmed all
// changes, so with Kafka away Stop runs into the limit of every Stop.
func (p *Server) Stop(ctx context.Context) error {
	return errors.Join(p.Child.Stop(ctx), p.removeSharedMemory())
}

// StopAtOnce is PostgreSQL's immediate shutdown: the server leaves without a checkpoint, and the
// next start recovers from the log as after a crash.
func (p *Server) StopAtOnce(ctx context.Context) error {
	return errors.Join(p.StopBy(ctx, syscall.SIGQUIT), p.removeSharedMemory())
}

// Kill ends the postmaster and all its backends with SIGKILL and waits until all are gone.
func (p *Server) Kill() error {
	if err := p.Child.Kill(); err != nil {
		return err
	}
	return p.removeSharedMemory()
}

// removeSharedMemory removes the small segment by which a postmaster knows of another postmaster on
// the same data. A killed postmaster leaves the segment behind, and the kernel would keep it until
// the next boot.
func (p *Server) removeSharedMemory() error {
	const most = 4 << 10
	text, err := process.ReadOf(p.uid(), filepath.Join(p.dataDir(), "postmaster.pid"), most)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the shared memory of postgres: %w", err)
	}
	// pidfile.h of PostgreSQL: line 7 holds the segment's key and id.
	const line = 7 - 1
	lines := strings.Split(string(text), "\n")
	if len(lines) <= line {
		return nil
	}
	var key, id int
	if _, err := fmt.Sscan(lines[line], &key, &id); err != nil {
		return nil
	}
	var segment unix.SysvShmDesc
	_, err = unix.SysvShmCtl(id, unix.IPC_STAT, &segment)
	if err == nil && int(segment.Perm.Uid) != p.uid() {
		return nil // another's, made after the number was free again
	}
	if err == nil {
		_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIDRM) {
		return fmt.Errorf("remove the shared memory of postgres: %w", err)
	}
	return nil
}

// Health asks the server for something over a new connection, so that a frozen postmaster shows.
func (p *Server) Health(ctx context.Context) error {
	if err := p.Serves(); err != nil {
		return err
	}
	if err := p.answers(ctx); err != nil {
		return fmt.Errorf("look at postgres: %w", err)
	}
	return nil
}

func (p *Server) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	return With(ctx, p.DSNOf("postgres"), func(conn *pgx.Conn) error {
		return conn.Ping(ctx)
	})
}

// prepareDatabase creates the missing parts of the lab's database and tables.
func (p *Server) prepareDatabase(ctx context.Context) error {
	err := With(ctx, p.DSNOf("postgres"), func(conn *pgx.Conn) error {
		var version string
		var exists bool
		err := conn.QueryRow(ctx, `SELECT current_setting('server_version'),
			EXISTS (SELECT FROM pg_database WHERE datname = $1)`, Database).Scan(&version, &exists)
		if err != nil {
			return fmt.Errorf("ask for its version: %w", err)
		}
		number, _, _ := strings.Cut(version, " ")
		p.SetVersion("PostgreSQL " + number)
		if exists {
			return nil
		}
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+Database); err != nil {
			return fmt.Errorf("create database %s: %w", Database, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return With(ctx, p.DSN(), func(conn *pgx.Conn) error {
		var loaded bool
		err := conn.QueryRow(ctx, "SELECT to_regclass('public.customer') IS NOT NULL").Scan(&loaded)
		if err != nil {
			return fmt.Errorf("look for the lab's tables: %w", err)
		}
		if loaded {
			return nil
		}
		return pgx.BeginFunc(ctx, conn, p.createTables(ctx))
	})
}

// createTables makes the lab's tables, and the roles with their passwords: all or none.
func (p *Server) createTables(ctx context.Context) func(pgx.Tx) error {
	return func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, schema); err != nil {
			return fmt.Errorf("create the lab's tables: %w", err)
		}
		if _, err := tx.Exec(ctx, roles); err != nil {
			return fmt.Errorf("create the lab's roles: %w", err)
		}
		for role, password := range p.passwords {
			// A password of rand.Text has letters and digits alone.
			set := "ALTER ROLE " + pgx.Identifier{role}.Sanitize() + " PASSWORD '" + password + "'"
			if _, err := tx.Exec(ctx, set); err != nil {
				return fmt.Errorf("set the password of role %s: %w", role, err)
			}
		}
		return nil
	}
}

// initialise makes the data folder, unless already there.
func (p *Server) initialise(ctx context.Context) error {
	if _, err := os.Stat(p.dataDir()); err == nil {
		return nil
	}
	if err := p.makeReachable(); err != nil {
		return err
	}
	// The folder gets its name last, so that the rest of an interrupted initdb is not taken for a
	// database.
	unfinished := p.dataDir() + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("remove an unfinished database: %w", err)
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return fmt.Errorf("make the database's folder: %w", err)
	}
	if err := p.own(unfinished); err != nil {
		return err
	}
	if err := p.runInitdb(ctx, unfinished); err != nil {
		return err
	}
	config, err := process.OpenOf(p.uid(), filepath.Join(unfinished, "postgresql.conf"),
		os.O_WRONLY|os.O_TRUNC)
	if err == nil {
		_, err = config.WriteString(p.configuration())
		err = errors.Join(err, config.Close())
	}
	if err != nil {
		return fmt.Errorf("configure the database: %w", err)
	}
	if err := os.Rename(unfinished, p.dataDir()); err != nil {
		return fmt.Errorf("name the database's folder: %w", err)
	}
	return nil
}

// runInitdb makes a database in an empty folder. The superuser's password comes from a file of the
// owner's alone, because every user of the machine sees arguments.
func (p *Server) runInitdb(ctx context.Context, folder string) error {
	return p.Folder.WithSecret("postgres.password", p.passwords[User]+"\n",
		func(file string) error {
			if err := p.own(file); err != nil {
				return err
			}
			return runTool(ctx, p.owner, filepath.Join(p.binDir, "initdb"), "--pgdata", folder,
				"--username", User, "--auth", "scram-sha-256", "--pwfile", file,
				"--encoding", "UTF8", "--locale", "C", "--no-sync")
		})
}

// configuration returns the whole postgresql.conf but for the port, an argument. PostgreSQL logs to
// standard error, already a file.
func (p *Server) configuration() string {
	host, _, _ := strings.Cut(p.address, ":")
	return settings + strings.Join(append([]string{
		"listen_addresses = '" + host + "'",
		"unix_socket_directories = ''",
	}, p.more...), "\n") + "\n"
}

// With lends do a connection.
func With(ctx context.Context, dsn string, do func(*pgx.Conn) error) error {
	conn, err := pg.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}
