package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kadm"

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
			Stacks: []string{stack.Embedded, stack.Native},
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
		{Name: "restored", Does: "moves the rows into a new cluster, as a dump and its restore " +
			"do: the log begins anew, the connector finds no slot, and nobody may write",
			Ends: Lasts, Alone: true, LeastFor: 3 * time.Second, Snapshots: true,
			Stacks:   []string{stack.Embedded, stack.Native},
			Verified: "the system identifier is another, and the log began below the old log's end",
			Undone:   "the consumers are started with a higher --epoch, then writers are let in",
			unable:   needs[restorable](" cannot be restored on this stack"), bind: restoreRows},
	}
	for i := range kinds {
		kinds[i].Family, kinds[i].Targets = "database", []string{stack.Postgres}
		if kinds[i].Stacks == nil {
			kinds[i].Stacks = everyStack
		}
	}
	return kinds
}

// stopperAtOnce is a PostgreSQL with an immediate shutdown.
type stopperAtOnce interface {
	StopAtOnce(context.Context) error
	Logged(words string, from int64) (bool, error)
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
		recovered, err := part.Logged(recovery, 0)
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
			if isRefused(err, tooManyConnections) {
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
		if !isRefused(err, tooManyConnections) {
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

const tooManyConnections = "53300" // as PostgreSQL's errcodes.txt names the code

// isRefused is true for PostgreSQL's own error of the code.
func isRefused(err error, code string) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Code == code
}

// restorable is a PostgreSQL that can move its rows into a new cluster.
type restorable interface {
	Restore(context.Context) error
	LetWrite(context.Context) error
}

// epochal is a consumer that can take the log for another.
type epochal interface {
	stack.Component
	RaiseEpoch() error
}

// cluster is a PostgreSQL's data folder, as told by the log.
type cluster struct {
	system   string
	position int64 // of the log, in bytes
}

// restoreRows moves the rows, and later does what an operator does who was told that positions went
// back.
func restoreRows(s Site) *Injection {
	part, _ := s.Part.(restorable) // the Kind needs one
	var before, now cluster
	look := func(ctx context.Context, c *cluster) error {
		return ask(ctx, s.At.PostgresDSN, `SELECT system_identifier::text,
			(pg_current_wal_lsn() - '0/0')::bigint FROM pg_control_system()`, nil, &c.system,
			&c.position)
	}
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) error {
		if err := look(ctx, &before); err != nil {
			return err
		}
		// PostgreSQL stops when the connector has confirmed, and so Kafka has, the whole old log. A
		// record of the old log must not be read after the raise of the epoch.
		if err := s.Part.Stop(ctx); err != nil {
			return err
		}
		err := withAdmin(s, func(admin *kadm.Client) error {
			return awaitReaders(ctx, s, admin, false)
		})
		if err != nil {
			return err
		}
		if err := errors.Join(part.Restore(ctx), s.Part.Start(ctx)); err != nil {
			return err
		}
		_, err = awaitWalsender(ctx, s.At.PostgresDSN)
		return errors.Join(err, look(ctx, &now))
	}
	i.During = func(context.Context) (string, error) {
		text := fmt.Sprintf("cluster %s with its log at %d bytes came after %s at %d", now.system,
			now.position, before.system, before.position)
		if now.system == before.system || now.position >= before.position {
			return "", errors.New(text)
		}
		return text, nil
	}
	i.Undo = func(ctx context.Context) error {
		if err := s.serveAgain(ctx); err != nil || now.system == "" {
			return err
		}
		var failed []error
		for _, component := range s.Stack.Components() {
			if consumer, is := component.(epochal); is {
				failed = append(failed, consumer.RaiseEpoch(), consumer.Stop(ctx),
					consumer.Start(ctx))
			}
		}
		// A row deleted before the snapshot would be in no record; and a change that is read both
		// before the raise and after would take its document back to the snapshot for a moment.
		return errors.Join(append(failed, part.LetWrite(ctx))...)
	}
	return i
}
