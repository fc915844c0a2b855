package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer"
)

var letterClock = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)

// kafkaCommand starts a Kafka for a story, with two orders, a dead letter of each and one of a
// customer, and tells the program where it is.
func kafkaCommand(ts *testscript.TestScript, _ bool, _ []string) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "cdc.public.order", "cdc.public.customer"),
		kfake.SeedTopics(1, "cdc.dead-letter"))
	ts.Check(err)
	ts.Defer(cluster.Close)
	brokers := strings.Join(cluster.ListenAddrs(), ",")
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ts.Check(err)
	defer client.Close()
	for i, body := range []string{`{"op":"c","after":{"id":1}}`, "\x00\xff"} {
		ts.Check(client.ProduceSync(context.Background(), orderRecord(i, body)).FirstErr())
	}
	for _, r := range []*kgo.Record{
		letterRecord(orderRecord(0, `{"op":"c","after":{"id":1}}`), 0, "enum", "order", "enum: column status: not a status\ncolumn total: below 0"),
		letterRecord(orderRecord(1, "\x00\xff"), 1, "undecodable", "unknown", "undecodable: value: not JSON"),
		letterRecord(&kgo.Record{Topic: "cdc.public.customer", Key: []byte("k"), Timestamp: letterClock}, 7, "required", "customer", "required: column email: empty"),
	} {
		ts.Check(client.ProduceSync(context.Background(), r).FirstErr())
	}
	ts.Setenv("CDC_KAFKA_BROKERS", brokers)
}

func orderRecord(partition int, body string) *kgo.Record {
	return &kgo.Record{Topic: "cdc.public.order", Partition: int32(partition), Timestamp: letterClock, Key: []byte(`{"id":1}`),
		Value: []byte(body), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "none"}}}
}

func letterRecord(r *kgo.Record, partition int, rule, entity, reasons string) *kgo.Record {
	l := &kgo.Record{Topic: "cdc.dead-letter", Timestamp: letterClock.Add(time.Minute), Key: r.Key, Value: r.Value,
		Headers: append([]kgo.RecordHeader{}, r.Headers...)}
	for _, h := range [][2]string{{consumer.HeaderRule, rule}, {consumer.HeaderReason, reasons}, {consumer.HeaderTopic, r.Topic},
		{consumer.HeaderPartition, string(rune('0' + r.Partition))}, {consumer.HeaderOffset, string(rune('0' + partition))},
		{consumer.HeaderTimestamp, "1795413600000"}, {consumer.HeaderEntity, entity}, {consumer.HeaderOperation, "INSERT"},
		{consumer.HeaderGroup, "cdclab"}, {consumer.HeaderAttempts, "1"}} {
		l.Headers = append(l.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return l
}

func TestMoment(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"90m": letterClock.Add(-90 * time.Minute), "0": letterClock, "2026-11-22": letterClock.Add(-30 * time.Hour),
		"2026-11-23 05:30": letterClock.Add(-30 * time.Minute), "2026-11-23T07:00:00+01:00": letterClock,
	} {
		if got, err := moment(text, letterClock); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1h", "yesterday", "2026-13-01"} {
		if got, err := moment(text, letterClock); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

// TestLetterForTerminals: what others wrote into a record does not reach the terminal as it is.
func TestLetterForTerminals(t *testing.T) {
	t.Parallel()
	evil := "\x1b[2J\u009b\xff"
	l := &consumer.Letter{ID: "1", Rule: evil, Reasons: []string{evil}, Entity: evil, Operation: evil, Table: evil, Position: evil,
		Consumer: evil, Group: evil, ReplayOf: evil, Record: &kgo.Record{Topic: evil, Key: []byte(evil),
			Value: []byte("{\"a\":\"\u009b\"}"), Headers: []kgo.RecordHeader{{Key: evil, Value: []byte(evil)}, {Key: "h", Value: []byte("\x1b")}}}}
	var text bytes.Buffer
	for _, write := range []func() error{
		func() error { return writeLetter(&text, l) }, func() error { return writeLetterLine(&text, l) },
		func() error { return letterJSON{whole: true}.write(&text, l) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	if strings.ContainsAny(text.String(), "\x1b") || strings.Contains(text.String(), "\xff") {
		t.Errorf("printed raw:\n%q", text.String())
	}
}

func TestWriteLetter(t *testing.T) {
	t.Parallel()
	r := orderRecord(1, `{"a":[1,{}]}`)
	r.Offset = 9
	var text bytes.Buffer
	err := writeLetter(&text, &consumer.Letter{ID: "4", Time: letterClock, Rule: "enum", Reasons: []string{"enum: one", "two"},
		Entity: "order", Operation: "INSERT", Record: r, Table: "public.order", Position: "00ff", TxID: 7, Committed: letterClock,
		Consumer: "v1", Group: "g", Attempts: 2, ReplayOf: "3", Done: "dropped", Again: []string{"5", "6"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `letter 4
  state      dropped
  written    2026-11-23 06:00:00.000 UTC by the consumer v1 of the group g
  rule       enum
  reason     enum: one
  reason     two
  event      INSERT of order
  record     cdc.public.order, partition 1, offset 9, 2026-11-23 06:00:00.000 UTC
  source     public.order, position 00ff, transaction 7, committed 2026-11-23 06:00:00.000000 UTC
  attempts   2, the last as a replay of letter 3
  again      5, 6, of the same record
  headers    2
    h: v
    none: null
key, 8 bytes of JSON:
{
  "id": 1
}
value, 12 bytes of JSON:
{
  "a": [
    1,
    {}
  ]
}

`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
