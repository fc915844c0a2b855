package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
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
		{"customers", 2, "deleted", nil},
		{"orders", 11, "status", "paid"},
		{"orders", 11, "shell", nil},
		{"orders", 11, "updatedAtExact", "2026-11-22T07:55:47.000001Z"},
		{"orders", 11, "items/" + uuid(101) + "/deleted", true},
		{"orders", 11, "items/" + uuid(102) + "/deleted", true},
		{"orders", 12, "items/" + uuid(102) + "/labVersion", int64(12)},
		{"orders", 12, "items/" + uuid(102) + "/deleted", nil},
		{"orders", 13, "deleted", true},
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
	if paused, letters := valueOf(t, r.metrics.paused), r.sum(t, OutcomeDeadLetter); paused != 0 || letters != 0 {
		t.Errorf("%v partitions paused and %v dead letters at the end", paused, letters)
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

// TestRebalance: members come and go while records flow; every record is written.
func TestRebalance(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	first := lab.run(t, s)
	const each = 200
	write := func(from int) {
		for n := range each {
			lab.produce(t, customer(insert, from+n, from+n+1, "x@x"))
		}
	}
	write(0)
	second := lab.run(t, s)
	write(each)
	eventually(t, "the second takes part", func() bool {
		lab.produce(t, customer(update, 0, 10*each, "again@x"), customer(update, 1, 10*each, "again@x"),
			customer(update, 2, 10*each, "again@x"), customer(update, 3, 10*each, "again@x"))
		return second.sum(t, OutcomeApplied)+second.sum(t, OutcomeStale)+second.sum(t, OutcomeFolded) > 0
	})
	first.end(t)
	write(2 * each)
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	for n := range 3 * each {
		if s.read("customers", uuid(n)) == nil {
			t.Errorf("customer %d is missing", n)
		}
	}
}

// TestFullQueues: a backlog pauses the fetching and loses nothing.
func TestFullQueues(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	lab.config.BatchMax, lab.config.QueueMax = 3, 3
	var records []*kgo.Record
	for n := range 300 {
		records = append(records, customer(insert, n, n+1, "x@x"))
	}
	lab.produce(t, records...)
	lab.run(t, s)
	lab.produce(t, customer(insert, 300, 301, "x@x"))
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	for n := range 301 {
		if s.read("customers", uuid(n)) == nil {
			t.Errorf("customer %d is missing", n)
		}
	}
}

// TestNewTopic: a topic that is created later is read from its beginning. There is no spec for it,
// so its records become dead letters.
func TestNewTopic(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	r := lab.run(t, newMemoryStore())
	lab.produce(t, customer(insert, 1, 1, "one@x"))
	eventually(t, "running", func() bool { return r.sum(t, OutcomeApplied) == 1 })
	if _, err := lab.admin.CreateTopic(context.Background(), 1, 1, nil, "cdc.public.invoice"); err != nil {
		t.Fatal(err)
	}
	key := columns("id", uuid(1))
	lab.produce(t, record("invoice", insert, 2, key, nil, key))
	letter := lab.letters(t, 1)[0]
	for _, h := range letter.Headers {
		if h.Key == HeaderRule && string(h.Value) != ruleTable {
			t.Errorf("the rule is %s, want %s", h.Value, ruleTable)
		}
	}
}

// TestInstance: a static member does not leave, so that its successor has the partitions at once and
// not after the session's timeout.
func TestInstance(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	lab.config.Instance = "lab"
	lab.produce(t, customer(insert, 1, 1, "one@x"))
	first := lab.run(t, s)
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	first.end(t)
	lab.produce(t, customer(insert, 2, 2, "two@x"))
	started := time.Now()
	lab.run(t, s)
	eventually(t, "all committed again", func() bool { return lab.lag(t) == 0 })
	if took := time.Since(started); took >= lab.config.SessionTimeout {
		t.Errorf("the successor needed %v", took)
	}
}

func TestTelemetry(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	lab.config.ListenFile = filepath.Join(t.TempDir(), "address")
	lab.produce(t, story()...)
	r := lab.run(t, newMemoryStore())
	var address string
	eventually(t, "the address is in the file", func() bool {
		text, _ := os.ReadFile(lab.config.ListenFile)
		address = strings.TrimSpace(string(text))
		return address != ""
	})
	get := func(path string) (int, string) {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if status, body := get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
	eventually(t, "ready", func() bool { status, _ := get("/readyz"); return status == http.StatusOK })
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	r.metrics.retry(errors.New("x"))
	r.metrics.deadLetters.WithLabelValues("x")
	r.metrics.failed.WithLabelValues("x")
	_, body := get("/metrics")
	for _, name := range []string{MetricEvents, MetricBatchSize, MetricStageSeconds, MetricRetries,
		MetricDeadLetters, MetricPausedPartitions, MetricValidationPassed, MetricValidationFailed,
		MetricValidationLatency, "go_goroutines", "process_cpu_seconds_total"} {
		if !strings.Contains(body, "\n"+name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	for _, stage := range []string{StageSourceToConnector, StageConnectorToConsumer, StageConsumerToApplied} {
		if !strings.Contains(body, `stage="`+stage+`"`) {
			t.Errorf("/metrics has no stage %s", stage)
		}
	}
}
