package consumertest

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Patience is the longest wait for a condition sure to come.
const Patience = 30 * time.Second

// Kafka is a Kafka in this process, with the topics of the lab's tables.
type Kafka struct {
	Cluster  *kfake.Cluster
	Producer *kgo.Client
	Admin    *kadm.Client
}

// StartKafka starts a Kafka in this process; the end of the test ends it.
func StartKafka(t *testing.T) *Kafka {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "cdc.public.customer",
		"cdc.public.address", "cdc.public.order", "cdc.public.order_item"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	return &Kafka{cluster, producer, kadm.NewClient(producer)}
}

// Produce writes records and waits for their acknowledgement.
func (k *Kafka) Produce(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	if err := k.Producer.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// Eventually waits for a condition.
func Eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	for tick := time.Tick(10 * time.Millisecond); ; {
		if holds() {
			return
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("still not so after %v: %s", Patience, what)
		}
	}
}
