package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/deadletter"
)

var letterClock = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)

// kafkaCommand starts a Kafka for a story, with two orders, a dead letter of each order and a dead
// letter of a customer, and tells the program the address.
func kafkaCommand(ts *testscript.TestScript, _ bool, _ []string) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(2, "cdc.public.order", "cdc.public.customer"),
		kfake.SeedTopics(1, "cdc.dead-letter"))
	ts.Check(err)
	ts.Defer(cluster.Close)
	brokers := strings.Join(cluster.ListenAddrs(), ",")
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ts.Check(err)
	defer client.Close()
	for i, body := range []string{`{"op":"c","after":{"id":1}}`, "\x00\xff"} {
		ts.Check(client.ProduceSync(context.Background(), orderRecord(i, body)).FirstErr())
	}
	for _, r := range []*kgo.Record{
		letterRecord(orderRecord(0, `{"op":"c","after":{"id":1}}`), 0, "enum", "order",
			"enum: column status: not a status\ncolumn total: below 0"),
		letterRecord(orderRecord(1, "\x00\xff"), 1, "undecodable", "unknown",
			"undecodable: value: not JSON"),
		letterRecord(&kgo.Record{Topic: "cdc.public.customer", Key: []byte("k"),
			Timestamp: letterClock},
			7, "required", "customer", "required: column email: empty"),
	} {
		ts.Check(client.ProduceSync(context.Background(), r).FirstErr())
	}
	ts.Setenv("CDC_KAFKA_BROKERS", brokers)
}

func orderRecord(partition int, body string) *kgo.Record {
	return &kgo.Record{Topic: "cdc.public.order", Partition: int32(partition),
		Timestamp: letterClock,
		Key:       []byte(`{"id":1}`),
		Value:     []byte(body), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")},
			{Key: "none"}}}
}

func letterRecord(r *kgo.Record, partition int, rule, entity, reasons string) *kgo.Record {
	l := &kgo.Record{Topic: "cdc.dead-letter", Timestamp: letterClock.Add(time.Minute), Key: r.Key,
		Value:   r.Value,
		Headers: append([]kgo.RecordHeader{}, r.Headers...)}
	for _, h := range [][2]string{{deadletter.HeaderRule, rule}, {deadletter.HeaderReason, reasons},
		{deadletter.HeaderTopic, r.Topic},
		{deadletter.HeaderPartition, string(rune('0' + r.Partition))},
		{deadletter.HeaderOffset, string(rune('0' + partition))},
		{deadletter.HeaderTimestamp, "1795413600000"}, {deadletter.HeaderEntity, entity},
		{deadletter.HeaderOperation, "INSERT"},
		{deadletter.HeaderGroup, "cdclab"}, {deadletter.HeaderAttempts, "1"}} {
		l.Headers = append(l.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return l
}

func TestMoment(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"90m": letterClock.Add(-90 * time.Minute), "0": letterClock,
		"2026-11-22":                letterClock.Add(-30 * time.Hour),
		"2026-11-23 05:30":          letterClock.Add(-30 * time.Minute),
		"2026-11-23T07:00:00+01:00": letterClock,
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
