package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// drainedConnector has confirmed everything.
type drainedConnector struct{ connectorPart }

func (drainedConnector) confirmed(context.Context) (pglogrepl.LSN, error) { return 9, nil }

// TestNoTopicIsNotDrained: a topic prefix without a topic is a mistake and no lag of 0.
func TestNoTopicIsNotDrained(t *testing.T) {
	t.Parallel()
	ctx := expect.Context(t)
	for prefix, want := range map[string]string{
		"shop": "", "cdc": "a table's topic: Kafka has none like ^cdc\\.public\\..*",
		"sho": "is the topic prefix right?",
	} {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
			kfake.SeedTopics(1, "shop.public.customer"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		s := &Stack{options: Options{Kind: External, External: Endpoint{TopicPrefix: prefix}}}
		s.parts.connector = drainedConnector{}
		s.parts.kafka = &kafkaGiven{given{name: Kafka}, cluster.ListenAddrs(), nil}
		client, err := kgo.NewClient(s.KafkaOptions()...)
		if err != nil {
			t.Fatal(err)
		}
		admin := kadm.NewClient(client)
		if _, waiting := s.lookForRest(ctx, admin, 9); (want == "") != (waiting == "") ||
			!strings.Contains(waiting, want) {
			t.Errorf("%s: waits for %q, want %q", prefix, waiting, want)
		}
		before, err := s.Records(ctx)
		if err != nil || before != 0 {
			t.Errorf("%s: %d records, %v", prefix, before, err)
		}
		record := &kgo.Record{Topic: "shop.public.customer"}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if after, err := s.Records(ctx); err != nil || (after > 0) != (prefix == "shop") {
			t.Errorf("%s: %d records after one was written, %v", prefix, after, err)
		}
		admin.Close()
	}
}

// TestRestTellsWhyTheConsumerWaits: of a consumer that is behind and not ready, the reason is told.
func TestRestTellsWhyTheConsumerWaits(t *testing.T) {
	t.Parallel()
	ctx := expect.Context(t)
	const topic, reason = "shop.public.customer", "positions went back: raise --epoch"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	var notReady error
	s := &Stack{options: Options{Kind: External, External: Endpoint{TopicPrefix: "shop"}}}
	s.parts.connector = drainedConnector{}
	s.parts.kafka = &kafkaGiven{given{name: Kafka}, cluster.ListenAddrs(), nil}
	s.parts.consumers = []consumerPart{&consumerGiven{given: given{name: "consumer",
		look: func(context.Context) (string, error) { return "", notReady }}}}
	client, err := kgo.NewClient(s.KafkaOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	admin := kadm.NewClient(client)
	t.Cleanup(admin.Close)
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	_, waiting := s.lookForRest(ctx, admin, 9)
	if want := "the consumer, which is 1 records behind"; waiting != want {
		t.Errorf("of a ready consumer: waits for %q, want %q", waiting, want)
	}
	notReady = errors.New(reason)
	if _, waiting = s.lookForRest(ctx, admin, 9); !strings.HasSuffix(waiting, reason) {
		t.Errorf("of a consumer that is not ready: waits for %q, want the end %q", waiting, reason)
	}
}

// TestLagOfAPipelineOfOthers: no lag comes from a table whose topic the group never read, nor from
// records deleted by Kafka; of the lab's own tables all counts.
func TestLagOfAPipelineOfOthers(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	ctx := expect.Context(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	admin := kadm.NewClient(client)
	t.Cleanup(admin.Close)
	for topic, records := range map[string]int{
		"shop.public.customer": 5, "shop.public.order": 3, "shop.public.invoice": 4,
		"shop.public.audit": 7,
		"shop.dead-letter":  1, "other.public.customer": 2,
	} {
		if _, err := admin.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
		for range records {
			if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	lag := func(prefix, group string) []string {
		s := &Stack{options: Options{Kind: External,
			External: Endpoint{TopicPrefix: prefix, Group: group}}}
		partitions, err := s.Lag(ctx, admin)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, p := range partitions {
			all = append(all, fmt.Sprintf("%s: %d to %d", p.Name(), p.Committed, p.End))
		}
		slices.Sort(all)
		return all
	}
	want := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	want("a group that is not there", lag("shop", "new"), "shop.public.customer/0: 0 to 5",
		"shop.public.order/0: 0 to 3")
	want("a pipeline without topics", lag("none", "new"))

	var offsets kadm.Offsets
	offsets.AddOffset("shop.public.customer", 0, 2, -1)
	offsets.AddOffset("shop.public.invoice", 0, 1, -1)
	if err := admin.CommitAllOffsets(ctx, "sink", offsets); err != nil {
		t.Fatal(err)
	}
	deleted := kadm.Offsets{}
	deleted.AddOffset("shop.public.order", 0, 2, -1)
	if _, err := admin.DeleteRecords(ctx, deleted); err != nil {
		t.Fatal(err)
	}
	want("a group that reads three of four tables", lag("shop", "sink"),
		"shop.public.customer/0: 2 to 5",
		"shop.public.invoice/0: 1 to 4", "shop.public.order/0: 2 to 3")
}
