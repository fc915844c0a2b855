package apply

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

var catalogue = []struct {
	name   string
	labels string
	serves string
}{
	{telemetry.MetricEvents, "entity operation outcome",
		"overview: events processed, error rate; consumer: processing rate; alert: error rate"},
	{telemetry.MetricBatchSize, "", "consumer: batch size distribution"},
	{telemetry.MetricStageSeconds, "stage",
		"overview: processing latency p50, p95, p99; alert: latency"},
	{telemetry.MetricProcessingSeconds, "", "consumer: processing time histogram"},
	{telemetry.MetricRetries, "reason",
		"consumer: retry counts; alert: error rate, zero tolerance"},
	{telemetry.MetricDeadLetters, "entity rule",
		"overview: error rate; alert: any message in the queue"},
	{telemetry.MetricDeadLetterRecords, "",
		"consumer: dead letter queue size; alert: size above 100, growing for 30 minutes"},
	{telemetry.MetricDecodeErrors, "topic", "overview: error rate; alert: error type"},
	{telemetry.MetricPausedPartitions, "", "overview: pipeline status"},
	{telemetry.MetricBlockedPartitions, "", "overview: pipeline status"},
	{telemetry.MetricUnreadTopics, "", "overview: pipeline status; alert: a topic is not read"},
	{telemetry.MetricTopicsAnew, "", "overview: pipeline status"},
	{telemetry.MetricHeldBytes, "", "consumer: memory"},
	{telemetry.MetricAssignedPartitions, "",
		"overview: pipeline status; kafka: partition distribution"},
	{telemetry.MetricRebalances, "kind", "kafka: partition distribution"},
	{telemetry.MetricLag, "partition topic",
		"overview: consumer lag; kafka: lag per partition; alert: lag"},
	{telemetry.MetricCommittedOffset, "partition topic",
		"kafka: topic throughput, lag per partition"},
	{telemetry.MetricKafkaBrokers, "",
		"overview: pipeline status; kafka: broker health; alert: Kafka lost"},
	{telemetry.MetricParkedRecords, "entity",
		"validation: referential integrity; overview: pipeline status"},
	{telemetry.MetricParkedBytes, "", "consumer: memory"},
	{telemetry.MetricParkedOldestSeconds, "",
		"validation: referential integrity; alert: referential integrity"},
	{telemetry.MetricMongoSeconds, "command",
		"mongodb: write operations per second, write latency histogram"},
	{telemetry.MetricMongoFailures, "command", "mongodb: write operations; alert: error rate"},
	{telemetry.MetricMongoServers, "", "overview: pipeline status; alert: MongoDB lost"},
	{telemetry.MetricPoolConnections, "state",
		"overview: active connections; mongodb: pool usage; alert: pool above 80 %"},
	{telemetry.MetricClockSeconds, "", "the lab: offset of the consumer's clock"},
	{telemetry.MetricPoolMaxConnections, "", "mongodb: pool usage; alert: pool above 80 %"},
	{telemetry.MetricPoolEvents, "event", "mongodb: pool usage"},
	{telemetry.MetricPoolWaitSeconds, "", "mongodb: pool usage"},
	{telemetry.MetricValidationPassed, "",
		"2.2.6 cdc.validation.passed; validation: pass rate; alert: failure rate"},
	{telemetry.MetricValidationFailed, "entity rule severity",
		"2.2.6 cdc.validation.failed; validation: failures by rule; alert: failing rule"},
	{telemetry.MetricValidationLatency, "", "2.2.6 cdc.validation.latency; validation: latency"},
	{telemetry.MetricOutOfOrder, "entity", "validation: trend analysis, temporal consistency"},
	{telemetry.MetricTimeDriftSeconds, "entity",
		"validation: trend analysis, temporal consistency"},
	{telemetry.MetricSchemaChanges, "column entity kind severity",
		"alert: new column, removed column, incompatible type"},
	{telemetry.MetricSchemaVersions, "entity", "alert: change details"},
	{telemetry.MetricSpecsReloads, "result", "overview: pipeline status"},
	{telemetry.MetricTraceFailures, "", "tracing: spans that are missing"},
	{telemetry.MetricBuild, "go_version revision version", "overview: pipeline status"},
	{"go_memstats_heap_inuse_bytes", "", "consumer: heap"},
	{"go_gc_duration_seconds", "", "consumer: GC"},
	{"process_cpu_seconds_total", "", "consumer: CPU"},
	{"process_resident_memory_bytes", "", "consumer: memory"},
}

var units = []string{"_total", "_seconds", "_bytes", "_records", "_partitions", "_connections",
	"_offset", "_brokers", "_topics",
	"_servers", "_versions", "_info"}

// everything counts each thing once.
func everything(t *testing.T) *eventMetrics {
	t.Helper()
	p := newPipeline()
	m := p.metrics
	shapes := func() map[string]int { return map[string]int{"customer": 1} }
	m.Shapes.Store(&shapes)
	d := &draft{entity: "customer", op: debezium.Update, operation: "UPDATE",
		record: &kgo.Record{Topic: "t"}}
	m.countSettled(d, telemetry.OutcomeApplied)
	m.countDeadLetter(&deadletter.Rejected{Record: d.record, Entity: "customer",
		Operation: "UPDATE", Err: fate.Rejectf(fate.RuleUndecodable, "x")})
	m.CountRetry("server")
	m.PartitionsAssigned(map[string][]int32{"t": {0}})
	m.ShowLag("t", 0, 3)
	m.ShowCommitted("t", 0, 4)
	m.CountIgnored("heartbeat")
	m.CountOutOfOrder("customer")
	m.countViolation("format", "customer", entity.Reject)
	m.countSchemaChanges("customer", []encode.SchemaChange{{Column: "c", Kind: encode.Added,
		Severity: entity.Info}})
	m.PoolEvents.WithLabelValues("created").Inc()
	m.MongoTimes.WithLabelValues("update").Observe(1)
	m.MongoFailures.WithLabelValues("update").Inc()
	m.Reloads.WithLabelValues("changed")
	for _, found := range []telemetry.Found{m.Letters, m.Unread, m.Brokers, m.Servers} {
		found.Set(1)
	}
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending")) // is parked
	return m
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	families := consumertest.Gathered(t, everything(t).Registry)
	listed := map[string]bool{}
	for _, c := range catalogue {
		listed[c.name] = true
		family := families[c.name]
		if family == nil {
			t.Errorf("%s is not registered", c.name)
			continue
		}
		if family.GetHelp() == "" || c.serves == "" {
			t.Errorf("%s: what is it for?", c.name)
		}
		var labels []string
		for _, l := range family.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		if c.name != "go_gc_duration_seconds" && strings.Join(labels, " ") != c.labels {
			t.Errorf("%s has the labels %v, want %s", c.name, labels, c.labels)
		}
		suffix := slices.ContainsFunc(units, func(unit string) bool {
			return strings.HasSuffix(c.name, unit)
		})
		if !suffix && c.name != telemetry.MetricBatchSize {
			t.Errorf("%s does not say its unit", c.name)
		}
		counts := family.GetType() == dto.MetricType_COUNTER
		if total := strings.HasSuffix(c.name, "_total"); total != counts {
			t.Errorf("%s is a %s", c.name, family.GetType())
		}
	}
	for name := range families {
		if strings.HasPrefix(name, "cdc_") && !listed[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

// TestPublicNames: experiments, the stack's test and old reports read these.
func TestPublicNames(t *testing.T) {
	t.Parallel()
	got := []string{telemetry.MetricEvents, telemetry.MetricStageSeconds,
		telemetry.StageSourceToConnector, telemetry.StageConnectorToKafka,
		telemetry.StageKafkaToConsumer, telemetry.StageConsumerToApplied}
	want := []string{"cdc_consumer_events_total", "cdc_consumer_stage_seconds",
		"source_to_connector",
		"connector_to_kafka", "kafka_to_consumer", "consumer_to_applied"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSchemaColumnsAreBounded(t *testing.T) {
	t.Parallel()
	m := newEventMetrics(telemetry.NewMetrics())
	for i := range columnsMax + 50 {
		for range 2 {
			m.countSchemaChanges("customer", []encode.SchemaChange{{Column: fmt.Sprint("c", i),
				Kind: encode.Added, Severity: entity.Info}})
		}
	}
	family := consumertest.Gathered(t, m.Registry)[telemetry.MetricSchemaChanges]
	if len(family.Metric) != columnsMax+1 {
		t.Errorf("%d columns", len(family.Metric))
	}
	for _, one := range family.Metric {
		want := 2.0
		if consumertest.LabelOf(one, "column") == "other" {
			want = 100
		}
		if one.Counter.GetValue() != want {
			t.Errorf("%v, want %v", one, want)
		}
	}
}

// TestParkedMetrics: of two partitions together, and of none after both are left.
func TestParkedMetrics(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	other := p.of(t)
	m := p.metrics
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending"),
		orderRow(consumertest.Update, 1, 7, 3, "pending"))
	other.feed(t, orderRow(consumertest.Insert, 2, 8, 2, "pending"))
	families := consumertest.Gathered(t, m.Registry)
	records := families[telemetry.MetricParkedRecords].Metric
	if len(records) != 1 || consumertest.LabelOf(records[0], "entity") != "order" ||
		records[0].Gauge.GetValue() != 3 {
		t.Errorf("parked: %v", records)
	}
	bytes := p.parking.bytes + other.parking.bytes
	got := families[telemetry.MetricParkedBytes].Metric[0].Gauge.GetValue()
	if got != float64(bytes) || bytes == 0 {
		t.Errorf("%v bytes, want %d", got, bytes)
	}
	if got := families[telemetry.MetricParkedOldestSeconds].Metric[0].Gauge.GetValue(); got <= 0 {
		t.Errorf("the oldest waits for %v s", got)
	}
	if got := consumertest.EventCount(t, m.Registry, "order", telemetry.OutcomeParked); got != 3 {
		t.Errorf("%v events had to wait, want 3", got)
	}
	p.Leave()
	other.Leave()
	families = consumertest.Gathered(t, m.Registry)
	if families[telemetry.MetricParkedRecords] != nil ||
		families[telemetry.MetricParkedBytes].Metric[0].Gauge.GetValue() != 0 ||
		families[telemetry.MetricParkedOldestSeconds].Metric[0].Gauge.GetValue() != 0 {
		t.Error("something is parked after the partitions were left")
	}
}

func (p *pipeline) of(t *testing.T) *pipeline {
	t.Helper()
	return p.Shared.pipeline(p.memory)
}

// TestDriftIsOfStreamedEvents: a row of a snapshot tells no time of its commit, and therefore no
// drift.
func TestDriftIsOfStreamedEvents(t *testing.T) {
	t.Parallel()
	m := newEventMetrics(telemetry.NewMetrics())
	d := &draft{entity: "customer", op: debezium.Read, operation: "READ",
		record: &kgo.Record{Topic: "t", Timestamp: time.Unix(9, 0)}, sourceAt: time.Unix(7, 0)}
	m.countSettled(d, telemetry.OutcomeApplied)
	told := consumertest.Gathered(t, m.Registry)[telemetry.MetricTimeDriftSeconds]
	if told != nil {
		t.Errorf("after a snapshot's row: %v", told)
	}
	d.op = debezium.Update
	m.countSettled(d, telemetry.OutcomeApplied)
	drift, _ := consumertest.GaugeOf(t, m.Registry, telemetry.MetricTimeDriftSeconds)
	if drift != 2 {
		t.Errorf("after a streamed event: %v s", drift)
	}
}

// TestLagIsOfAssignedPartitions: late news of a lost partition is not kept.
func TestLagIsOfAssignedPartitions(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	m.PartitionsAssigned(map[string][]int32{"a": {0, 1}, "b": {0}})
	for topic, number := range map[string]int32{"a": 1, "b": 0} {
		m.ShowLag(topic, number, 5)
		m.ShowCommitted(topic, number, 6)
	}
	m.PartitionsRevoked(map[string][]int32{"b": {0}})
	m.ShowLag("b", 0, 7)
	m.ShowLag("a", 1, -1)
	families := consumertest.Gathered(t, m.Registry)
	if lags := families[telemetry.MetricLag].Metric; len(lags) != 1 ||
		consumertest.LabelOf(lags[0], "topic") != "a" ||
		lags[0].Gauge.GetValue() != 0 ||
		len(families[telemetry.MetricCommittedOffset].Metric) != 1 {
		t.Errorf("lags: %v", lags)
	}
	if n := consumertest.ValueOf(t, m.Assignment); n != 2 {
		t.Errorf("%v partitions are assigned", n)
	}
	if n := len(families[telemetry.MetricRebalances].Metric); n != 2 {
		t.Errorf("%d kinds of rebalances", n)
	}
}

// BenchmarkMetrics measures the cost of the metrics for an event; cpu-ns/op counts, of some 20,000.
func BenchmarkMetrics(b *testing.B) {
	now := time.Now()
	d := &draft{entity: "customer", op: debezium.Update, operation: "UPDATE",
		record:   &kgo.Record{Timestamp: now},
		sourceAt: now.Add(-time.Second), connectorAt: now.Add(-time.Millisecond), polled: now}
	run := func(name string, do func(*eventMetrics)) {
		b.Run(name, func(b *testing.B) {
			m := newEventMetrics(telemetry.NewMetrics())
			b.ReportAllocs()
			defer consumertest.ReportCPU(b)()
			for range b.N {
				do(m)
			}
		})
	}
	run("settled at a given time", func(m *eventMetrics) {
		m.countSettledAt(d, telemetry.OutcomeApplied, now)
	})
	run("settled", func(m *eventMetrics) { m.countSettled(d, telemetry.OutcomeApplied) })
	run("validated", func(m *eventMetrics) {
		m.ObserveValidation(time.Microsecond)
		m.Passed.Inc()
	})
	run("labels looked up", func(m *eventMetrics) {
		m.Events.WithLabelValues("customer", "UPDATE", telemetry.OutcomeApplied).Inc()
	})
}
