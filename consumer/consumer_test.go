package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
)

func order(op debezium.Op, id, commit int, status string) *kgo.Record {
	key := columns("id", uuid(id))
	if op == debezium.Delete {
		return record("order", op, commit, key, key, nil)
	}
	return record("order", op, commit, key, nil, columns("id", uuid(id), "customer_id", uuid(1),
		"status", status, "total_amount", "3.00", "created_at", "2026-11-22T07:55:47Z",
		"updated_at", "2026-11-22T07:55:47.000001Z", "lab_version", int64(commit)))
}

// story is a log of every kind of event, and what must come of it.
func story() []*kgo.Record {
	moved := item(update, 102, 12, itemColumns(102, 11, 5), itemColumns(102, 12, 12))
	return []*kgo.Record{
		customer(debezium.Read, 1, 1, "snapshot@x"), customer(update, 1, 2, "one@x"),
		customer(update, 1, 3, debezium.Unavailable), customer(insert, 2, 4, "two@x"),
		customer(remove, 2, 5, nil), {Topic: "cdc.public.customer", Key: customer(remove, 2, 5, nil).Key},
		item(insert, 101, 6, nil, itemColumns(101, 11, 4)),
		item(insert, 102, 7, nil, itemColumns(102, 11, 5)),
		order(insert, 11, 8, "new"), order(insert, 12, 9, "new"), order(update, 11, 10, "paid"),
		item(remove, 101, 11, itemColumns(101, 11, 4), nil), moved,
		customer(insert, 2, 13, "back@x"), order(remove, 13, 14, ""),
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
		{"orders", 11, "items/" + uuid(101) + "/cdcMetadata/deleted", true},
		{"orders", 11, "items/" + uuid(102) + "/cdcMetadata/deleted", true},
		{"orders", 12, "items/" + uuid(102) + "/labVersion", int64(12)},
		{"orders", 12, "items/" + uuid(102) + "/cdcMetadata/deleted", nil},
		{"orders", 13, "cdcMetadata/deleted", true},
	} {
		got := member(read(c.collection, uuid(c.id)), strings.Split(c.path, "/")...)
		if got != c.want {
			t.Errorf("%s %d: %s is %v, want %v", c.collection, c.id, c.path, got, c.want)
		}
	}
}

// everything is all documents of a database but for when they were written.
func (m *mongoStore) everything(t *testing.T) map[string]bson.M {
	t.Helper()
	all := map[string]bson.M{}
	for _, collection := range []string{"customers", "addresses", "orders"} {
		cursor, err := m.database.Collection(collection).Find(context.Background(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for cursor.Next(context.Background()) {
			document := decodeDocument(cursor.Current)
			all[fmt.Sprint(collection, "/", document["_id"])] = document
		}
	}
	return all
}

// TestStory: from the topics to the documents; then the whole log again, to another group.
func TestStory(t *testing.T) {
	t.Parallel()
	uri := anyServer(t)
	lab, m := newKafkaLab(t), testMongo(t, uri)
	lab.config.MongoURI, lab.config.Database = uri, m.config.Database
	lab.produce(t, story()...)
	first := lab.run(t, nil)
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	checkStory(t, m.read)
	events := float64(len(story()) - 1) // less the null value
	if got := first.sum(t, OutcomeApplied) + first.sum(t, OutcomeFolded); got != events {
		t.Errorf("%v events applied or folded, want %v", got, events)
	}
	first.end(t)

	before := m.everything(t)
	lab.config.Group = "again"
	again := lab.run(t, nil)
	eventually(t, "all committed again", func() bool { return lab.lag(t) == 0 })
	if diff := cmp.Diff(before, m.everything(t), decimals); diff != "" {
		t.Errorf("the redelivered log changed (-before +after):\n%s", diff)
	}
	if applied := again.sum(t, OutcomeApplied); applied != 0 {
		t.Errorf("%v redelivered events were applied", applied)
	}
}

// TestPoison: a record that can never be written is kept as it was, alone, and the rest goes on.
func TestPoison(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	poison := &kgo.Record{Topic: "cdc.public.customer", Key: []byte("\x00key"), Timestamp: testTime,
		Value: []byte("{\"op\":\xff"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("\x01")}}}
	broken := customer(update, 1, 2, nil)
	lab.produce(t, customer(insert, 1, 1, "one@x"), poison, broken, customer(insert, 2, 3, "two@x"))
	r := lab.run(t, s)
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	for id, email := range map[int]string{1: "one@x", 2: "two@x"} {
		if got := s.read("customers", uuid(id))["email"]; got != email {
			t.Errorf("customer %d has %v, want %s", id, got, email)
		}
	}
	rules := map[string]string{string(poison.Key): ruleUndecodable, string(broken.Key): "required"}
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
			HeaderRule: rules[string(letter.Key)], HeaderTopic: "cdc.public.customer",
			HeaderPartition: fmt.Sprint(original.Partition), HeaderOffset: fmt.Sprint(original.Offset),
			HeaderTimestamp:         fmt.Sprint(testTime.UnixMilli()),
			original.Headers[0].Key: string(original.Headers[0].Value),
		} {
			if headers[name] != want {
				t.Errorf("dead letter %q: header %s is %q, want %q", letter.Key, name, headers[name], want)
			}
		}
		if headers[HeaderReason] == "" {
			t.Errorf("dead letter %q gives no reason", letter.Key)
		}
	}
	if n := r.sum(t, OutcomeDeadLetter); n != 2 {
		t.Errorf("%v events counted as dead letters, want 2", n)
	}
}

// TestServerAway: nothing is committed and nothing dead-lettered while MongoDB cannot be reached,
// and all is applied when it can.
func TestServerAway(t *testing.T) {
	t.Parallel()
	uri := anyServer(t)
	lab, m := newKafkaLab(t), testMongo(t, uri)
	host := strings.SplitN(strings.TrimPrefix(uri, "mongodb://"), "/", 2)[0]
	network := newForwarder(t, host)
	lab.config.Database = m.config.Database
	lab.config.MongoURI = strings.Replace(uri, host, network.listener.Addr().String(), 1)
	lab.config.MongoSelectTimeout = 200 * time.Millisecond
	lab.config.RetryMax = 200 * time.Millisecond
	r := lab.run(t, nil)
	lab.produce(t, customer(insert, 1, 1, "one@x"))
	eventually(t, "the first committed", func() bool { return lab.lag(t) == 0 })

	network.set(true)
	var records []*kgo.Record
	for n := range 50 {
		records = append(records, customer(insert, 10+n, 2+n, "away@x"))
	}
	lab.produce(t, records...)
	eventually(t, "both partitions paused", func() bool { return valueOf(t, r.metrics.paused) == 2 })
	if lag := lab.lag(t); lag != 50 {
		t.Errorf("lag %d while MongoDB is away, want 50", lag)
	}
	network.set(false)
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	if paused := valueOf(t, r.metrics.paused); paused != 0 {
		t.Errorf("%v partitions paused at the end", paused)
	}
	if letters := r.sum(t, OutcomeDeadLetter); letters != 0 {
		t.Errorf("%v dead letters", letters)
	}
	if got := len(m.everything(t)); got != 51 {
		t.Errorf("%d documents, want 51", got)
	}
}

// TestKilled: a consumer that dies before its offsets are committed. The next one gets all again,
// and nothing goes back.
func TestKilled(t *testing.T) {
	t.Parallel()
	uri := anyServer(t)
	lab, m := newKafkaLab(t), testMongo(t, uri)
	lab.config.MongoURI, lab.config.Database = uri, m.config.Database
	commits := kmsg.NewPtrOffsetCommitRequest().Key()
	var alive atomic.Bool
	lab.cluster.ControlKey(commits, func(kmsg.Request) (kmsg.Response, error, bool) {
		lab.cluster.KeepControl()
		return nil, errCrash, !alive.Load()
	})
	lab.produce(t, story()...)
	events := float64(len(story()) - 1)
	first := lab.run(t, nil)
	eventually(t, "all applied", func() bool {
		return first.sum(t, OutcomeApplied)+first.sum(t, OutcomeFolded) == events
	})
	first.end(t)
	before := m.everything(t)
	if lag := lab.lag(t); lag != int64(len(story())) {
		t.Fatalf("lag %d after a death without commits, want %d", lag, len(story()))
	}
	alive.Store(true)
	second := lab.run(t, nil)
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	checkStory(t, m.read)
	if diff := cmp.Diff(before, m.everything(t), decimals); diff != "" {
		t.Errorf("redelivery changed (-before +after):\n%s", diff)
	}
	if applied := second.sum(t, OutcomeApplied); applied != 0 {
		t.Errorf("%v redelivered events were applied", applied)
	}
}

// TestShutdown: what was acknowledged is committed although the next commit was far away, the
// member is gone from the group, and it does not take long.
func TestShutdown(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	lab.config.CommitInterval = time.Hour
	lab.produce(t, story()...)
	r := lab.run(t, newMemoryStore())
	events := float64(len(story()) - 1)
	eventually(t, "all applied", func() bool {
		return r.sum(t, OutcomeApplied)+r.sum(t, OutcomeFolded) == events
	})
	started := time.Now()
	r.end(t)
	if took := time.Since(started); took > lab.config.ShutdownTimeout {
		t.Errorf("the end took %v", took)
	}
	if lag := lab.lag(t); lag != 0 {
		t.Errorf("lag %d after the end, want 0", lag)
	}
	groups, err := lab.admin.DescribeGroups(context.Background(), lab.config.Group)
	if err != nil {
		t.Fatal(err)
	}
	if members := groups[lab.config.Group].Members; len(members) != 0 {
		t.Errorf("the group still has %v", members)
	}
}

// TestShutdownWhilePaused: a server that does not come back keeps nobody from ending.
func TestShutdownWhilePaused(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	s.refuse = func(*write) error { return errors.New("connection refused") }
	lab.produce(t, customer(insert, 1, 1, "one@x"))
	r := lab.run(t, s)
	eventually(t, "paused", func() bool { return valueOf(t, r.metrics.paused) == 1 })
	r.end(t)
	if lag := lab.lag(t); lag != 1 {
		t.Errorf("lag %d, want the one record that was never written", lag)
	}
}

func TestRunStops(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	s.refuse = func(*write) error { return &haltError{errors.New("not authorized")} }
	lab.produce(t, customer(insert, 1, 1, "one@x"))
	r := lab.run(t, s)
	select {
	case err := <-r.done:
		if err == nil || !strings.Contains(err.Error(), "not authorized") {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(patience):
		t.Error("Run goes on without the permission to write")
	}
	r.done = nil
}
