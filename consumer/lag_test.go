package consumer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/incarnation"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

func TestLagWatch(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	client := kafkaClient(t, lab.config)
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 1, 1, "a@x"),
		consumertest.Customer(consumertest.Insert, 1, 2, "b@x"),
		consumertest.Customer(consumertest.Insert, 1, 3, "c@x"))
	m := telemetry.NewMetrics()
	w := &lagWatch{client: client, admin: kadm.NewClient(client), metrics: m,
		group: lab.config.Group, letters: "cdc.public.customer",
		id: func(string) incarnation.ID { return incarnation.ID{} }}
	m.PartitionsAssigned(map[string][]int32{"cdc.public.customer": {0, 1}, "cdc.public.order": {0}})
	ctx := context.Background()
	sum := func(name string) (sum float64, count int) {
		for _, one := range consumertest.Gathered(t, m.Registry)[name].GetMetric() {
			sum, count = sum+one.Gauge.GetValue(), count+1
		}
		return sum, count
	}
	w.sampleLag(ctx)
	if lag, partitions := sum(telemetry.MetricLag); lag != 3 || partitions != 3 {
		t.Errorf("before any commit the lag is %v of %d partitions", lag, partitions)
	}
	told := func(name string) float64 {
		value, _ := consumertest.GaugeOf(t, m.Registry, name)
		return value
	}
	if letters := told(telemetry.MetricDeadLetterRecords); letters != 3 {
		t.Errorf("%v records in the topic of dead letters", letters)
	}
	ends, err := lab.Admin.ListEndOffsets(ctx, "cdc.public.customer")
	if err != nil {
		t.Fatal(err)
	}
	offsets := ends.Offsets()
	if err := lab.Admin.CommitAllOffsets(ctx, lab.config.Group, offsets); err != nil {
		t.Fatal(err)
	}
	w.sampleLag(ctx)
	lag, _ := sum(telemetry.MetricLag)
	if committed, partitions := sum(telemetry.MetricCommittedOffset); lag != 0 || committed != 3 ||
		partitions != 2 {
		t.Errorf("after the commit the lag is %v, the offsets %v of %d partitions", lag, committed,
			partitions)
	}
	if told(telemetry.MetricKafkaBrokers) != 1 {
		t.Error("the broker is not counted")
	}
	w.id = func(string) incarnation.ID { return incarnation.ID{2} }
	other := offsets["cdc.public.customer"]
	for number, at := range other {
		at.Metadata = "cdclab topic-id=" + incarnation.ID{1}.String()
		other[number] = at
	}
	if err := lab.Admin.CommitAllOffsets(ctx, lab.config.Group, offsets); err != nil {
		t.Fatal(err)
	}
	w.sampleLag(ctx)
	if lag, _ := sum(telemetry.MetricLag); lag != 3 {
		t.Errorf("with offsets of a topic that was deleted the lag is %v", lag)
	}
	lab.Cluster.Close()
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	w.sampleLag(ctx)
	if told(telemetry.MetricKafkaBrokers) != 0 {
		t.Error("a broker that has gone is counted")
	}
}

// TestNothingIsToldBeforeALook: a gauge of what was found at a server tells nothing before the
// first look, because an alert would take a 0 for a lost server.
func TestNothingIsToldBeforeALook(t *testing.T) {
	t.Parallel()
	registry := telemetry.NewMetrics().Registry
	for _, name := range []string{telemetry.MetricKafkaBrokers, telemetry.MetricMongoServers,
		telemetry.MetricDeadLetterRecords, telemetry.MetricUnreadTopics} {
		if value, told := consumertest.GaugeOf(t, registry, name); told {
			t.Errorf("%s is %v before any look", name, value)
		}
	}
}

// TestKafkaAwayFromTheStart: a consumer that has never reached a broker says so, and says when the
// broker is there.
func TestKafkaAwayFromTheStart(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	network := newForwarder(t, lab.Cluster.ListenAddrs()[0])
	network.set(true)
	lab.config.Kafka.Brokers = network.listener.Addr().String()
	r := lab.run(t, documents.NewMemory())
	brokers := func() (value float64, told bool) {
		return consumertest.GaugeOf(t, r.metrics.Registry, telemetry.MetricKafkaBrokers)
	}
	consumertest.Eventually(t, "a cluster without a broker", func() bool {
		value, told := brokers()
		return told && value == 0
	})
	network.set(false)
	consumertest.Eventually(t, "a cluster with a broker", func() bool {
		value, _ := brokers()
		return value == 1
	})
}

func TestEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		count := 0
		repeatEvery(ctx, time.Second, func(context.Context) { count++ })
		if count != 3 {
			t.Errorf("%d times in 3.5 s", count)
		}
	})
}
