package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// seedsEnv is the seeds of TestNativeReadOnlySnapshots, as "first-last"; 0 alone where not set.
const seedsEnv = "CDCLAB_SEEDS"

const (
	snapshotRows    = 5_000
	snapshotWriters = 4
	// snapshotLast is the row with the highest key: no writer touches the row, so that the row's
	// document says that the last window of the snapshot is closed.
	snapshotLast = 1_000_000
)

// TestNativeReadOnlySnapshots: a real Debezium takes a read-only incremental snapshot of rows that
// the log does not have, while writers overlap the snapshot. Each document ends as the row.
//
//	CDCLAB_NATIVE=1 CDCLAB_SEEDS=0-19 go test -v -timeout 60m ./stack -run NativeReadOnlySnapshots
func TestNativeReadOnlySnapshots(t *testing.T) {
	options := nativeOptions(t)
	var first, last uint64
	if text := os.Getenv(seedsEnv); text != "" {
		if _, err := fmt.Sscanf(text, "%d-%d", &first, &last); err != nil {
			t.Fatalf("%s=%q: %v, want 0-19", seedsEnv, text, err)
		}
	}
	s := upForTest(t, options)
	signals := filepath.Join(t.TempDir(), "signals.txt")
	if err := os.WriteFile(signals, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := s.parts.connector.(*debezium)
	config := maps.Clone(d.config)
	delete(config, "signal.data.collection")
	maps.Copy(config, map[string]string{"read.only": "true", "signal.enabled.channels": "file",
		"signal.file": signals, "signal.poll.interval.ms": "1000",
		"incremental.snapshot.chunk.size": "128"})
	ctx := nativeContext(t)
	if err := d.rest().Put(ctx, connectorName, config); err != nil {
		t.Fatal(err)
	}
	expect.Before(ctx, t, "the connector streams", func() error { return d.Health(ctx) })
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			overlapSnapshot(t, s, signals, seed)
		})
	}
}

// overlapSnapshot takes a snapshot of a new table under writers, and compares each row.
func overlapSnapshot(t *testing.T, s *Stack, signals string, seed uint64) {
	ctx := nativeContext(t)
	table := fmt.Sprintf("snap%d", seed)
	// Rows of an unlogged table are in no log, so that the snapshot alone has the rows.
	mustExec(t, s, "CREATE UNLOGGED TABLE "+table+" (id int PRIMARY KEY, v bigint NOT NULL)")
	mustExec(t, s, "INSERT INTO "+table+" SELECT n, 0 FROM generate_series(1, $1::int) n",
		snapshotRows-1)
	mustExec(t, s, fmt.Sprintf("INSERT INTO %s VALUES (%d, 0)", table, snapshotLast))
	mustExec(t, s, "ALTER TABLE "+table+" SET LOGGED")
	began := time.Now()
	load := startWriters(ctx, t, s, table, seed)
	documents := servertest.MongoClient(t, s.Endpoints().MongoURI).
		Database(s.Endpoints().MongoDatabase).Collection(table)
	askForSnapshot(ctx, t, signals, table, documents)
	expect.Before(ctx, t, "the last row of the snapshot is there", func() error {
		return documents.FindOne(ctx, bson.D{{Key: "_id", Value: strconv.Itoa(snapshotLast)}}).Err()
	})
	load.stop()
	if err := s.Drained(ctx); err != nil {
		t.Fatal(err)
	}
	rows := rowsOf(ctx, t, s, table)
	found := map[string]int64{}
	cursor, err := documents.Find(ctx, bson.D{{Key: "cdcMetadata.deleted",
		Value: bson.D{{Key: "$ne", Value: true}}}})
	if err != nil {
		t.Fatal(err)
	}
	for cursor.Next(ctx) {
		found[cursor.Current.Lookup("_id").StringValue()] = cursor.Current.Lookup("v").AsInt64()
	}
	if err := cursor.Err(); err != nil {
		t.Fatal(err)
	}
	var lost, stale, resurrected int
	for id, v := range rows {
		if has, there := found[id]; !there {
			lost++
		} else if has != v {
			stale++
		}
	}
	for id := range found {
		if _, there := rows[id]; !there {
			resurrected++
		}
	}
	read, below, kept := recordsOf(ctx, t, s, table)
	t.Logf("%d rows, %d lost, %d stale, %d resurrected; %d changes in %d transactions, %d rows "+
		"by the snapshot, %d changes below the LSN of a row of the snapshot before, %.1f s",
		len(rows), lost, stale, resurrected, kept, load.commits.Load(), read, below,
		time.Since(began).Seconds())
	if lost+stale+resurrected > 0 || read < snapshotRows/10 || load.commits.Load() < 20 {
		t.Errorf("want no difference, of %d rows at least", snapshotRows/10)
	}
}

// askForSnapshot writes the signal until a row of the snapshot is there, because Debezium empties
// the file of signals after each look, and a signal written meanwhile is lost.
func askForSnapshot(ctx context.Context, t *testing.T, signals, table string,
	documents *mongo.Collection) {
	t.Helper()
	signal := fmt.Sprintf(`{"id":"%s","type":"execute-snapshot",`+
		`"data":{"data-collections":["public.%s"],"type":"incremental"}}`+"\n", table, table)
	var asked time.Time
	expect.Before(ctx, t, "the snapshot has begun", func() error {
		if time.Since(asked) > 15*time.Second {
			asked = time.Now()
			if err := os.WriteFile(signals, []byte(signal), 0o600); err != nil {
				return err
			}
		}
		return documents.FindOne(ctx,
			bson.D{{Key: "cdcMetadata.operation", Value: "SNAPSHOT"}}).Err()
	})
}

// writers are transactions of several changes each, open beside each other.
type writers struct {
	stop    func()
	commits atomic.Int64
	value   atomic.Int64
}

func startWriters(ctx context.Context, t *testing.T, s *Stack, table string,
	seed uint64) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	w := &writers{stop: func() { cancel(); all.Wait() }}
	var connections [snapshotWriters]*pgx.Conn
	for i := range connections {
		connections[i] = servertest.Connect(t, s.Endpoints().PostgresDSN)
	}
	t.Cleanup(w.stop)
	for number, conn := range connections {
		random := rand.New(rand.NewPCG(seed, uint64(number)))
		all.Go(func() {
			for ctx.Err() == nil {
				err := w.transact(context.WithoutCancel(ctx), conn, table, random)
				var refused *pgconn.PgError
				if errors.As(err, &refused) { // a deadlock, or a key that is taken
					continue
				}
				if err != nil {
					t.Errorf("writer %d: %v", number, err)
					return
				}
			}
		})
	}
	return w
}

func (w *writers) transact(ctx context.Context, conn *pgx.Conn, table string,
	random *rand.Rand) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	for range 1 + random.IntN(10) {
		id, v := 1+random.IntN(snapshotRows-1), w.value.Add(1)
		switch n := random.IntN(26); {
		case n < 10:
			_, err = tx.Exec(ctx, "UPDATE "+table+" SET v = $2 WHERE id = $1", id, v)
		case n < 14:
			_, err = tx.Exec(ctx, "DELETE FROM "+table+" WHERE id = $1", id)
		case n < 18:
			_, err = tx.Exec(ctx, "INSERT INTO "+table+" VALUES ($1, $2) "+
				"ON CONFLICT (id) DO UPDATE SET v = excluded.v", id, v)
		case n == 18:
			_, err = tx.Exec(ctx, "UPDATE "+table+" SET id = $2, v = $3 WHERE id = $1", id,
				1+random.IntN(snapshotRows-1), v)
		default: // others commit meanwhile
			_, err = tx.Exec(ctx, "SELECT pg_sleep($1)", random.Float64()/20)
		}
		if err != nil {
			return err
		}
	}
	if err = tx.Commit(ctx); err == nil {
		w.commits.Add(1)
	}
	return err
}

func rowsOf(ctx context.Context, t *testing.T, s *Stack, table string) map[string]int64 {
	t.Helper()
	found, err := servertest.Connect(t, s.Endpoints().PostgresDSN).Query(ctx,
		"SELECT id::text, v FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int64{}
	var id string
	var v int64
	if _, err := pgx.ForEachRow(found, []any{&id, &v}, func() error {
		rows[id] = v
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

// recordsOf counts a table's records: rows of a snapshot, changes below the LSN of a row of the
// snapshot that came before, and all changes.
func recordsOf(ctx context.Context, t *testing.T, s *Stack, table string) (read, below, kept int) {
	t.Helper()
	topic := s.topicPrefix() + ".public." + table
	client, err := kgo.NewClient(append(s.KafkaOptions(), kgo.ConsumeTopics(topic))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(end kadm.ListedOffset) { left += end.Offset })
	top := map[int32]uint64{}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			var event struct {
				Op     string
				Source struct {
					LSN      uint64
					Sequence string
				}
			}
			if len(r.Value) == 0 {
				return
			}
			if err := json.Unmarshal(r.Value, &event); err != nil {
				t.Fatal(err)
			}
			var sequence [2]*string
			if err := json.Unmarshal([]byte(event.Source.Sequence), &sequence); err != nil {
				t.Fatal(err)
			}
			if event.Op == "r" && sequence[1] != nil {
				read++
				lsn, _ := strconv.ParseUint(*sequence[1], 10, 64)
				top[r.Partition] = max(top[r.Partition], lsn)
				return
			}
			if kept++; event.Source.LSN < top[r.Partition] {
				below++
			}
		})
	}
	return read, below, kept
}
