package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdclab/cdclab/stack"
)

func connectorKinds() []Kind {
	const snapshot = "deletes that are committed while there is no slot: the new snapshot has no " +
		"word about rows that are gone"
	kinds := []Kind{
		{Name: "replication-cut", Does: "ends the server's side of the connector's stream",
			Ends: AtOnce, Verified: "the walsender of the slot is another process, or none",
			Undone: "the connector connects again by itself", Stacks: everyStack,
			bind: cutReplication},
		{Name: "slot-dropped", Does: "drops the replication slot under the connector",
			Ends: AtOnce, Verified: "the slot is gone, or begins later than the dropped slot ended",
			Undone: "the connector makes a slot and takes a snapshot", Loses: snapshot,
			Stacks: everyStack, Snapshots: true, bind: dropSlot},
		{Name: "snapshot-interrupted", Does: "drops the replication slot, and kills the " +
			"connector in the middle of the new snapshot", Ends: AtOnce,
			Verified: "the connector was killed while it read a table, and nobody streams",
			Undone:   "the connector is started and takes a snapshot from the beginning",
			Loses:    snapshot, Stacks: everyStack, Snapshots: true, bind: interruptSnapshot},
		{Name: "slot-invalidated", Does: "stops the connector until PostgreSQL needs more log " +
			"than max_slot_wal_keep_size", Ends: AtOnce,
			Verified: "wal_status of the slot is lost",
			Undone:   "the limit is reset, the slot dropped, the connector started: it snapshots",
			Loses:    snapshot, Stacks: everyStack, Snapshots: true, bind: invalidateSlot},
	}
	kinds = append(kinds, taskKinds()...)
	for i := range kinds {
		kinds[i].Family, kinds[i].Targets = "connector", []string{stack.Connector}
	}
	return kinds
}

// walsender returns the process that streams from the slot, 0 for none.
func walsender(ctx context.Context, dsn string) (pid int, err error) {
	err = ask(ctx, dsn, `SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots
		WHERE slot_name = $1`, []any{stack.Slot}, &pid)
	if err != nil {
		return 0, fmt.Errorf("look for the walsender of slot %s: %w", stack.Slot, err)
	}
	return pid, nil
}

// cutReplication ends the walsender; the connector's session ends with an error.
func cutReplication(s Site) *Injection {
	return endWalsender(s, func(ctx context.Context, pid int) error {
		var ended bool
		if err := ask(ctx, s.At.PostgresDSN, "SELECT pg_terminate_backend($1, 5000)", []any{pid},
			&ended); err != nil {
			return fmt.Errorf("end the walsender: %w", err)
		}
		if !ended {
			return fmt.Errorf("the walsender %d did not end", pid)
		}
		return nil
	})
}

// endWalsender ends the walsender in a Kind's own way.
func endWalsender(s Site, end func(ctx context.Context, pid int) error) *Injection {
	dsn := s.At.PostgresDSN
	var before int
	i := &Injection{Healthy: s.healthy, Undo: nothingToUndo}
	i.Inject = func(ctx context.Context) (err error) {
		// Another fault may have the connector away just then.
		limited, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		if before, err = awaitWalsender(limited, dsn); err != nil {
			return err
		}
		return end(ctx, before)
	}
	i.During = func(ctx context.Context) (string, error) {
		now, err := walsender(ctx, dsn)
		if err != nil {
			return "", err
		}
		if now == before {
			return "", fmt.Errorf("the walsender %d is still there", before)
		}
		return fmt.Sprintf("walsender %d gone", before), nil
	}
	i.After = func(ctx context.Context) (string, error) {
		now, err := awaitWalsender(ctx, dsn)
		return fmt.Sprintf("walsender %d came", now), err
	}
	return i
}

// awaitWalsender waits until somebody streams from the slot.
func awaitWalsender(ctx context.Context, dsn string) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, walsenderLimit)
	defer cancel()
	err = until(ctx, func() (err error) {
		if pid, err = walsender(ctx, dsn); err == nil && pid == 0 {
			err = fmt.Errorf("nobody streams from slot %s", stack.Slot)
		}
		return err
	})
	return pid, err
}

// walsenderLimit bounds the wait for a connector that makes a snapshot first.
const walsenderLimit = time.Minute

// dropSlot drops the slot between two sessions of the connector.
func dropSlot(s Site) *Injection {
	dsn := s.At.PostgresDSN
	own := &session{dsn: dsn}
	var dropped string
	i := &Injection{Healthy: s.healthy, Undo: own.close}
	i.Inject = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, walsenderLimit)
		defer cancel()
		if err := own.open(ctx); err != nil {
			return err
		}
		// The connector is back within a blink: a statement of its own for each step would lose,
		// and so would a wait of pg_terminate_backend, which looks every 100 ms.
		const drop = `DO $$
			DECLARE began timestamptz := clock_timestamp();
			BEGIN
				WHILE clock_timestamp() < began + '20 s' LOOP
					PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots
						WHERE slot_name = '` + stack.Slot + `' AND active_pid IS NOT NULL;
					BEGIN
						PERFORM pg_drop_replication_slot('` + stack.Slot + `');
						RETURN;
					EXCEPTION WHEN object_in_use THEN
						NULL;
					END;
				END LOOP;
				RAISE EXCEPTION 'the slot was in use for 20 s';
			END $$`
		if err := own.exec(ctx, drop); err != nil {
			return err
		}
		return own.conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&dropped)
	}
	i.During = func(ctx context.Context) (string, error) {
		var old bool
		err := ask(ctx, dsn, `SELECT EXISTS (SELECT FROM pg_replication_slots
			WHERE slot_name = $1 AND confirmed_flush_lsn < $2::pg_lsn)`,
			[]any{stack.Slot, dropped}, &old)
		if err == nil && old {
			err = errors.New("the slot is the one from before")
		}
		if err != nil {
			return "", fmt.Errorf("look at slot %s: %w", stack.Slot, err)
		}
		return fmt.Sprintf("slot %s was dropped before %s", stack.Slot, dropped), nil
	}
	i.After = func(ctx context.Context) (string, error) {
		now, err := awaitWalsender(ctx, dsn)
		return fmt.Sprintf("walsender %d streams from a new slot", now), err
	}
	return i
}

// snapshotTries bounds the snapshots that may end before the kill.
const snapshotTries = 20

// interruptSnapshot waits until the connector reads a table. When the snapshot is whole the slot
// comes, or, with Debezium, whose slot comes first, a stream.
func interruptSnapshot(s Site) *Injection {
	drop, own := dropSlot(s), &session{dsn: s.At.PostgresDSN}
	look := func(ctx context.Context) (reads, whole bool, err error) {
		err = own.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE application_name = $2 AND query LIKE 'SELECT % FROM ONLY %'
				OR application_name LIKE 'Debezium %' AND state <> 'idle'
				AND query LIKE 'SELECT "%" FROM "%"."%"'),
			EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND (active OR $3))`,
			stack.Slot, stack.ConnectorApplication, s.Profile == "").Scan(&reads, &whole)
		if err != nil {
			err = fmt.Errorf("look for the snapshot: %w", err)
		}
		return reads, whole, err
	}
	i := &Injection{Healthy: s.healthy, After: drop.After}
	i.Inject = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, walsenderLimit)
		defer cancel()
		if err := own.open(ctx); err != nil {
			return err
		}
		tick := time.NewTicker(time.Millisecond) // a snapshot of few rows takes some ten
		defer tick.Stop()
		for range snapshotTries {
			if err := errors.Join(drop.Inject(ctx), drop.Undo(ctx)); err != nil {
				return err
			}
			for reads, whole := false, false; !reads && !whole; <-tick.C {
				var err error
				if reads, whole, err = look(ctx); err != nil {
					return err
				}
			}
			if err := s.Part.Kill(); err != nil {
				return err
			}
			if _, whole, err := look(ctx); err != nil || !whole {
				return err
			}
			if err := s.Part.Start(ctx); err != nil {
				return err
			}
		}
		return fmt.Errorf("%d snapshots were whole before the kill", snapshotTries)
	}
	i.During = func(ctx context.Context) (string, error) {
		_, whole, err := look(ctx)
		if err != nil {
			return "", err
		}
		if whole {
			return "", errors.New("the snapshot was whole")
		}
		return "the connector was killed while it read a table, and nobody streams from slot " +
			stack.Slot, nil
	}
	i.Undo = func(ctx context.Context) error {
		return errors.Join(own.close(ctx), s.serveAgain(ctx))
	}
	return i
}

// serveAgain starts the part, unless the part serves.
func (s Site) serveAgain(ctx context.Context) error {
	if s.Part.Health(ctx) == nil {
		return nil
	}
	return s.Part.Start(ctx)
}

// invalidateSlot writes log that nobody reads, until PostgreSQL gives the slot up.
func invalidateSlot(s Site) *Injection {
	dsn := s.At.PostgresDSN
	own := &session{dsn: dsn}
	i := &Injection{Healthy: s.healthy}
	status := func(ctx context.Context) (status string, err error) {
		err = ask(ctx, dsn, `SELECT coalesce(max(wal_status), 'none') FROM pg_replication_slots
			WHERE slot_name = $1`, []any{stack.Slot}, &status)
		return status, err
	}
	i.Inject = func(ctx context.Context) error {
		if err := errors.Join(s.Part.Stop(ctx), own.open(ctx)); err != nil {
			return err
		}
		if err := own.exec(ctx, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'",
			"SELECT pg_reload_conf()"); err != nil {
			return err
		}
		const rounds = 50 // of a segment of the log each
		for range rounds {
			if err := own.exec(ctx, "SELECT pg_logical_emit_message(false, 'cdclab', 'chaos')",
				"SELECT pg_switch_wal()", "CHECKPOINT"); err != nil {
				return err
			}
			if now, err := status(ctx); err != nil || now == "lost" {
				return err
			}
		}
		return fmt.Errorf("slot %s survived %d segments of log", stack.Slot, rounds)
	}
	i.During = func(ctx context.Context) (string, error) {
		now, err := status(ctx)
		if err != nil {
			return "", err
		}
		if now != "lost" {
			return "", fmt.Errorf("wal_status of slot %s is %s", stack.Slot, now)
		}
		return fmt.Sprintf("wal_status of slot %s is lost", stack.Slot), nil
	}
	i.Undo = func(ctx context.Context) error {
		err := errors.Join(own.close(ctx), own.open(ctx))
		if err == nil {
			err = own.exec(ctx, "ALTER SYSTEM RESET max_slot_wal_keep_size",
				"SELECT pg_reload_conf()", "SELECT pg_drop_replication_slot(slot_name) "+
					"FROM pg_replication_slots WHERE slot_name = '"+stack.Slot+
					"' AND wal_status = 'lost'")
		}
		return errors.Join(err, own.close(ctx), s.serveAgain(ctx))
	}
	return i
}
