package deadletter

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/kafka"
)

// postRoom is a dead-letter topic with the consumer's side.
type postRoom struct {
	*consumertest.Kafka
	*Topic
}

func newPostRoom(t *testing.T, k *consumertest.Kafka, topic string) *postRoom {
	t.Helper()
	d, err := Open(k.Producer.Opts(), topic, "cdclab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	if err := d.Create(context.Background()); err != nil {
		t.Fatal(err)
	}
	return &postRoom{k, d}
}

const testTopic = "cdc.dead-letter"

func (d *Topic) mustSend(t *testing.T, letters ...Rejected) {
	t.Helper()
	if err := d.Send(context.Background(), letters); err != nil {
		t.Fatal(err)
	}
}

// read returns the filter's letters, and ids with answers: "0", "1 replayed", "2 again 3".
func (p *postRoom) read(t *testing.T, filter Filter) ([]*Letter, []string, Counts) {
	t.Helper()
	var letters []*Letter
	var ids []string
	counts, err := Read(context.Background(), p.Producer, p.topic, filter, func(one *Letter) error {
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

func rejected(entity, rule string, r *kgo.Record) Rejected {
	return Rejected{Record: r, Entity: entity, Operation: "INSERT",
		Err: fate.Rejectf(rule, "wrong")}
}

// TestLettersThroughKafka: Kafka changes nothing of a record, neither in the letter nor in the
// replay.
func TestLettersThroughKafka(t *testing.T) {
	t.Parallel()
	d := newPostRoom(t, consumertest.StartKafka(t), testTopic)
	want := map[int64]consumertest.Original{}
	var letters []Rejected
	for _, r := range imitations() {
		r.Topic, r.Partition, r.Offset, r.Timestamp = "cdc.public.order", int32(len(letters)%2),
			int64(50+len(letters)), consumertest.Time
		want[r.Offset] = consumertest.OriginalOf(r)
		letters = append(letters, rejected("order", "required", r))
	}
	d.mustSend(t, letters...)
	got, _, _ := d.read(t, Filter{})
	if len(got) != len(want) {
		t.Fatalf("%d letters, want %d", len(got), len(want))
	}
	for _, l := range got {
		if diff := cmp.Diff(want[l.Record.Offset], consumertest.OriginalOf(l.Record)); diff != "" {
			t.Errorf("letter %s (-want +got):\n%s", l.ID, diff)
		}
	}
	marked := 0
	counts, err := Replay(context.Background(), d.Producer, d.topic, Filter{}, ordersOnly,
		func(l *Letter) { marked++ })
	if err != nil || marked != len(want) || counts.Visited != len(want) {
		t.Fatalf("%d marked, %+v, %v; want %d", marked, counts, err, len(want))
	}
	whole, err := kafka.Whole(context.Background(), d.Producer, "cdc.public.order")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kafka.Read(context.Background(), d.Producer, whole, func(r *kgo.Record) error {
		headers, ours := splitHeaders(r.Headers)
		offset := OriginOffset(r)
		r.Headers = headers
		if diff := cmp.Diff(want[offset], consumertest.OriginalOf(r)); diff != "" ||
			HeaderOf(ours, HeaderAttempts) != "1" {
			t.Errorf("replayed %+v (-want +got):\n%s", ours, diff)
		}
		delete(want, offset)
		return nil
	}); err != nil || len(want) > 0 {
		t.Errorf("%v, not replayed: %v", err, want)
	}
	if _, ids, counts := d.read(t, Filter{}); len(ids) > 0 || counts.Replayed != marked ||
		counts.Pending > 0 {
		t.Errorf("pending after all were replayed: %v, %+v", ids, counts)
	}
}

func TestLettersFold(t *testing.T) {
	t.Parallel()
	d := newPostRoom(t, consumertest.StartKafka(t), testTopic)
	ago, ahead := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	at := func(topic string, offset int64) *kgo.Record {
		return &kgo.Record{Topic: topic, Offset: offset, Timestamp: consumertest.Time,
			Value: []byte("v")}
	}
	d.mustSend(t, rejected("customer", "required", at("c", 1)),
		rejected("order", "enum", at("o", 1)))
	d.mustSend(t, rejected("customer", "required", at("c", 1)),
		rejected("unknown", "undecodable", at("x", 7))) // 2 is 0 again
	other := &Topic{d.client, d.topic, "other", ""}                 // of another group
	other.mustSend(t, rejected("customer", "required", at("c", 1))) // another letter
	d.Produce(t, &kgo.Record{Topic: d.topic, Value: []byte("what is this")}, &kgo.Record{
		Topic: d.topic, Headers: []kgo.RecordHeader{{Key: HeaderDone, Value: []byte("x")}}})
	ctx := context.Background()
	drop := func(filter Filter) (Counts, []string) {
		var ids []string
		counts, err := Drop(ctx, d.Producer, d.topic, filter, func(l *Letter) {
			ids = append(ids, l.ID)
		})
		if err != nil {
			t.Fatal(err)
		}
		return counts, ids
	}
	if counts, ids := drop(Filter{IDs: []string{"2"}}); !slices.Equal(ids, []string{"0"}) ||
		counts.Visited != 1 {
		t.Errorf("dropped %v, %+v; want 0, which 2 repeats", ids, counts)
	}
	for name, c := range map[string]struct {
		filter Filter
		want   []string
	}{
		"pending":      {Filter{}, []string{"1", "3", "4"}},
		"all":          {Filter{Done: true}, []string{"0 dropped again 2", "1", "3", "4"}},
		"rule":         {Filter{Rule: "enum"}, []string{"1"}},
		"entity":       {Filter{Entity: "customer"}, []string{"4"}},
		"topic":        {Filter{Topic: "x"}, []string{"3"}},
		"ids":          {Filter{IDs: []string{"4", "0/1"}}, []string{"1", "4"}},
		"id and rule":  {Filter{IDs: []string{"4", "1"}, Rule: "enum"}, []string{"1"}},
		"since":        {Filter{Since: ahead}, nil},
		"until":        {Filter{Until: ago}, nil},
		"between":      {Filter{Since: ago, Until: ahead}, []string{"1", "3", "4"}},
		"the repeated": {Filter{IDs: []string{"2"}, Done: true}, []string{"0 dropped again 2"}},
	} {
		if _, got, _ := d.read(t, c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	_, _, counts := d.read(t, Filter{IDs: []string{"0", "5", "99"}})
	want := Counts{Letters: 4, Pending: 3, Dropped: 1, Again: 1, Foreign: 2,
		Missing: []string{"5", "99"}, Already: []string{"0"}}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if _, err := Read(ctx, d.Producer, d.topic, Filter{IDs: []string{"one"}}, nil); err == nil {
		t.Error("an id that is none was taken")
	}
	if _, err := Read(ctx, d.Producer, "nothing", Filter{}, nil); err == nil ||
		!strings.Contains(err.Error(), "nothing") {
		t.Errorf("a topic that is not there: %v", err)
	}
	refused := errors.New("refused")
	refuse := func(*Letter) error { return refused }
	if _, err := Read(ctx, d.Producer, d.topic, Filter{}, refuse); err != refused {
		t.Errorf("the visitor's error came back as %v", err)
	}
}

// TestLettersOfPartitions: somebody gave the topic more partitions. A marker stays with the letter.
func TestLettersOfPartitions(t *testing.T) {
	t.Parallel()
	d := newPostRoom(t, consumertest.StartKafka(t), "cdc.public.address") // two partitions
	for i := range 20 {
		d.mustSend(t, rejected("order", "enum",
			&kgo.Record{Topic: "cdc.public.order", Partition: int32(i % 2), Offset: int64(i),
				Key: fmt.Append(nil, i), Timestamp: consumertest.Time}))
	}
	letters, ids, _ := d.read(t, Filter{})
	if len(letters) != 20 || !slices.Contains(ids, "0/0") || !slices.Contains(ids, "1/0") {
		t.Fatalf("letters %q", ids)
	}
	if _, err := Replay(context.Background(), d.Producer, d.topic, Filter{IDs: []string{"1/0"}},
		ordersOnly, func(*Letter) {}); err != nil {
		t.Fatal(err)
	}
	if _, ids, counts := d.read(t, Filter{}); len(ids) != 19 || slices.Contains(ids, "1/0") ||
		counts.Replayed != 1 {
		t.Errorf("letters after 1/0 was replayed: %q", ids)
	}
}

// TestReplayNowhere: the letters whose topic is gone stay pending, the others of the batch go.
func TestReplayNowhere(t *testing.T) {
	t.Parallel()
	d := newPostRoom(t, consumertest.StartKafka(t), testTopic)
	d.mustSend(t, rejected("x", "enum", &kgo.Record{Topic: "gone", Offset: 1,
		Timestamp: consumertest.Time}),
		rejected("order", "enum", &kgo.Record{Topic: "cdc.public.order", Offset: 1,
			Timestamp: consumertest.Time}),
		rejected("order", "enum", &kgo.Record{Topic: "cdc.public.order", Partition: 9, Offset: 1,
			Timestamp: consumertest.Time}))
	_, err := Replay(context.Background(), d.Producer, d.topic, Filter{},
		regexp.MustCompile(`^(gone|cdc\.public\..*)$`), func(*Letter) {})
	if err == nil {
		t.Error("no error of a topic that is gone")
	}
	if _, ids, _ := d.read(t, Filter{Done: true}); !slices.Equal(ids,
		[]string{"0", "1 replayed", "2"}) {
		t.Errorf("letters %q", ids)
	}
}

var ordersOnly = regexp.MustCompile(`^cdc\.public\.order$`)

// TestReplayIntoForeignTopics: whoever may write a letter names the topic of a record, but a replay
// writes to the consumer's topics alone, and not to the dead-letter topic.
func TestReplayIntoForeignTopics(t *testing.T) {
	t.Parallel()
	for _, foreign := range []string{"cdc.public.customer", "payments", testTopic} {
		d := newPostRoom(t, consumertest.StartKafka(t), testTopic)
		d.mustSend(t, rejected("order", "enum", &kgo.Record{Topic: "cdc.public.order", Offset: 1,
			Timestamp: consumertest.Time}),
			rejected("x", "enum", &kgo.Record{Topic: foreign, Offset: 1,
				Timestamp: consumertest.Time}))
		into := ordersOnly
		if foreign == testTopic {
			into = regexp.MustCompile("")
		}
		topics, err := CountTopics(context.Background(), d.Producer, d.topic, Filter{})
		want := map[string]int{"cdc.public.order": 1, foreign: 1}
		if diff := cmp.Diff(want, topics); diff != "" || err != nil {
			t.Errorf("%v, topics (-want +got):\n%s", err, diff)
		}
		_, err = Replay(context.Background(), d.Producer, d.topic, Filter{}, into,
			func(l *Letter) { t.Errorf("letter %s was replayed", l.ID) })
		if err == nil || !strings.Contains(err.Error(), foreign) {
			t.Errorf("a letter of %s: %v", foreign, err)
		}
		if _, ids, _ := d.read(t, Filter{}); len(ids) != 2 {
			t.Errorf("letters %q, want two pending", ids)
		}
	}
}
