package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/stack"
)

// tableParameter names a table of the lab.
var tableParameter = Parameter{Name: "table", Type: wordType, Default: "customer",
	Words: []string{"customer", "address", "order", "order_item"}, Does: "the table"}

func databaseKinds() []Kind {
	kinds := []Kind{
		{Name: "immediate-shutdown", Does: "ends PostgreSQL without a checkpoint (SIGQUIT); stop " +
			"is the fast shutdown", Ends: Restarts,
			Verified: "its processes are gone; after the start others came, and the log names a " +
				"recovery", Undone: "PostgreSQL is started and recovers from its log",
			unable: needs[stopperAtOnce](" has no immediate shutdown on this stack"),
			bind:   immediateShutdown},
		{Name: "slot-held", Does: "keeps a transaction open that holds the replication slot back",
			Ends: Lasts, Shared: true, Verified: "the log grew, and the slot's restart_lsn stayed",
			Undone: "the transaction is rolled back", bind: holdSlot},
		{Name: "table-locked", Does: "locks a table against writes", Ends: Lasts, Shared: true,
			Parameters: []Parameter{tableParameter},
			Verified:   "writers wait for the lock",
			Undone:     "the lock's transaction is rolled back", bind: lockTable},
		{Name: "column-added", Does: "adds a column with a default, and drops the column",
			Ends: Lasts, Shared: true, Parameters: []Parameter{tableParameter},
			Verified: "a row written since has the column", Undone: "the column is dropped",
			bind: addColumn},
		{Name: "connections-exhausted", Does: "takes every connection that roles without special " +
			"rights may have", Ends: Lasts, Shared: true,
			Verified: "a further connection is refused (SQLSTATE 53300)",
			Undone:   "the connections are closed", bind: exhaustConnections},
	}
	for i := range kinds {
		kinds[i].Family, kinds[i].Targets = "database", []string{stack.Postgres}
		kinds[i].Stacks = everyStack
	}
	kinds[0].Stacks = []string{stack.Embedded, stack.Native}
	return kinds
}

// stopperAtOnce is a PostgreSQL with an immediate shutdown.
type stopperAtOnce interface {
	StopAtOnce(context.Context) error
	Logged(words string) (bool, error)
}

func immediateShutdown(s Site) *Injection {
	part, _ := s.Part.(stopperAtOnce) // the Kind needs one
	i := restart(s, func(ctx context.Context) error { return part.StopAtOnce(ctx) })
	came := i.After
	i.After = func(ctx context.Context) (string, error) {
		text, err := came(ctx)
		if err != nil {
			return "", err
		}
		const recovery = "automatic recovery in progress" // xlogrecovery.c of PostgreSQL
		recovered, err := part.Logged(recovery)
		if err != nil {
			return "", fmt.Errorf("read the log of %s: %w", s.Target, err)
		}
		if !recovered {
			return "", errors.New(s.Target + " recovered nothing: the shutdown was in good order")
		}
		return text + " and recovered from the log", nil
	}
	return i
}

// session is a connection to PostgreSQL that a fault keeps.
type session struct {
	dsn  string
	conn *pgx.Conn
}

// open connects as the superuser, in place of an open connection.
func (s *session) open(ctx context.Context) (err error) {
	if err := s.close(ctx); err != nil {
		return err
	}
	s.conn, err = pg.Connect(ctx, s.dsn)
	return err
}

// exec runs statements that need no argument.
func (s *session) exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := s.conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// alive refuses a transaction that ended before the fault did.
func (s *session) alive(ctx context.Context) error {
	if s.conn == nil {
		return errors.New("there is no transaction")
	}
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("the transaction ended before the fault did: %w", err)
	}
	return nil
}

// close ends the connection, and with the connection its transaction.
func (s *session) close(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close(ctx)
	s.conn = nil
	return err
}

// ask asks for a row over a connection of its own, because the fault's connection may break.
func ask(ctx context.Context, dsn, query string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, err := pg.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.QueryRow(ctx, query, args...).Scan(into...)
}

// askLimit bounds one question to PostgreSQL.
const askLimit = 10 * time.Second

// holdSlot writes to the log in a transaction that stays open: the slot must keep the log from the
// record on.
func holdSlot(s Site) *Injection {
	own := &session{dsn: s.At.PostgresDSN}
	var from string
	i := &Injection{Healthy: s.healthy, Undo: own.close}
	i.Inject = func(ctx context.Context) error {
		if err := own.open(ctx); err != nil {
			return err
		}
		if err := own.exec(ctx, "BEGIN"); err != nil {
			return err
		}
		const write = "SELECT pg_logical_emit_message(true, 'cdclab', 'held')::text"
		return own.conn.QueryRow(ctx, write).Scan(&from)
	}
	i.During = func(ctx context.Context) (string, error) {
		const query = `SELECT restart_lsn <= $1::pg_lsn, pg_current_wal_lsn() - $1::pg_lsn
			FROM pg_replication_slots WHERE slot_name = $2`
		var held bool
		var grown int64
		err := ask(ctx, own.dsn, query, []any{from, stack.Slot}, &held, &grown)
		if err == nil {
			err = own.alive(ctx)
		}
		switch {
		case err != nil:
			return "", fmt.Errorf("look at slot %s: %w", stack.Slot, err)
		case !held:
			return "", fmt.Errorf("slot %s went on, past the open transaction", stack.Slot)
		case grown <= 0:
			return "", errors.New("the log did not grow: there was no load")
		}
		return fmt.Sprintf("slot %s held at %s while the log grew by %d bytes", stack.Slot, from,
			grown), nil
	}
	return i
}

// quoted is the table as SQL.
func (s Site) quoted() string { return pgx.Identifier{"public", s.With["table"]}.Sanitize() }

// lockTable blocks writers, not readers.
func lockTable(s Site) *Injection {
	own := &session{dsn: s.At.PostgresDSN}
	i := &Injection{Healthy: s.healthy, Undo: own.close}
	i.Inject = func(ctx context.Context) error {
		if err := own.open(ctx); err != nil {
			return err
		}
		return own.exec(ctx, "BEGIN", "LOCK TABLE "+s.quoted()+" IN EXCLUSIVE MODE")
	}
	i.During = func(ctx context.Context) (string, error) {
		const query = `SELECT count(*) FILTER (WHERE granted AND mode = 'ExclusiveLock'),
			count(*) FILTER (WHERE NOT granted) FROM pg_locks WHERE relation = $1::regclass`
		var locks, waiting int
		if err := ask(ctx, own.dsn, query, []any{s.quoted()}, &locks, &waiting); err != nil {
			return "", fmt.Errorf("look at the locks: %w", err)
		}
		if err := own.alive(ctx); err != nil {
			return "", err
		}
		if locks == 0 || waiting == 0 {
			return "", fmt.Errorf("%d locks on %s, and %d writers wait", locks, s.quoted(), waiting)
		}
		return fmt.Sprintf("%d writers wait for the lock on %s", waiting, s.quoted()), nil
	}
	return i
}

// addedColumn is the name of the column of column-added.
const addedColumn = "chaos_column"

// addColumn changes a table under load; the connector has to notice between two rows.
func addColumn(s Site) *Injection {
	own := &session{dsn: s.At.PostgresDSN}
	i := &Injection{Healthy: s.healthy}
	alter := func(ctx context.Context, what string) error {
		if err := own.open(ctx); err != nil {
			return err
		}
		err := own.exec(ctx, "SET lock_timeout = '10s'", "ALTER TABLE "+s.quoted()+" "+what)
		return errors.Join(err, own.close(ctx))
	}
	var before int64
	i.Inject = func(ctx context.Context) error {
		if err := alter(ctx, "ADD COLUMN "+addedColumn+" text DEFAULT 'chaos'"); err != nil {
			return err
		}
		return ask(ctx, own.dsn, "SELECT coalesce(max(lab_version), 0) FROM "+s.quoted(), nil,
			&before)
	}
	i.During = func(ctx context.Context) (string, error) {
		var rows int
		err := ask(ctx, own.dsn, "SELECT count(*) FROM "+s.quoted()+" WHERE lab_version > $1 AND "+
			addedColumn+" IS NOT NULL", []any{before}, &rows)
		if err != nil {
			return "", fmt.Errorf("look for the column: %w", err)
		}
		if rows == 0 {
			return "", fmt.Errorf("no row of %s was written with the column: there was no load",
				s.quoted())
		}
		return fmt.Sprintf("%d rows of %s were written with the column", rows, s.quoted()), nil
	}
	i.Undo = func(ctx context.Context) error {
		return alter(ctx, "DROP COLUMN IF EXISTS "+addedColumn)
	}
	return i
}

// mostConnections bounds what exhaustConnections opens.
const mostConnections = 2000

// exhaustConnections connects as the role of the table check until PostgreSQL refuses; the places
// reserved for superusers stay free, and the lab sees the server.
func exhaustConnections(s Site) *Injection {
	dsn := s.At.CheckDSN
	var open []*pgx.Conn
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) error {
		for range mostConnections {
			conn, err := pg.Connect(ctx, dsn)
			if isFull(err) {
				return nil
			}
			if err != nil {
				return err
			}
			open = append(open, conn)
		}
		return fmt.Errorf("%d connections were open, and PostgreSQL had more", len(open))
	}
	i.During = func(ctx context.Context) (string, error) {
		conn, err := pg.Connect(ctx, dsn)
		if err == nil {
			return "", errors.Join(errors.New("a further connection was not refused"),
				conn.Close(ctx))
		}
		if !isFull(err) {
			return "", err
		}
		return fmt.Sprintf("%d connections held, a further one refused", len(open)), nil
	}
	i.Undo = func(ctx context.Context) error {
		var failed []error
		for _, conn := range open {
			if !conn.IsClosed() {
				failed = append(failed, conn.Close(ctx))
			}
		}
		open = nil
		return errors.Join(failed...)
	}
	return i
}

// isFull is true for PostgreSQL's too_many_connections.
func isFull(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Code == "53300"
}
