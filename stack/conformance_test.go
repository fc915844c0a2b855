package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack/connect"
	"github.com/cdclab/cdclab/stack/connector"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// conformanceSetup makes the objects in every case's database. A signal's row is an event like any
// other in our connector and is not compared.
const conformanceSetup = `CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; ` +
	`CREATE EXTENSION hstore SCHEMA ext;
	CREATE PUBLICATION cdclab FOR ALL TABLES;
	CREATE TABLE debezium_signal (id varchar(64) PRIMARY KEY, ` +
	`type varchar(32) NOT NULL, data varchar(2048))`

// TestConformance: both connectors read the log of one PostgreSQL, so an envelope must be the same
// but for readings of a clock. The list in differences_test.go holds all differences and nothing
// else.
func TestConformance(t *testing.T) {
	s := upForTest(t, nativeOptions(t))
	used := map[int]int{}
	for n, c := range conformanceCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			r := newRace(t, s, fmt.Sprintf("c%02d", n))
			r.run(c)
			theirs, ours := r.records()
			if len(theirs) == 0 && c.Name != "rollback" {
				t.Error("Debezium sent nothing")
			}
			for _, d := range differ(theirs, ours) {
				if i := accepted(c.Name, d.path); i >= 0 {
					used[i]++
					continue
				}
				t.Errorf("%s\n  Debezium %s\n  ours     %s", d.path, d.theirs, d.ours)
			}
		})
	}
	for i, d := range acceptedDifferences {
		if used[i] == 0 && !t.Failed() && !filtered() {
			t.Errorf("no record differs any more in %s (%s): take the row out", d.path, d.why)
		}
		t.Logf("%6d values: %s", used[i], d.why)
	}
}

// race is one database with two readers of its log.
type race struct {
	t      *testing.T
	stack  *Stack
	name   string
	dsn    string
	kfake  *kfake.Cluster
	ours   *connector.Connector
	cancel context.CancelFunc
	done   chan error
}

func newRace(t *testing.T, s *Stack, name string) *race {
	t.Helper()
	mustExec(t, s, "CREATE DATABASE "+name)
	r := &race{t: t, stack: s, name: name}
	address, err := url.Parse(s.Endpoints().PostgresDSN)
	if err != nil {
		t.Fatal(err)
	}
	address.Path = name
	r.dsn = address.String()
	if r.kfake, err = kfake.NewCluster(kfake.NumBrokers(1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kfake.Close)
	t.Cleanup(func() {
		r.stop()
		expect.Soon(t, "both slots are gone", func() error {
			return postgres.With(context.Background(), r.dsn, func(conn *pgx.Conn) error {
				const drop = `SELECT pg_drop_replication_slot(slot_name)
					FROM pg_replication_slots WHERE database = current_database()`
				_, err := conn.Exec(context.Background(), drop)
				return err
			})
		})
	})
	if _, err := r.connect().Exec(t.Context(), conformanceSetup); err != nil {
		t.Fatal(err)
	}
	return r
}

// connect opens a session in the database as the corpus' were: ext holds the extensions.
func (r *race) connect() *pgx.Conn {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.dsn+"&search_path=public,ext")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (r *race) rest() connect.Client { return r.stack.parts.connector.(*debezium).rest() }

// start makes both connectors read, and returns when both stream.
func (r *race) start(overrides map[string]string) {
	r.t.Helper()
	config, err := readProfile(TunedProfile)
	if err != nil {
		r.t.Fatal(err)
	}
	config["database.dbname"], config["topic.prefix"], config["slot.name"] = r.name, r.name,
		r.slot("theirs")
	config["signal.data.collection"] = "public.debezium_signal"
	config["topic.creation.default.partitions"] = "3"
	maps.Copy(config, overrides)
	if err := r.rest().Put(nativeContext(r.t), r.name, config); err != nil {
		r.t.Fatal(err)
	}
	ours := connector.DefaultConfig()
	ours.DSN, ours.Brokers, ours.Slot = r.dsn, r.kfake.ListenAddrs(), r.slot("ours")
	ours.TopicPrefix, ours.Partitions = r.name, 3
	ctx, cancel := context.WithCancel(context.Background())
	r.ours, r.cancel, r.done = connector.New(ours), cancel, make(chan error, 1)
	go func(c *connector.Connector, done chan error) { done <- c.Run(ctx) }(r.ours, r.done)
	expect.Soon(r.t, "both connectors stream", func() error {
		if state, why := r.ours.State(); state != connector.Streaming {
			return fmt.Errorf("ours: %s %w", state, errors.Join(why))
		}
		return postgres.With(r.t.Context(), r.dsn, func(conn *pgx.Conn) error {
			var active int
			const query = `SELECT count(*) FROM pg_replication_slots
				WHERE active AND slot_name = ANY($1)`
			slots := []string{r.slot("ours"), r.slot("theirs")}
			err := conn.QueryRow(r.t.Context(), query, slots).Scan(&active)
			if err == nil && active < 2 {
				err = fmt.Errorf("%d of 2 slots are read", active)
			}
			return err
		})
	})
}

func (r *race) slot(whose string) string { return whose + "_" + r.name }

// stop ends both connectors, where running; the slots stay.
func (r *race) stop() {
	r.t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := errors.Join(<-r.done, r.rest().Delete(context.Background(), r.name)); err != nil {
		r.t.Error(err)
	}
	expect.Soon(r.t, "nobody reads the slots", func() error {
		return postgres.With(context.Background(), r.dsn, func(conn *pgx.Conn) error {
			var active int
			err := conn.QueryRow(context.Background(), `SELECT count(*) FROM pg_replication_slots
				WHERE active AND database = current_database()`).Scan(&active)
			if err == nil && active > 0 {
				err = fmt.Errorf("%d are read", active)
			}
			return err
		})
	})
}

// run plays the case's steps, and returns when both connectors have delivered all records.
func (r *race) run(c conformanceCase) {
	r.t.Helper()
	sessions := map[string]*pgx.Conn{}
	blocked := map[string]chan error{}
	if c.Steps[0].Connector != "stop" {
		r.start(nil)
	}
	for _, step := range c.Steps {
		switch step.Connector {
		case "stop":
			r.drained()
			r.stop()
			continue
		case "start":
			r.start(step.Overrides)
			continue
		}
		conn := sessions[step.Session]
		if conn == nil {
			conn = r.connect()
			sessions[step.Session] = conn
		}
		if done := blocked[step.Session]; done != nil {
			delete(blocked, step.Session)
			if err := <-done; err != nil {
				r.t.Fatalf("%s: %v", step.SQL, err)
			}
		}
		run := func() error {
			if step.Stdin != nil {
				rows := strings.NewReader(strings.Join(step.Stdin, "\n") + "\n")
				_, err := conn.PgConn().CopyFrom(r.t.Context(), rows, step.SQL)
				return err
			}
			_, err := conn.PgConn().Exec(r.t.Context(), step.SQL).ReadAll()
			return err
		}
		if step.Blocks {
			done := make(chan error, 1)
			blocked[step.Session] = done
			go func() { done <- run() }()
			r.waitsForLock(conn.PgConn().PID())
			continue
		}
		if err := run(); (err != nil) != (step.Error != "") {
			r.t.Fatalf("%s: %v, want %q", step.SQL, err, step.Error)
		}
	}
	r.drained()
}

func (r *race) waitsForLock(pid uint32) {
	r.t.Helper()
	conn := r.connect()
	expect.Soon(r.t, "the statement waits for a lock", func() error {
		var n int
		err := conn.QueryRow(r.t.Context(), "SELECT cardinality(pg_blocking_pids($1::int))",
			pid).Scan(&n)
		if err == nil && n == 0 {
			err = errors.New("it does not")
		}
		return err
	})
}

// drained waits until both connectors have confirmed the present end of the log, and then until
// neither sends more: an incremental snapshot goes on by itself.
func (r *race) drained() {
	r.t.Helper()
	if r.ours == nil {
		return
	}
	var end pglogrepl.LSN
	err := postgres.With(r.t.Context(), r.dsn, func(conn *pgx.Conn) error {
		var text string
		err := conn.QueryRow(r.t.Context(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&text)
		if err != nil {
			return err
		}
		end, err = pglogrepl.ParseLSN(text)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, slot := range []string{r.slot("theirs"), r.slot("ours")} {
		expect.Soon(r.t, slot+" has confirmed "+end.String(), func() error {
			at, err := slotConfirmed(r.t.Context(), r.dsn, slot)
			if err == nil && at < end {
				err = fmt.Errorf("it is at %s", at)
			}
			if status, asked := r.rest().Status(r.t.Context(), r.name); asked == nil {
				err = errors.Join(err, status.Health())
			}
			return err
		})
	}
	look := time.NewTicker(600 * time.Millisecond)
	defer look.Stop()
	for before := -1; ; <-look.C {
		theirs, ours := r.records()
		if len(theirs)+len(ours) == before {
			return
		}
		before = len(theirs) + len(ours)
	}
}

// records returns Kafka's records of each connector, without the messages of slotConfirmed.
func (r *race) records() (theirs, ours []*kgo.Record) {
	r.t.Helper()
	return r.read(r.stack.KafkaOptions()...), r.read(kgo.SeedBrokers(r.kfake.ListenAddrs()...))
}

func (r *race) read(reach ...kgo.Opt) []*kgo.Record {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), expect.Patience)
	defer cancel()
	client, err := kgo.NewClient(append(reach, kgo.ConsumeRegex(),
		kgo.ConsumeTopics(`^`+r.name+`\.`, `^__debezium-heartbeat\.`+r.name),
		kgo.FetchMaxWait(50*time.Millisecond))...)
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	left := map[string]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 && (strings.HasPrefix(end.Topic, r.name+".") ||
			strings.HasSuffix(end.Topic, "."+r.name)) {
			left[fmt.Sprintf("%s/%d", end.Topic, end.Partition)] = end.Offset
		}
	})
	var all []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			r.t.Fatalf("read Kafka, still waiting for %v: %v", left, err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if !bytes.HasPrefix(record.Key, []byte(`{"prefix":"cdclab"}`)) {
				all = append(all, record)
			}
			at := fmt.Sprintf("%s/%d", record.Topic, record.Partition)
			if end, ok := left[at]; ok && record.Offset+1 >= end {
				delete(left, at)
			}
		})
	}
	return all
}
