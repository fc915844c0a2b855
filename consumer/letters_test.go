package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// postRoom is a dead-letter topic with its consumer's side of it.
func (l *kafkaLab) postRoom(t *testing.T) *deadLetters {
	t.Helper()
	d, err := openDeadLetters(l.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	if err := d.create(context.Background()); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *deadLetters) mustSend(t *testing.T, letters ...deadLetter) {
	t.Helper()
	if err := d.send(context.Background(), letters); err != nil {
		t.Fatal(err)
	}
}

// read is the letters that the filter takes, with how they are: "0", "1 replayed", "2 again 3".
func (l *kafkaLab) read(t *testing.T, filter LetterFilter) ([]*Letter, []string, LetterCounts) {
	t.Helper()
	var letters []*Letter
	var ids []string
	counts, err := Letters(context.Background(), l.producer, l.config.DeadLetterTopic, filter, func(one *Letter) error {
		letters = append(letters, one)
		id := strings.TrimSpace(one.ID + " " + one.Done)
		if one.Again != nil {
			id += fmt.Sprint(" again ", strings.Join(one.Again, ","))
		}
		ids = append(ids, id)
		return nil
	})
	if err != nil || counts.Notes != nil {
		t.Fatal(err, counts.Notes)
	}
	return letters, ids, counts
}

func rejected(entity, rule string, r *kgo.Record) deadLetter {
	return deadLetter{record: r, entity: entity, operation: "INSERT", err: rejectf(rule, "wrong")}
}

// TestLettersThroughKafka: what a record was is the same after Kafka has had the letter, and the
// replay of it.
func TestLettersThroughKafka(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	d := lab.postRoom(t)
	want := map[int64]original{}
	var letters []deadLetter
	for _, r := range oddRecords() {
		r.Topic, r.Partition, r.Offset, r.Timestamp = "cdc.public.order", int32(len(letters)%2), int64(50+len(letters)), testTime
		want[r.Offset] = originalOf(r)
		letters = append(letters, rejected("order", "required", r))
	}
	d.mustSend(t, letters...)
	got, _, _ := lab.read(t, LetterFilter{})
	if len(got) != len(want) {
		t.Fatalf("%d letters, want %d", len(got), len(want))
	}
	for _, l := range got {
		if diff := cmp.Diff(want[l.Record.Offset], originalOf(l.Record)); diff != "" {
			t.Errorf("letter %s (-want +got):\n%s", l.ID, diff)
		}
	}
	marked := 0
	counts, err := ReplayLetters(context.Background(), lab.producer, lab.config.DeadLetterTopic, LetterFilter{},
		func(l *Letter) { marked++ })
	if err != nil || marked != len(want) || counts.Visited != len(want) {
		t.Fatalf("%d marked, %+v, %v; want %d", marked, counts, err, len(want))
	}
	whole, err := wholeTopics(context.Background(), lab.producer, "cdc.public.order")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := scan(context.Background(), lab.producer, whole, func(r *kgo.Record) error {
		headers, ours := splitHeaders(r.Headers)
		offset := originOffset(r)
		r.Headers = headers
		if diff := cmp.Diff(want[offset], originalOf(r)); diff != "" || header(ours, HeaderAttempts) != "1" {
			t.Errorf("replayed %+v (-want +got):\n%s", ours, diff)
		}
		delete(want, offset)
		return nil
	}); err != nil || len(want) > 0 {
		t.Errorf("%v, not replayed: %v", err, want)
	}
	if _, ids, counts := lab.read(t, LetterFilter{}); len(ids) > 0 || counts.Replayed != marked || counts.Pending > 0 {
		t.Errorf("pending after all were replayed: %v, %+v", ids, counts)
	}
}

func TestLettersFold(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	d := lab.postRoom(t)
	at := func(topic string, offset int64) *kgo.Record {
		return &kgo.Record{Topic: topic, Offset: offset, Timestamp: testTime, Value: []byte("v")}
	}
	d.mustSend(t, rejected("customer", "required", at("c", 1)), rejected("order", "enum", at("o", 1)))
	d.mustSend(t, rejected("customer", "required", at("c", 1)), rejected("unknown", "undecodable", at("x", 7))) // 2 is 0 again
	other := &deadLetters{d.client, d.topic, "other", ""}
	other.mustSend(t, rejected("customer", "required", at("c", 1))) // of another group: another letter
	lab.produce(t, &kgo.Record{Topic: d.topic, Value: []byte("what is this")},
		&kgo.Record{Topic: d.topic, Headers: []kgo.RecordHeader{{Key: HeaderDone, Value: []byte("x")}}})
	ctx := context.Background()
	drop := func(filter LetterFilter) (LetterCounts, []string) {
		var ids []string
		counts, err := DropLetters(ctx, lab.producer, d.topic, filter, func(l *Letter) { ids = append(ids, l.ID) })
		if err != nil {
			t.Fatal(err)
		}
		return counts, ids
	}
	if counts, ids := drop(LetterFilter{IDs: []string{"2"}}); !slices.Equal(ids, []string{"0"}) || counts.Visited != 1 {
		t.Errorf("dropped %v, %+v; want 0, which 2 repeats", ids, counts)
	}
	for name, c := range map[string]struct {
		filter LetterFilter
		want   []string
	}{
		"pending":      {LetterFilter{}, []string{"1", "3", "4"}},
		"all":          {LetterFilter{Done: true}, []string{"0 dropped again 2", "1", "3", "4"}},
		"rule":         {LetterFilter{Rule: "enum"}, []string{"1"}},
		"entity":       {LetterFilter{Entity: "customer"}, []string{"4"}},
		"topic":        {LetterFilter{Topic: "x"}, []string{"3"}},
		"ids":          {LetterFilter{IDs: []string{"4", "0/1"}}, []string{"1", "4"}},
		"id and rule":  {LetterFilter{IDs: []string{"4", "1"}, Rule: "enum"}, []string{"1"}},
		"since":        {LetterFilter{Since: time.Now().Add(time.Hour)}, nil},
		"until":        {LetterFilter{Until: time.Now().Add(-time.Hour)}, nil},
		"between":      {LetterFilter{Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}, []string{"1", "3", "4"}},
		"the repeated": {LetterFilter{IDs: []string{"2"}, Done: true}, []string{"0 dropped again 2"}},
	} {
		if _, got, _ := lab.read(t, c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	_, _, counts := lab.read(t, LetterFilter{IDs: []string{"0", "5", "99"}})
	want := LetterCounts{Letters: 4, Pending: 3, Dropped: 1, Again: 1, Foreign: 2, Missing: []string{"5", "99"},
		Already: []string{"0"}}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if _, err := Letters(ctx, lab.producer, d.topic, LetterFilter{IDs: []string{"one"}}, nil); err == nil {
		t.Error("an id that is none was taken")
	}
	if _, err := Letters(ctx, lab.producer, "nothing", LetterFilter{}, nil); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a topic that is not there: %v", err)
	}
	refused := errors.New("refused")
	if _, err := Letters(ctx, lab.producer, d.topic, LetterFilter{}, func(*Letter) error { return refused }); err != refused {
		t.Errorf("the visitor's error came back as %v", err)
	}
}

// TestLettersOfPartitions: somebody gave the topic more partitions. A marker stays with its letter.
func TestLettersOfPartitions(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	lab.config.DeadLetterTopic = "cdc.public.address" // two partitions
	d := lab.postRoom(t)
	for i := range 20 {
		d.mustSend(t, rejected("order", "enum", &kgo.Record{Topic: "cdc.public.order", Partition: int32(i % 2), Offset: int64(i),
			Key: fmt.Append(nil, i), Timestamp: testTime}))
	}
	letters, ids, _ := lab.read(t, LetterFilter{})
	if len(letters) != 20 || !slices.Contains(ids, "0/0") || !slices.Contains(ids, "1/0") {
		t.Fatalf("letters %q", ids)
	}
	if _, err := ReplayLetters(context.Background(), lab.producer, d.topic, LetterFilter{IDs: []string{"1/0"}}, func(*Letter) {}); err != nil {
		t.Fatal(err)
	}
	if _, ids, counts := lab.read(t, LetterFilter{}); len(ids) != 19 || slices.Contains(ids, "1/0") || counts.Replayed != 1 {
		t.Errorf("letters after 1/0 was replayed: %q", ids)
	}
}

// TestReplayNowhere: the letters whose topic is gone stay pending, the others of the batch go.
func TestReplayNowhere(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	d := lab.postRoom(t)
	d.mustSend(t, rejected("x", "enum", &kgo.Record{Topic: "gone", Offset: 1, Timestamp: testTime}),
		rejected("order", "enum", &kgo.Record{Topic: "cdc.public.order", Offset: 1, Timestamp: testTime}),
		rejected("order", "enum", &kgo.Record{Topic: "cdc.public.order", Partition: 9, Offset: 1, Timestamp: testTime}))
	_, err := ReplayLetters(context.Background(), lab.producer, d.topic, LetterFilter{}, func(*Letter) {})
	if err == nil {
		t.Error("no error of a topic that is gone")
	}
	if _, ids, _ := lab.read(t, LetterFilter{Done: true}); !slices.Equal(ids, []string{"0", "1 replayed", "2"}) {
		t.Errorf("letters %q", ids)
	}
}

// TestReplayThroughConsumer: a replay meets the same guard and the same rules as any record. What is
// older than its document is stale; what breaks a rule is a letter again, with the count.
func TestReplayThroughConsumer(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	r := lab.run(t, s)
	lab.produce(t, customer(insert, 1, 5, "new@x"), customer(insert, 2, 1, nil))
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	d := lab.postRoom(t)
	older := customer(debezium.Update, 1, 4, "old@x")
	older.Offset, older.Timestamp = 99, testTime
	d.mustSend(t, rejected("customer", "enum", older))
	letters, _, _ := lab.read(t, LetterFilter{})
	if len(letters) != 2 || letters[0].Rule != "required" || letters[0].Group != lab.config.Group || letters[0].Consumer == "" {
		t.Fatalf("letters %+v", letters)
	}
	counts, err := ReplayLetters(context.Background(), lab.producer, d.topic, LetterFilter{}, func(*Letter) {})
	if err != nil || counts.Visited != 2 {
		t.Fatalf("%+v, %v", counts, err)
	}
	eventually(t, "the replays committed", func() bool { return lab.lag(t) == 0 })
	if email := s.read("customers", uuid(1))["email"]; email != "new@x" {
		t.Errorf("the replay of an old event made the document %v", email)
	}
	if stale := r.sum(t, OutcomeStale); stale != 1 {
		t.Errorf("%v events stale, want 1", stale)
	}
	letters, ids, _ := lab.read(t, LetterFilter{})
	if len(letters) != 1 || letters[0].Attempts != 2 || letters[0].ReplayOf != "0" || letters[0].firstOffset == letters[0].Record.Offset {
		t.Errorf("letters after the replay: %q %+v", ids, letters)
	}
}
