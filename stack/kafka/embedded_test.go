package kafka

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

const testTopic = "cdc.public.customer"

func startKafka(t *testing.T) *Embedded {
	t.Helper()
	k, err := NewEmbedded(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	if err := k.Start(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
	return k
}

func kafkaClient(t *testing.T, k *Embedded, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	more = append(more, k.login.Options()...)
	more = append(more, kgo.SeedBrokers(k.Brokers(ListenLab)...),
		kgo.DefaultProduceTopic(testTopic))
	client, err := kgo.NewClient(more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func produce(ctx context.Context, client *kgo.Client, value string) error {
	return client.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr()
}

// TestRefuseEvery: refused requests are counted and come again, and after the end none is refused.
func TestRefuseEvery(t *testing.T) {
	t.Parallel()
	k, err := NewEmbedded(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	if _, _, err := k.RefuseEvery(2); err == nil {
		t.Error("a broker that was not started refuses")
	}
	if err := k.Start(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
	client := kafkaClient(t, k, kgo.MetadataMinAge(10*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))
	refused, end, err := k.RefuseEvery(2)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 6 {
		if err := produce(expect.Context(t), client, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	hits := refused()
	if hits == 0 {
		t.Error("no request was refused")
	}
	end()
	if err := produce(expect.Context(t), client, "last"); err != nil || refused() != hits {
		t.Errorf("after the end: %v, %d refused, before %d", err, refused(), hits)
	}
	if values := consume(t, k, 7); len(values) != 7 || values[6] != "last" {
		t.Errorf("values %q, want each once", values)
	}
}

// TestAddLeader: clients follow the leader to another broker and back, and each record is there
// once, in order.
func TestAddLeader(t *testing.T) {
	t.Parallel()
	k, err := NewEmbedded(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	if _, _, _, err := k.AddLeader(); err == nil {
		t.Error("a broker that was not started got a second one")
	}
	if err := k.Start(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
	client := kafkaClient(t, k, kgo.MetadataMinAge(10*time.Millisecond))
	want := []string{}
	add := func(value string) {
		t.Helper()
		want = append(want, value)
		if err := produce(expect.Context(t), client, value); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 {
		add(fmt.Sprint("first broker ", round))
		node, asked, end, err := k.AddLeader()
		if err != nil {
			t.Fatal(err)
		}
		if leader := k.cluster.LeaderFor(testTopic, 0); leader != node || asked() != 0 {
			t.Errorf("leader %d, want %d, with %d requests", leader, node, asked())
		}
		add(fmt.Sprint("second broker ", round))
		if asked() == 0 {
			t.Error("nobody asked the second broker")
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if leader := k.cluster.LeaderFor(testTopic, 0); leader == node {
			t.Errorf("broker %d is gone and leads", node)
		}
	}
	add("last")
	if diff := cmp.Diff(want, consume(t, k, len(want))); diff != "" {
		t.Error(diff)
	}
}

// TestReadersStayInPlace: a consumer at the end reads nothing again from a new leader that has no
// record of the new epoch yet.
func TestReadersStayInPlace(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	quick := kgo.MetadataMinAge(10 * time.Millisecond)
	producer := kafkaClient(t, k)
	reader := kafkaClient(t, k, quick, kgo.ConsumeTopics(testTopic))
	next := func() (values []string) {
		t.Helper()
		fetches := reader.PollFetches(expect.Context(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
		return values
	}
	add := func(value string) {
		t.Helper()
		if err := produce(expect.Context(t), producer, value); err != nil {
			t.Fatal(err)
		}
		if got := next(); !slices.Equal(got, []string{value}) {
			t.Fatalf("read %q, want %s alone", got, value)
		}
	}
	add("first")
	for range 2 {
		_, asked, end, err := k.AddLeader()
		if err != nil {
			t.Fatal(err)
		}
		reader.ForceMetadataRefresh()
		expect.True(t, "the reader asks the new leader", func() bool { return asked() > 0 })
		add("of the new leader")
		if err := end(); err != nil {
			t.Fatal(err)
		}
		reader.ForceMetadataRefresh()
		add("of the first again")
	}
}

// consume reads n values from the start of the topic.
func consume(t *testing.T, k *Embedded, n int) []string {
	t.Helper()
	client := kafkaClient(t, k, kgo.ConsumeTopics(testTopic))
	var values []string
	for len(values) < n {
		fetches := client.PollFetches(expect.Context(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func TestKafkaKeepsPortAndRecordsOverAKill(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	ctx := expect.Context(t)
	port := k.Brokers(ListenLab)[0]
	client := kafkaClient(t, k)
	if err := produce(ctx, client, "before"); err != nil {
		t.Fatal(err)
	}
	if err := k.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := k.Health(ctx); err == nil {
		t.Error("a killed broker is healthy")
	}
	if err := k.Kill(); err == nil {
		t.Error("a killed broker can be killed again")
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := kafkaClient(t, k).Ping(short); err == nil {
		t.Error("a killed broker answers")
	}
	if err := k.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := k.Health(ctx); err != nil {
		t.Error(err)
	}
	if got := k.Brokers(ListenLab)[0]; got != port {
		t.Errorf("the broker came back on %s, was on %s", got, port)
	}
	if err := produce(ctx, client, "after"); err != nil {
		t.Fatalf("a client from before the kill: %v", err)
	}
	if got := fmt.Sprint(consume(t, k, 2)); got != "[before after]" {
		t.Errorf("the topic holds %v", got)
	}
}

func TestKafkaPauseHoldsBack(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	ctx := expect.Context(t)
	client := kafkaClient(t, k)
	if err := produce(ctx, client, "before"); err != nil {
		t.Fatal(err)
	}
	if err := k.Pause(); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- produce(ctx, client, "meanwhile") }()
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := k.Health(short); err == nil {
		t.Error("a paused broker is healthy")
	}
	select {
	case err := <-sent:
		t.Errorf("a paused broker answered a write (%v)", err)
	default:
	}
	if err := k.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(consume(t, k, 2)); got != "[before meanwhile]" {
		t.Errorf("the topic holds %v", got)
	}
}
