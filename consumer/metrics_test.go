package consumer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

var catalogue = []struct {
	name   string
	labels string
	serves string
}{
	{MetricEvents, "entity operation outcome", "overview: events processed, error rate; consumer: processing rate; alert: error rate"},
	{MetricBatchSize, "", "consumer: batch size distribution"},
	{MetricStageSeconds, "stage", "overview: processing latency p50, p95, p99; alert: latency"},
	{MetricProcessingSeconds, "", "consumer: processing time histogram"},
	{MetricRetries, "reason", "consumer: retry counts; alert: error rate, zero tolerance"},
	{MetricDeadLetters, "entity rule", "overview: error rate; alert: any message in the queue"},
	{MetricDeadLetterRecords, "", "consumer: dead letter queue size; alert: size above 100, growing for 30 minutes"},
	{MetricDecodeErrors, "topic", "overview: error rate; alert: error type"},
	{MetricPausedPartitions, "", "overview: pipeline status"},
	{MetricAssignedPartitions, "", "overview: pipeline status; kafka: partition distribution"},
	{MetricRebalances, "kind", "kafka: partition distribution"},
	{MetricLag, "partition topic", "overview: consumer lag; kafka: lag per partition; alert: lag"},
	{MetricCommittedOffset, "partition topic", "kafka: topic throughput, lag per partition"},
	{MetricKafkaBrokers, "", "overview: pipeline status; kafka: broker health; alert: Kafka lost"},
	{MetricParkedRecords, "entity", "validation: referential integrity; overview: pipeline status"},
	{MetricParkedBytes, "", "consumer: memory"},
	{MetricParkedOldestSeconds, "", "validation: referential integrity; alert: referential integrity"},
	{MetricMongoSeconds, "command", "mongodb: write operations per second, write latency histogram"},
	{MetricMongoFailures, "command", "mongodb: write operations; alert: error rate"},
	{MetricMongoServers, "", "overview: pipeline status; alert: MongoDB lost"},
	{MetricPoolConnections, "state", "overview: active connections; mongodb: pool usage; alert: pool above 80 %"},
	{MetricClockSeconds, "", "the lab: offset of the consumer's clock"},
	{MetricPoolMaxConnections, "", "mongodb: pool usage; alert: pool above 80 %"},
	{MetricPoolEvents, "event", "mongodb: pool usage"},
	{MetricPoolWaitSeconds, "", "mongodb: pool usage"},
	{MetricValidationPassed, "", "2.2.6 cdc.validation.passed; validation: pass rate; alert: failure rate"},
	{MetricValidationFailed, "entity rule severity", "2.2.6 cdc.validation.failed; validation: failures by rule; alert: failing rule"},
	{MetricValidationLatency, "", "2.2.6 cdc.validation.latency; validation: latency"},
	{MetricOutOfOrder, "entity", "validation: trend analysis, temporal consistency"},
	{MetricTimeDriftSeconds, "entity", "validation: trend analysis, temporal consistency"},
	{MetricSchemaChanges, "column entity kind severity", "alert: new column, removed column, incompatible type"},
	{MetricSchemaVersions, "entity", "alert: change details"},
	{MetricSpecsReloads, "result", "overview: pipeline status"},
	{MetricTraceFailures, "", "tracing: spans that are missing"},
	{MetricBuild, "go_version revision version", "overview: pipeline status"},
	{"go_memstats_heap_inuse_bytes", "", "consumer: heap"},
	{"go_gc_duration_seconds", "", "consumer: GC"},
	{"process_cpu_seconds_total", "", "consumer: CPU"},
	{"process_resident_memory_bytes", "", "consumer: memory"},
}

var units = []string{"_total", "_seconds", "_bytes", "_records", "_partitions", "_connections", "_offset", "_brokers",
	"_servers", "_versions", "_info"}

// everything counts each thing once.
func everything(t *testing.T) *metrics {
	t.Helper()
	p := newPipeline()
	m := p.planner.metrics
	registry := entity.Default()
	registry.Table("public", "customer")
	m.specs.Store(registry)
	d := &draft{entity: "customer", op: debezium.Update, operation: "UPDATE", record: &kgo.Record{Topic: "t"}}
	m.settled(d, OutcomeApplied)
	m.buried(&deadLetter{record: d.record, entity: "customer", operation: "UPDATE", err: rejectf(ruleUndecodable, "x")})
	m.retry(errors.New("x"))
	m.assigned(map[string][]int32{"t": {0}})
	m.lag("t", 0, 3)
	m.committed("t", 0, 4)
	m.ignored("heartbeat")
	m.outOfOrder("customer")
	m.violated("format", "customer", entity.Reject)
	m.schemaChange("customer", &entity.SchemaChange{Column: "c", Kind: entity.Added, Severity: entity.Info})
	m.pool(&event.PoolEvent{Type: event.ConnectionCreated})
	(&commandWatch{m}).failed(t.Context(), &event.CommandFailedEvent{CommandFinishedEvent: event.CommandFinishedEvent{CommandName: "update"}})
	m.reloads.WithLabelValues("changed")
	p.feed(t, orderRow(insert, 1, 7, 2, "pending")) // is parked
	return m
}

func gathered(t testing.TB, m *metrics) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, family := range families {
		all[family.GetName()] = family
	}
	return all
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	families := gathered(t, everything(t))
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
		suffix := slices.ContainsFunc(units, func(unit string) bool { return strings.HasSuffix(c.name, unit) })
		if !suffix && c.name != MetricBatchSize {
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
	got := []string{MetricEvents, MetricStageSeconds, StageSourceToConnector, StageConnectorToKafka,
		StageKafkaToConsumer, StageConsumerToApplied}
	want := []string{"cdc_consumer_events_total", "cdc_consumer_stage_seconds", "source_to_connector",
		"connector_to_kafka", "kafka_to_consumer", "consumer_to_applied"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSchemaColumnsAreBounded(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	for i := range columnsMax + 50 {
		for range 2 {
			m.schemaChange("customer", &entity.SchemaChange{Column: fmt.Sprint("c", i), Kind: entity.Added, Severity: entity.Info})
		}
	}
	family := gathered(t, m)[MetricSchemaChanges]
	if len(family.Metric) != columnsMax+1 {
		t.Errorf("%d columns", len(family.Metric))
	}
	for _, one := range family.Metric {
		want := 2.0
		if labelValue(one, "column") == "other" {
			want = 100
		}
		if one.Counter.GetValue() != want {
			t.Errorf("%v, want %v", one, want)
		}
	}
}

// TestParkedMetrics: of two partitions together, and of none after they are left.
func TestParkedMetrics(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	other := p.of(t)
	m := p.planner.metrics
	p.feed(t, orderRow(insert, 1, 7, 2, "pending"), orderRow(update, 1, 7, 3, "pending"))
	other.feed(t, orderRow(insert, 2, 8, 2, "pending"))
	families := gathered(t, m)
	records := families[MetricParkedRecords].Metric
	if len(records) != 1 || labelValue(records[0], "entity") != "order" || records[0].Gauge.GetValue() != 3 {
		t.Errorf("parked: %v", records)
	}
	bytes := p.settler.parking.bytes + other.settler.parking.bytes
	if got := families[MetricParkedBytes].Metric[0].Gauge.GetValue(); got != float64(bytes) || bytes == 0 {
		t.Errorf("%v bytes, want %d", got, bytes)
	}
	if got := families[MetricParkedOldestSeconds].Metric[0].Gauge.GetValue(); got <= 0 {
		t.Errorf("the oldest waits for %v s", got)
	}
	if got := eventCount(t, m, "order", OutcomeParked); got != 3 {
		t.Errorf("%v events had to wait, want 3", got)
	}
	p.leave()
	other.leave()
	families = gathered(t, m)
	if families[MetricParkedRecords] != nil || families[MetricParkedBytes].Metric[0].Gauge.GetValue() != 0 ||
		families[MetricParkedOldestSeconds].Metric[0].Gauge.GetValue() != 0 {
		t.Error("something is parked after the partitions were left")
	}
}

func (p *pipeline) of(t *testing.T) *pipeline {
	t.Helper()
	c := &Consumer{config: DefaultConfig(), registry: p.planner.registry, metrics: p.planner.metrics,
		log: p.settler.log, room: p.settler.parking.room, tracer: noTracer(), parents: p.settler.parents}
	return c.pipeline(p.memory, "cdc.public.order", 1)
}

// TestLagIsOfAssignedPartitions: what comes late for a partition that has gone is not kept.
func TestLagIsOfAssignedPartitions(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	m.assigned(map[string][]int32{"a": {0, 1}, "b": {0}})
	for topic, number := range map[string]int32{"a": 1, "b": 0} {
		m.lag(topic, number, 5)
		m.committed(topic, number, 6)
	}
	m.revoked(map[string][]int32{"b": {0}})
	m.lag("b", 0, 7)
	m.lag("a", 1, -1)
	families := gathered(t, m)
	if lags := families[MetricLag].Metric; len(lags) != 1 || labelValue(lags[0], "topic") != "a" ||
		lags[0].Gauge.GetValue() != 0 || len(families[MetricCommittedOffset].Metric) != 1 {
		t.Errorf("lags: %v", lags)
	}
	if n := valueOf(t, m.assignment); n != 2 {
		t.Errorf("%v partitions are assigned", n)
	}
	if n := len(families[MetricRebalances].Metric); n != 2 {
		t.Errorf("%d kinds of rebalances", n)
	}
}

func TestReplayCounts(t *testing.T) {
	t.Parallel()
	counts, err := everything(t).replayCounts()
	if err != nil {
		t.Fatal(err)
	}
	want := ReplayCounts{Applied: 1, Parked: 1, Ignored: 1, DeadLettered: map[string]int{ruleUndecodable: 1},
		Drift: map[string]int{"added": 1}, Violations: map[string]int{"format": 1}}
	if d := cmp.Diff(want, counts); d != "" {
		t.Error(d)
	}
}

// BenchmarkMetrics is what the metrics cost for one event; cpu-ns/op counts, of some 20,000.
func BenchmarkMetrics(b *testing.B) {
	now := time.Now()
	d := &draft{entity: "customer", op: debezium.Update, operation: "UPDATE", record: &kgo.Record{Timestamp: now},
		sourceAt: now.Add(-time.Second), connectorAt: now.Add(-time.Millisecond), polled: now}
	run := func(name string, do func(*metrics)) {
		b.Run(name, func(b *testing.B) {
			m := newMetrics()
			b.ReportAllocs()
			defer reportCPU(b)()
			for range b.N {
				do(m)
			}
		})
	}
	run("settled at a given time", func(m *metrics) { m.settledAt(d, OutcomeApplied, now) })
	run("settled", func(m *metrics) { m.settled(d, OutcomeApplied) })
	run("validated", func(m *metrics) { m.validated(time.Microsecond); m.passed.Inc() })
	run("labels looked up", func(m *metrics) { m.events.WithLabelValues("customer", "UPDATE", OutcomeApplied).Inc() })
}
