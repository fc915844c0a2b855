package connector

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// patience is how long a condition may take, for a busy machine, not for the code.
const patience = 20 * time.Second

// lab is a database, a Kafka and a connector between the two.
type lab struct {
	t       *testing.T
	server  *postgres.Server
	kafka   *kfake.Cluster
	config  Config
	conn    *pgx.Conn
	current *Connector
	cancel  context.CancelCauseFunc
	done    chan error
}

func newLab(t *testing.T, s *postgres.Server, partitions int) *lab {
	t.Helper()
	name := servertest.Database(t, s)
	l := &lab{t: t, server: s, config: DefaultConfig(), kafka: servertest.Kafka(t)}
	l.config.DSN, l.config.Brokers = s.DSNOf(name), l.kafka.ListenAddrs()
	// Slots are the server's, not the database's.
	l.config.Slot, l.config.Partitions = name, partitions
	l.conn = l.connect(name)
	t.Cleanup(func() {
		if l.current != nil {
			l.stop(nil)
		}
		l.dropSlot()
	})
	return l
}

// dropSlot makes room for the slots of other tests.
func (l *lab) dropSlot() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, l.server.DSNOf("postgres"))
	if err != nil {
		l.t.Error(err)
		return
	}
	defer conn.Close(ctx)
	eventually(l.t, "the slot is dropped", func() error {
		_, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) "+
			"FROM pg_replication_slots WHERE slot_name LIKE $1", l.config.Slot)
		return err
	})
}

func (l *lab) connect(database string) *pgx.Conn {
	l.t.Helper()
	conn, err := pgx.Connect(l.t.Context(), l.server.DSNOf(database))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (l *lab) reconnect() { l.conn = l.connect(l.config.Slot) }

func (l *lab) exec(statements ...string) {
	l.t.Helper()
	for _, sql := range statements {
		if _, err := l.conn.Exec(l.t.Context(), sql); err != nil {
			l.t.Fatalf("%s: %v", sql, err)
		}
	}
}

func (l *lab) query(sql string) (text string) {
	l.t.Helper()
	if err := l.conn.QueryRow(l.t.Context(), sql).Scan(&text); err != nil {
		l.t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// launch starts the connector without waiting for anything.
func (l *lab) launch() {
	ctx, cancel := context.WithCancelCause(context.Background())
	l.current, l.cancel, l.done = New(l.config), cancel, make(chan error, 1)
	go func(c *Connector, done chan error) { done <- c.Run(ctx) }(l.current, l.done)
}

// start starts the connector and waits for the streaming.
func (l *lab) start() {
	l.t.Helper()
	l.launch()
	l.streams()
}

func (l *lab) streams() {
	l.t.Helper()
	eventually(l.t, "the connector streams", func() error {
		state, err := l.current.State()
		if state != Streaming {
			return fmt.Errorf("%s: %w", state, err)
		}
		return nil
	})
}

// stop ends the connector, with ErrCrash as a crash does.
func (l *lab) stop(cause error) {
	l.t.Helper()
	l.cancel(cause)
	if err := <-l.done; err != nil {
		l.t.Errorf("Run: %v", err)
	}
	l.current = nil
}

// drained waits until the connector has confirmed everything committed up to now. PostgreSQL goes
// on with the statements of a writer that has gone.
func (l *lab) drained() {
	l.t.Helper()
	eventually(l.t, "the sessions of the writers end", func() error {
		if n := l.query("SELECT count(*)::text FROM pg_stat_activity WHERE datname = " +
			"current_database() AND application_name = '" + writerName + "'"); n != "0" {
			return fmt.Errorf("%s are there", n)
		}
		return nil
	})
	target := l.walEnd()
	eventually(l.t, "the connector has confirmed "+target.String(), func() error {
		if confirmed := pglogrepl.LSN(l.current.ConfirmedLSN()); confirmed < target {
			state, err := l.current.State()
			return fmt.Errorf("it has confirmed %v, %s: %w", confirmed, state, err)
		}
		return nil
	})
}

func (l *lab) walEnd() pglogrepl.LSN {
	l.t.Helper()
	lsn, err := pglogrepl.ParseLSN(l.query("SELECT pg_current_wal_flush_lsn()::text"))
	if err != nil {
		l.t.Fatal(err)
	}
	return lsn
}

// slotConfirmed is the position confirmed in PostgreSQL's eyes.
func (l *lab) slotConfirmed() string {
	l.t.Helper()
	return l.query("SELECT confirmed_flush_lsn::text FROM pg_replication_slots " +
		"WHERE slot_name = '" + l.config.Slot + "'")
}

// got is a record of Kafka, decoded.
type got struct {
	*kgo.Record
	debezium.Event
}

func (g got) header(name string) string {
	for _, h := range g.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// text is a column's content; "" where the row has no such column.
func text(row debezium.Row, column string) string {
	if cell := row.Get(column); cell != nil {
		return string(cell.Value.Text())
	}
	return ""
}

func (g got) position(t *testing.T) string {
	t.Helper()
	position, err := g.Position()
	if err != nil {
		t.Fatal(err)
	}
	return position.String()
}

// records reads every record in Kafka now, in the order of each partition.
func (l *lab) records() []got {
	l.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(l.kafka.ListenAddrs()...), kgo.ConsumeRegex(),
		kgo.ConsumeTopics(`^cdc\..*`), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		l.t.Fatal(err)
	}
	defer client.Close()
	left := l.ends(kadm.NewClient(client))
	var all []got
	for len(left) > 0 {
		ctx, cancel := context.WithTimeout(l.t.Context(), patience)
		fetches := client.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil {
			l.t.Fatalf("read Kafka, still waiting for %v: %v", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			all = append(all, l.decode(r))
			at := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
			if end, ok := left[at]; ok && r.Offset+1 >= end {
				delete(left, at)
			}
		})
	}
	return all
}

// ends are the ends of the partitions with records.
func (l *lab) ends(admin *kadm.Client) map[string]int64 {
	l.t.Helper()
	listed, err := admin.ListEndOffsets(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	ends := map[string]int64{}
	listed.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			ends[fmt.Sprintf("%s/%d", end.Topic, end.Partition)] = end.Offset
		}
	})
	return ends
}

func (l *lab) decode(r *kgo.Record) got {
	l.t.Helper()
	var headers []debezium.Header
	for _, h := range r.Headers {
		headers = append(headers, debezium.Header(h))
	}
	event, err := new(debezium.Decoder).Decode(r.Key, r.Value, headers)
	if err != nil {
		l.t.Fatalf("decode %s: %v", r.Value, err)
	}
	return got{r, *event}
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited %v until %s: %v", patience, what, err)
		case <-tick.C:
		}
	}
}
