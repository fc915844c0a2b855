package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/documents/documentstest"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

func order(op debezium.Op, id, commit int, status string) *kgo.Record {
	key := consumertest.Columns("id", consumertest.UUID(id))
	if op == debezium.Delete {
		return consumertest.Record("order", op, commit, key, key, nil)
	}
	return consumertest.Record("order", op, commit, key, nil,
		consumertest.Columns("id", consumertest.UUID(id), "customer_id", consumertest.UUID(1),
			"status", status, "total_amount", "3.00", "created_at", "2026-11-22T07:55:47Z",
			"updated_at", "2026-11-22T07:55:47.000001Z", "lab_version", int64(commit)))
}

// story is a log of every kind of event, with the result each must have.
func story() []*kgo.Record {
	moved := consumertest.Item(consumertest.Update, 102, 12, consumertest.ItemColumns(102, 11, 5),
		consumertest.ItemColumns(102, 12, 12))
	return []*kgo.Record{
		consumertest.Customer(debezium.Read, 1, 1, "snapshot@x"),
		consumertest.Customer(consumertest.Update, 1, 2, "one@x"),
		consumertest.Customer(consumertest.Update, 1, 3, debezium.Unavailable),
		consumertest.Customer(consumertest.Insert, 2, 4, "two@x"),
		consumertest.Customer(consumertest.Remove, 2, 5, nil),
		{Topic: "cdc.public.customer",
			Key: consumertest.Customer(consumertest.Remove, 2, 5, nil).Key},
		consumertest.Item(consumertest.Insert, 101, 6, nil, consumertest.ItemColumns(101, 11, 4)),
		consumertest.Item(consumertest.Insert, 102, 7, nil, consumertest.ItemColumns(102, 11, 5)),
		order(consumertest.Insert, 11, 8, "new"), order(consumertest.Insert, 12, 9, "new"),
		order(consumertest.Update, 11, 10, "paid"),
		consumertest.Item(consumertest.Remove, 101, 11, consumertest.ItemColumns(101, 11, 4), nil),
		moved,
		consumertest.Customer(consumertest.Insert, 2, 13, "back@x"),
		order(consumertest.Remove, 13, 14, ""),
	}
}

func checkStory(t *testing.T, read func(collection, id string) bson.M) {
	t.Helper()
	member := func(document any, path ...string) any {
		for _, name := range path {
			nested, _ := document.(bson.M)
			document = nested[name]
		}
		return document
	}
	for _, c := range []struct {
		collection string
		id         int
		path       string
		want       any
	}{
		{"customers", 1, "email", "one@x"},
		{"customers", 1, "labVersion", int64(3)},
		{"customers", 2, "email", "back@x"},
		{"customers", 2, "cdcMetadata/deleted", nil},
		{"orders", 11, "status", "paid"},
		{"orders", 11, "cdcMetadata/shell", nil},
		{"orders", 11, "updatedAtExact", "2026-11-22T07:55:47.000001Z"},
		{"orders", 11, "items/" + consumertest.UUID(101) + "/cdcMetadata/deleted", true},
		{"orders", 11, "items/" + consumertest.UUID(102) + "/cdcMetadata/deleted", true},
		{"orders", 12, "items/" + consumertest.UUID(102) + "/labVersion", int64(12)},
		{"orders", 12, "items/" + consumertest.UUID(102) + "/cdcMetadata/deleted", nil},
		{"orders", 13, "cdcMetadata/deleted", true},
	} {
		got := member(read(c.collection, consumertest.UUID(c.id)), strings.Split(c.path, "/")...)
		if got != c.want {
			t.Errorf("%s %d: %s is %v, want %v", c.collection, c.id, c.path, got, c.want)
		}
	}
}

var decimals = cmpopts.EquateComparable(bson.Decimal128{})

// documentsOf is all documents of the lab's tables.
func documentsOf(t *testing.T, d *consumertest.Database) map[string]bson.M {
	return d.All(t, "customers", "addresses", "orders")
}

// TestStory: from the topics to the documents; then the whole log again, to another group.
func TestStory(t *testing.T) {
	t.Parallel()
	lab, m := newKafkaLab(t), consumertest.OpenDatabase(t)
	uri := m.URI
	lab.config.Mongo.URI, lab.config.Mongo.Database = uri, m.Name
	lab.Produce(t, story()...)
	first := lab.run(t, nil)
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	checkStory(t, m.Read)
	events := float64(len(story()) - 1) // less the null value
	if got := first.sum(t, telemetry.OutcomeApplied) +
		first.sum(t, telemetry.OutcomeFolded); got != events {
		t.Errorf("%v events applied or folded, want %v", got, events)
	}
	first.end(t)

	before := documentsOf(t, m)
	lab.config.Group = "again"
	again := lab.run(t, nil)
	consumertest.Eventually(t, "all committed again", func() bool { return lab.lag(t) == 0 })
	if diff := cmp.Diff(before, documentsOf(t, m), decimals); diff != "" {
		t.Errorf("the redelivered log changed (-before +after):\n%s", diff)
	}
	if applied := again.sum(t, telemetry.OutcomeApplied); applied != 0 {
		t.Errorf("%v redelivered events were applied", applied)
	}
}

// TestPoison: a record nobody can ever write is kept unchanged, alone, and the rest goes on.
func TestPoison(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	poison := &kgo.Record{Topic: "cdc.public.customer", Key: []byte("\x00key"),
		Timestamp: consumertest.Time,
		Value:     []byte("{\"op\":\xff"), Headers: []kgo.RecordHeader{{Key: "h",
			Value: []byte("\x01")}}}
	broken := consumertest.Customer(consumertest.Update, 1, 2, nil)
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"), poison, broken,
		consumertest.Customer(consumertest.Insert, 2, 3, "two@x"))
	r := lab.run(t, s)
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	for id, email := range map[int]string{1: "one@x", 2: "two@x"} {
		document := consumertest.ReadDocument(s, "customers", consumertest.UUID(id))
		if got := document["email"]; got != email {
			t.Errorf("customer %d has %v, want %s", id, got, email)
		}
	}
	rules := map[string]string{string(poison.Key): fate.RuleUndecodable,
		string(broken.Key): "required"}
	sent := map[string]*kgo.Record{string(poison.Key): poison, string(broken.Key): broken}
	for _, letter := range lab.letters(t, 2) {
		original := sent[string(letter.Key)]
		if original == nil || !bytes.Equal(letter.Value, original.Value) {
			t.Fatalf("dead letter %q: %q", letter.Key, letter.Value)
		}
		headers := map[string]string{}
		for _, h := range letter.Headers {
			headers[h.Key] = string(h.Value)
		}
		for name, want := range map[string]string{
			deadletter.HeaderRule:      rules[string(letter.Key)],
			deadletter.HeaderTopic:     "cdc.public.customer",
			deadletter.HeaderPartition: fmt.Sprint(original.Partition),
			deadletter.HeaderOffset:    fmt.Sprint(original.Offset),
			deadletter.HeaderTimestamp: fmt.Sprint(consumertest.Time.UnixMilli()),
			original.Headers[0].Key:    string(original.Headers[0].Value),
		} {
			if headers[name] != want {
				t.Errorf("dead letter %q: header %s is %q, want %q", letter.Key, name,
					headers[name], want)
			}
		}
		if headers[deadletter.HeaderReason] == "" {
			t.Errorf("dead letter %q gives no reason", letter.Key)
		}
	}
	if n := r.sum(t, telemetry.OutcomeDeadLetter); n != 2 {
		t.Errorf("%v events counted as dead letters, want 2", n)
	}
}

// TestServerAway: nothing is committed and nothing dead-lettered while MongoDB is unreachable, and
// everything is applied afterwards.
func TestServerAway(t *testing.T) {
	t.Parallel()
	lab, m := newKafkaLab(t), consumertest.OpenDatabase(t)
	uri := m.URI
	host := strings.SplitN(strings.TrimPrefix(uri, "mongodb://"), "/", 2)[0]
	network := newForwarder(t, host)
	lab.config.Mongo.Database = m.Name
	lab.config.Mongo.URI = strings.Replace(uri, host, network.listener.Addr().String(), 1)
	lab.config.Mongo.SelectTimeout = 200 * time.Millisecond
	lab.config.RetryMax = 200 * time.Millisecond
	r := lab.run(t, nil)
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"))
	consumertest.Eventually(t, "the first committed", func() bool { return lab.lag(t) == 0 })

	network.set(true)
	var records []*kgo.Record
	for n := range 50 {
		records = append(records, consumertest.Customer(consumertest.Insert, 10+n, 2+n, "away@x"))
	}
	lab.Produce(t, records...)
	consumertest.Eventually(t, "both partitions paused", func() bool {
		return consumertest.ValueOf(t, r.metrics.Paused) == 2
	})
	if lag := lab.lag(t); lag != 50 {
		t.Errorf("lag %d while MongoDB is away, want 50", lag)
	}
	network.set(false)
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	if paused := consumertest.ValueOf(t, r.metrics.Paused); paused != 0 {
		t.Errorf("%v partitions paused at the end", paused)
	}
	if letters := r.sum(t, telemetry.OutcomeDeadLetter); letters != 0 {
		t.Errorf("%v dead letters", letters)
	}
	if got := len(documentsOf(t, m)); got != 51 {
		t.Errorf("%d documents, want 51", got)
	}
}

// TestKilled: a consumer dies before committing its offsets. The next consumer gets all records
// again, and no document goes back.
func TestKilled(t *testing.T) {
	t.Parallel()
	lab, m := newKafkaLab(t), consumertest.OpenDatabase(t)
	uri := m.URI
	lab.config.Mongo.URI, lab.config.Mongo.Database = uri, m.Name
	commits := kmsg.NewPtrOffsetCommitRequest().Key()
	var alive atomic.Bool
	lab.Cluster.ControlKey(commits, func(kmsg.Request) (kmsg.Response, error, bool) {
		lab.Cluster.KeepControl()
		return nil, errCrash, !alive.Load()
	})
	lab.Produce(t, story()...)
	events := float64(len(story()) - 1)
	first := lab.run(t, nil)
	consumertest.Eventually(t, "all applied", func() bool {
		applied, folded := telemetry.OutcomeApplied, telemetry.OutcomeFolded
		return first.sum(t, applied)+first.sum(t, folded) == events
	})
	first.end(t)
	before := documentsOf(t, m)
	if lag := lab.lag(t); lag != int64(len(story())) {
		t.Fatalf("lag %d after a death without commits, want %d", lag, len(story()))
	}
	alive.Store(true)
	second := lab.run(t, nil)
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	checkStory(t, m.Read)
	if diff := cmp.Diff(before, documentsOf(t, m), decimals); diff != "" {
		t.Errorf("redelivery changed (-before +after):\n%s", diff)
	}
	if applied := second.sum(t, telemetry.OutcomeApplied); applied != 0 {
		t.Errorf("%v redelivered events were applied", applied)
	}
}

// TestShutdown: acknowledged records are committed although the next commit was far away, the
// member is gone from the group, and the end comes quickly.
func TestShutdown(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	lab.config.CommitInterval = time.Hour
	lab.Produce(t, story()...)
	r := lab.run(t, documents.NewMemory())
	events := float64(len(story()) - 1)
	consumertest.Eventually(t, "all applied", func() bool {
		return r.sum(t, telemetry.OutcomeApplied)+r.sum(t, telemetry.OutcomeFolded) == events
	})
	started := time.Now()
	r.end(t)
	if took := time.Since(started); took > lab.config.ShutdownTimeout {
		t.Errorf("the end took %v", took)
	}
	if lag := lab.lag(t); lag != 0 {
		t.Errorf("lag %d after the end, want 0", lag)
	}
	groups, err := lab.Admin.DescribeGroups(context.Background(), lab.config.Group)
	if err != nil {
		t.Fatal(err)
	}
	if members := groups[lab.config.Group].Members; len(members) != 0 {
		t.Errorf("the group still has %v", members)
	}
}

// TestShutdownWhilePaused: a server away for good keeps nobody from ending.
func TestShutdownWhilePaused(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documentstest.NewWatchedStore()
	s.Refuse = func(*documents.Write) error { return errors.New("connection refused") }
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"))
	r := lab.run(t, s)
	consumertest.Eventually(t, "paused", func() bool {
		return consumertest.ValueOf(t, r.metrics.Paused) == 1
	})
	r.end(t)
	if lag := lab.lag(t); lag != 1 {
		t.Errorf("lag %d, want the one record that was never written", lag)
	}
}

func TestRunStops(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documentstest.NewWatchedStore()
	s.Refuse = func(*documents.Write) error { return &fate.Halt{Err: errors.New("not authorized")} }
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"))
	r := lab.run(t, s)
	select {
	case err := <-r.done:
		if err == nil || !strings.Contains(err.Error(), "not authorized") {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(consumertest.Patience):
		t.Error("Run goes on without the permission to write")
	}
	r.done = nil
}

// TestReplayThroughConsumer: a replay meets the same guard and the same rules as any record. A
// record older than its document is stale; a record breaking a rule is a letter again, with the
// count.
func TestReplayThroughConsumer(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	r := lab.run(t, s)
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 1, 5, "new@x"),
		consumertest.Customer(consumertest.Insert, 2, 1, nil))
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	ctx := context.Background()
	read := func() (letters []*deadletter.Letter) {
		_, err := deadletter.Read(ctx, lab.Producer, lab.config.DeadLetterTopic,
			deadletter.Filter{}, func(l *deadletter.Letter) error {
				letters = append(letters, l)
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
		return letters
	}
	d, err := deadletter.Open(lab.Producer.Opts(), lab.config.DeadLetterTopic, lab.config.Group)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	older := consumertest.Customer(debezium.Update, 1, 4, "old@x")
	older.Offset, older.Timestamp = 99, consumertest.Time
	err = d.Send(ctx, []deadletter.Rejected{{Record: older, Entity: "customer", Operation: "INSERT",
		Err: fate.Rejectf("enum", "wrong")}})
	if err != nil {
		t.Fatal(err)
	}
	letters := read()
	if len(letters) != 2 || letters[0].Rule != "required" || letters[0].Group != lab.config.Group ||
		letters[0].Consumer == "" {
		t.Fatalf("letters %+v", letters)
	}
	counts, err := deadletter.Replay(ctx, lab.Producer, lab.config.DeadLetterTopic,
		deadletter.Filter{}, regexp.MustCompile(lab.config.Topics), func(*deadletter.Letter) {})
	if err != nil || counts.Visited != 2 {
		t.Fatalf("%+v, %v", counts, err)
	}
	consumertest.Eventually(t, "the replays committed", func() bool { return lab.lag(t) == 0 })
	if email := consumertest.ReadDocument(s, "customers",
		consumertest.UUID(1))["email"]; email != "new@x" {
		t.Errorf("the replay of an old event made the document %v", email)
	}
	if stale := r.sum(t, telemetry.OutcomeStale); stale != 1 {
		t.Errorf("%v events stale, want 1", stale)
	}
	letters = read()
	if len(letters) != 1 || letters[0].Attempts != 2 || letters[0].ReplayOf != "0" ||
		letters[0].FirstOffset == letters[0].Record.Offset {
		t.Errorf("letters after the replay: %+v", letters)
	}
}
