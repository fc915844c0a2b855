package stack

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

const (
	postgresUser     = "postgres"
	postgresDatabase = "lab"
)

//go:embed postgres/schema.sql
var postgresSchema string

// postgresServer is a real PostgreSQL of the Stack's own, on a port that it keeps over restarts.
// Whoever reaches the loopback address may do anything in it: its data is generated.
type postgresServer struct {
	child
	binDir  string
	address string
	// owner is the user it runs as; nil is the lab's own.
	owner *syscall.Credential

	// version is guarded by child.mu.
	version string
}

// newPostgres takes the programs of findPostgres and the port to listen on; 0 is a free one.
func newPostgres(f *folder, binDir string, port int) (*postgresServer, error) {
	if port == 0 {
		var err error
		if port, err = freePort(); err != nil {
			return nil, fmt.Errorf("prepare PostgreSQL: %w", err)
		}
	}
	owner, err := postgresOwner()
	if err != nil {
		return nil, fmt.Errorf("prepare PostgreSQL: %w", err)
	}
	return &postgresServer{
		// SIGINT is PostgreSQL's fast shutdown: open transactions are rolled back.
		child:  child{name: Postgres, folder: f, stopSignal: syscall.SIGINT},
		binDir: binDir, address: loopback(port), owner: owner,
	}, nil
}

// dsn is the URL of the lab's database, for its superuser.
func (p *postgresServer) dsn() string { return p.dsnOf(postgresDatabase) }

func (p *postgresServer) dsnOf(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(postgresUser), Host: p.address, Path: database,
		RawQuery: "sslmode=disable"}
	return u.String()
}

func (p *postgresServer) dataDir() string { return p.folder.file("postgres") }

// Version is what the server says of itself ("PostgreSQL 17.2"); "" before the first Start.
func (p *postgresServer) Version() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// Start makes the data folder the first time, starts the server on its port and returns when the
// lab's tables are there.
func (p *postgresServer) Start(ctx context.Context) error {
	if running := p.get(); running.alive() {
		return fmt.Errorf("start postgres: it is running (pid %d)", running.pid())
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
	server := command{
		path: filepath.Join(p.binDir, "postgres"), args: []string{"-D", p.dataDir()},
		dir: p.dataDir(), log: p.folder.file("postgres.log"), owner: p.owner,
	}
	if err := p.run(ctx, server, p.answers); err != nil {
		return err
	}
	if err := p.prepareDatabase(ctx); err != nil {
		return errors.Join(fmt.Errorf("start postgres: %w", err), p.Kill())
	}
	return nil
}

// Stop is PostgreSQL's fast shutdown. It waits until the connector has confirmed all changes, so
// with Kafka away it runs into the limit of every Stop.
func (p *postgresServer) Stop(ctx context.Context) error {
	return errors.Join(p.child.Stop(ctx), p.removeSharedMemory())
}

// Kill ends the postmaster and all its backends with SIGKILL and waits until they are gone.
func (p *postgresServer) Kill() error {
	if server := p.get(); server.alive() {
		// Frozen, it forks no backend that the list of its children would miss; one that lived on
		// would keep the shared memory, and the next start would be refused.
		if err := signalPID(server.pid(), syscall.SIGSTOP); err != nil {
			return fmt.Errorf("kill postgres: %w", err)
		}
	}
	if err := p.child.Kill(); err != nil {
		return err
	}
	return p.removeSharedMemory()
}

// removeSharedMemory removes the small segment by which a postmaster knows that another one serves
// its data. A killed one leaves it behind, and the kernel would keep it until the next boot.
func (p *postgresServer) removeSharedMemory() error {
	text, err := os.ReadFile(filepath.Join(p.dataDir(), "postmaster.pid"))
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
	_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIDRM) {
		return fmt.Errorf("remove the shared memory of postgres: %w", err)
	}
	return nil
}

// Health asks the server for something over a new connection, so a frozen postmaster shows.
func (p *postgresServer) Health(ctx context.Context) error {
	if err := p.serves(); err != nil {
		return err
	}
	if err := p.answers(ctx); err != nil {
		return fmt.Errorf("look at postgres: %w", err)
	}
	return nil
}

func (p *postgresServer) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	return withPostgres(ctx, p.dsnOf("postgres"), func(conn *pgx.Conn) error {
		return conn.Ping(ctx)
	})
}

// prepareDatabase creates what is missing of the lab's database and tables.
func (p *postgresServer) prepareDatabase(ctx context.Context) error {
	err := withPostgres(ctx, p.dsnOf("postgres"), func(conn *pgx.Conn) error {
		var version string
		var exists bool
		err := conn.QueryRow(ctx, `SELECT current_setting('server_version'),
			EXISTS (SELECT FROM pg_database WHERE datname = $1)`, postgresDatabase).Scan(&version, &exists)
		if err != nil {
			return fmt.Errorf("ask for its version: %w", err)
		}
		number, _, _ := strings.Cut(version, " ")
		p.mu.Lock()
		p.version = "PostgreSQL " + number
		p.mu.Unlock()
		if exists {
			return nil
		}
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+postgresDatabase); err != nil {
			return fmt.Errorf("create database %s: %w", postgresDatabase, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return withPostgres(ctx, p.dsn(), func(conn *pgx.Conn) error {
		var loaded bool
		err := conn.QueryRow(ctx, "SELECT to_regclass('public.customer') IS NOT NULL").Scan(&loaded)
		if err != nil {
			return fmt.Errorf("look for the lab's tables: %w", err)
		}
		if loaded {
			return nil
		}
		// Statements of one simple query are one transaction: all tables or none.
		if _, err := conn.PgConn().Exec(ctx, postgresSchema).ReadAll(); err != nil {
			return fmt.Errorf("create the lab's tables: %w", err)
		}
		return nil
	})
}

// initialise makes the data folder, unless it is there.
func (p *postgresServer) initialise(ctx context.Context) error {
	if _, err := os.Stat(p.dataDir()); err == nil {
		return nil
	}
	if err := p.makeReachable(); err != nil {
		return err
	}
	// It gets its name last: what an interrupted initdb left is not taken for a database.
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
	err := runPostgresTool(ctx, p.owner, filepath.Join(p.binDir, "initdb"), "--pgdata", unfinished,
		"--username", postgresUser, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	if err != nil {
		return err
	}
	config := filepath.Join(unfinished, "postgresql.conf")
	if err := os.WriteFile(config, []byte(p.settings()), 0o600); err != nil {
		return fmt.Errorf("configure the database: %w", err)
	}
	if err := os.Rename(unfinished, p.dataDir()); err != nil {
		return fmt.Errorf("name the database's folder: %w", err)
	}
	return nil
}

// settings are the whole postgresql.conf. It logs to its standard error, which is a file already.
func (p *postgresServer) settings() string {
	host, port, _ := strings.Cut(p.address, ":")
	return strings.Join([]string{
		"listen_addresses = '" + host + "'",
		"port = " + port,
		"unix_socket_directories = ''",
		"max_connections = 100",
		"shared_buffers = 256MB",
		// Files in the data folder, where posix would leave some in /dev/shm after a kill.
		"dynamic_shared_memory_type = mmap",
		"wal_level = logical",
		"max_wal_senders = 10",
		"max_replication_slots = 10",
		// Default, but what the whole lab rests on.
		"fsync = on",
		"synchronous_commit = on",
		"max_wal_size = 1GB",
		"timezone = 'UTC'",
		"log_timezone = 'UTC'",
		"log_line_prefix = '%m [%p] '",
		"lc_messages = 'C'",
		"",
	}, "\n")
}

// withPostgres lends do a connection.
func withPostgres(ctx context.Context, dsn string, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}
