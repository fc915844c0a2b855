package connector

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const produce = int16(kmsg.Produce)

// writers insert, update and delete rows of item until stop is called. A row's v counts up, so that
// the last record of a key that got through is known.
type writers struct {
	stop func()
	// commits counts the commits acknowledged by PostgreSQL.
	commits atomic.Int64
}

func (l *lab) write(n int) *writers {
	ctx, cancel := context.WithCancel(l.t.Context())
	w := &writers{}
	var running sync.WaitGroup
	for writer := range n {
		running.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				_ = l.writeRound(ctx, w, writer, round)
			}
		})
	}
	w.stop = func() { cancel(); running.Wait() }
	l.t.Cleanup(w.stop)
	return w
}

// writerName names the writers' sessions in pg_stat_activity.
const writerName = "writer"

// writeRound goes over a connection of its own; the server may be gone.
func (l *lab) writeRound(ctx context.Context, w *writers, writer, round int) error {
	conn, err := pgx.Connect(ctx, l.config.DSN+"&application_name="+writerName)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for i := range 20 {
		id := writer*1000 + i
		for _, sql := range []string{
			fmt.Sprintf("INSERT INTO item VALUES (%d, '%d') "+
				"ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v", id, round),
			fmt.Sprintf("BEGIN; UPDATE item SET v = v || 'a' WHERE id = %d; "+
				"UPDATE item SET v = v || 'b' WHERE id BETWEEN %d AND %d; COMMIT",
				id, writer*1000, id),
			fmt.Sprintf("DELETE FROM item WHERE id = %d", writer*1000+i/2),
		} {
			if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
			w.commits.Add(1)
		}
	}
	return nil
}

// more waits until so many more commits are done.
func (w *writers) more(t *testing.T, n int64) {
	t.Helper()
	target := w.commits.Load() + n
	eventually(t, "there are more commits", func() error {
		if now := w.commits.Load(); now < target {
			return fmt.Errorf("%d, want %d", now, target)
		}
		return nil
	})
}

// same compares the table with the records behind a position guard, and demands that redelivery
// only ever repeats: within a key no change is skipped.
func (l *lab) same() {
	l.t.Helper()
	rows := map[string]string{}
	positions := map[string]string{}
	for _, g := range l.records() {
		if g.Tombstone {
			continue
		}
		position := g.position(l.t)
		key := text(g.Event.Key, "id")
		if position < positions[key] {
			continue
		}
		positions[key] = position
		if g.Op == debezium.Delete {
			delete(rows, key)
		} else {
			rows[key] = text(g.After, "v")
		}
	}
	found, err := l.conn.Query(l.t.Context(), "SELECT id::text, v FROM item")
	if err != nil {
		l.t.Fatal(err)
	}
	var id, v string
	_, err = pgx.ForEachRow(found, []any{&id, &v}, func() error {
		if rows[id] != v {
			l.t.Errorf("row %s is %q, its records say %q", id, v, rows[id])
		}
		delete(rows, id)
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	for id, v := range rows {
		l.t.Errorf("no row %s, its records say %q", id, v)
	}
}

func TestSnapshotUnderWritesLosesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 2)
	l.exec(createItems, "INSERT INTO item SELECT n, 'old' FROM generate_series(5000, 7000) n")
	w := l.write(3)
	w.more(t, 100)
	l.start()
	w.more(t, 100)
	w.stop()
	l.drained()
	l.same()
}

func TestCrashesUnderWritesLoseNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 2)
	l.exec(createItems)
	w := l.write(3)
	for range 5 {
		l.start()
		w.more(t, 60)
		l.stop(ErrCrash)
	}
	w.stop()
	l.start()
	l.drained()
	l.same()
}

func TestPostgresKilledUnderWritesLosesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.Postgres(t), 2)
	l.exec(createItems)
	l.start()
	w := l.write(3)
	stop := func() error { return l.server.Stop(t.Context()) }
	for _, end := range []func() error{l.server.Kill, stop, l.server.Kill} {
		w.more(t, 60)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the connector sees it", func() error {
			if state, err := l.current.State(); state != Reconnecting || err == nil {
				return fmt.Errorf("%s, %w", state, err)
			}
			return nil
		})
		if err := l.server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.streams()
	}
	w.more(t, 60)
	w.stop()
	l.reconnect()
	l.drained()
	l.same()
}

// TestFastShutdownSendsEverything: PostgreSQL stops in good order when Kafka has everything.
func TestFastShutdownSendsEverything(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.Postgres(t), 2)
	l.exec(createItems)
	for range 5 {
		l.start()
		w := l.write(8)
		w.more(t, 300)
		if err := l.server.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.stop()
		l.stop(ErrCrash)
		if err := l.server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.reconnect()
		l.same()
	}
}

func TestBackendTerminatedUnderWritesLosesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 2)
	l.exec(createItems)
	l.start()
	w := l.write(2)
	for range 3 {
		w.more(t, 40)
		l.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity " +
			"WHERE datname = current_database() AND application_name = '" + ApplicationName + "'")
	}
	w.stop()
	l.drained()
	l.same()
}

// TestKafkaFaultsLoseNothing: refused, answered too late though written, and cut connections.
func TestKafkaFaultsLoseNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 2)
	l.exec(createItems)
	l.start()
	w := l.write(2)
	w.more(t, 30)
	for _, refused := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend,
		kerr.UnknownTopicOrPartition,
	} {
		fault := l.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: refused, Count: 5})
		if err := fault.Wait(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		w.more(t, 30)
	}
	var cuts atomic.Int64
	l.kafka.ControlKey(produce, func(kmsg.Request) (kmsg.Response, error, bool) {
		l.kafka.KeepControl()
		if cuts.Add(1) > 5 {
			return nil, nil, false
		}
		return nil, errTest, true
	})
	w.more(t, 30)
	w.stop()
	l.drained()
	l.same()
	if cuts.Load() == 0 {
		t.Error("no connection was cut")
	}
}

// hold withholds every produce request until release is called.
func (l *lab) hold() (arrived <-chan struct{}, release func()) {
	held, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.kafka.ControlKey(produce, func(kmsg.Request) (kmsg.Response, error, bool) {
		once.Do(func() { close(held) })
		l.kafka.KeepControl()
		l.kafka.SleepControl(func() { <-free })
		return nil, nil, false
	})
	return held, sync.OnceFunc(func() { close(free) })
}

// TestConfirmsNothingThatKafkaHasNot: while records are withheld the slot stands still, even when
// PostgreSQL asks or later transactions follow.
func TestConfirmsNothingThatKafkaHasNot(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec(createItems)
	l.start()
	l.exec("INSERT INTO item VALUES (1, '')")
	l.drained()
	arrived, release := l.hold()
	t.Cleanup(release)
	l.exec("INSERT INTO item VALUES (2, '')")
	<-arrived
	l.exec("INSERT INTO item VALUES (3, '')", "SELECT pg_logical_emit_message(true, 'test', 'x')")
	after := l.walEnd()
	// Reports go on: each new reply_time is a report sent with the records withheld.
	replies := map[string]bool{}
	eventually(t, "several reports were received", func() error {
		reply := l.query("SELECT coalesce(max(reply_time)::text, '') FROM pg_stat_replication r " +
			"JOIN pg_replication_slots s ON s.active_pid = r.pid " +
			"WHERE slot_name = '" + l.config.Slot + "'")
		replies[reply] = true
		if len(replies) < 4 {
			return fmt.Errorf("%d", len(replies))
		}
		return nil
	})
	slot, err := pglogrepl.ParseLSN(l.slotConfirmed())
	if err != nil {
		t.Fatal(err)
	}
	confirmed := max(uint64(slot), l.current.ConfirmedLSN())
	release()
	l.drained()
	eventually(t, "the slot has it", func() error {
		if l.query("SELECT (confirmed_flush_lsn >= '"+after.String()+"')::text "+
			"FROM pg_replication_slots WHERE slot_name = '"+l.config.Slot+"'") != "true" {
			return fmt.Errorf("it is at %s", l.slotConfirmed())
		}
		return nil
	})
	records := l.records()
	if len(records) != 3 {
		t.Fatalf("%d records, want 3", len(records))
	}
	// Tests of other databases write to the same log, so that only the commit itself is a bound.
	if commit := records[1].CommitLSN; confirmed > commit {
		t.Errorf("confirmed %d while the record of the transaction committed at %d was withheld",
			confirmed, commit)
	}
}

// TestCrashInTheSnapshotStartsItOver: there is no slot until every row has arrived.
func TestCrashInTheSnapshotStartsItOver(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec(createItems, "INSERT INTO item VALUES (1, 'a'), (2, 'b')")
	arrived, release := l.hold()
	t.Cleanup(release)
	l.launch()
	<-arrived
	if state, err := l.current.State(); state != Snapshotting || err != nil {
		t.Errorf("state %s, %v", state, err)
	}
	l.stop(ErrCrash)
	slots := "SELECT count(*)::text FROM pg_replication_slots WHERE slot_name LIKE '" +
		l.config.Slot + "%' " +
		"AND database = current_database()"
	eventually(t, "nothing is left of the slot", func() error {
		if n := l.query(slots); n != "0" {
			return fmt.Errorf("%s slots", n)
		}
		return nil
	})
	l.exec("UPDATE item SET v = 'c' WHERE id = 1")
	release()
	l.start()
	l.drained()
	l.same()
	if n := l.query(slots); n != "1" {
		t.Errorf("%s slots, want 1", n)
	}
}

// TestRecordThatKafkaRefuses: the record is not skipped; the state names the record.
func TestRecordThatKafkaRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec(createItems)
	l.start()
	before := l.walEnd()
	fault := l.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord,
		Count: -1})
	l.exec("INSERT INTO item VALUES (1, '')")
	eventually(t, "the state has the error", func() error {
		if _, err := l.current.State(); err == nil || l.current.ConfirmedLSN() > uint64(before) {
			return fmt.Errorf("state %w, confirmed %d", err, l.current.ConfirmedLSN())
		}
		return nil
	})
	fault.Remove()
	l.drained()
	l.same()
}
