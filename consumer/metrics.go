package consumer

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/cdclab/cdclab/consumer/entity"
)

// The catalogue: the names of the consumer's own metrics, for dashboards and alert rules. A name
// ends in what it counts in. The collectors of Go and of the process are there too.
const (
	// MetricEvents counts events{entity,operation,outcome}, as the Outcome constants say. Debezium's
	// tombstones (null values) are not events.
	MetricEvents = "cdc_consumer_events_total"
	// MetricBatchSize is a histogram of the records in one batch of one partition.
	MetricBatchSize = "cdc_consumer_batch_size"
	// MetricStageSeconds is a histogram{stage} of streamed events, in seconds: how long each took
	// from the commit to the connector, to Kafka (the record's time, in whole milliseconds), to the
	// consumer, to the acknowledged write, and in all. All but the fourth compare clocks of several
	// machines.
	MetricStageSeconds = "cdc_consumer_stage_seconds"
	// MetricProcessingSeconds is a histogram of the time from taking up a batch to its last
	// acknowledgement, waiting for servers included.
	MetricProcessingSeconds = "cdc_consumer_processing_seconds"
	// MetricRetries counts transient errors{reason=network|timeout|write_concern|server|kafka}, and
	// looks in vain for the delete that a change of a row's key came without{reason=key_change}.
	MetricRetries = "cdc_consumer_retries_total"
	// MetricDeadLetters counts acknowledged dead letters{rule,entity}: the rule that was broken.
	MetricDeadLetters = "cdc_consumer_dead_letters_total"
	// MetricDeadLetterRecords is how many records the dead-letter topic holds, those included that
	// mark a letter as replayed or dropped; every member of the group says the same.
	MetricDeadLetterRecords = "cdc_consumer_dead_letter_topic_records"
	// MetricDecodeErrors counts dead letters{topic} that are no Debezium events.
	MetricDecodeErrors = "cdc_consumer_decode_errors_total"
	// MetricPausedPartitions is how many partitions are backing off from a transient error now.
	MetricPausedPartitions = "cdc_consumer_paused_partitions"
	// MetricAssignedPartitions is how many partitions this member of the group has.
	MetricAssignedPartitions = "cdc_consumer_assigned_partitions"
	// MetricRebalances counts changes of the assignment{kind=assigned|revoked}.
	MetricRebalances = "cdc_consumer_rebalances_total"
	// MetricLag is how many records{topic,partition} of an assigned partition are not committed.
	MetricLag = "cdc_consumer_lag_records"
	// MetricCommittedOffset is the group's offset{topic,partition} of an assigned partition.
	MetricCommittedOffset = "cdc_consumer_committed_offset"
	// MetricKafkaBrokers is how many brokers the cluster had when last asked; 0 when it did not answer.
	MetricKafkaBrokers = "cdc_consumer_kafka_reachable_brokers"

	// MetricParkedRecords is how many events{entity} wait for a row they refer to.
	MetricParkedRecords = "cdc_consumer_parked_records"
	// MetricParkedBytes is what they hold in memory.
	MetricParkedBytes = "cdc_consumer_parked_bytes"
	// MetricParkedOldestSeconds is how long the oldest has waited.
	MetricParkedOldestSeconds = "cdc_consumer_parked_oldest_seconds"

	// MetricMongoSeconds is a histogram{command} of MongoDB's commands.
	MetricMongoSeconds = "cdc_consumer_mongo_command_seconds"
	// MetricMongoFailures counts commands{command} that failed as a whole.
	MetricMongoFailures = "cdc_consumer_mongo_command_failures_total"
	// MetricMongoServers is how many of MongoDB's servers are known to answer.
	MetricMongoServers = "cdc_consumer_mongo_reachable_servers"
	// MetricClockSeconds is the time, in seconds since 1970: whose clock the stages are stamped by.
	MetricClockSeconds = "cdc_consumer_clock_seconds"
	// MetricPoolConnections is the pool's connections{state=open|in_use}.
	MetricPoolConnections = "cdc_consumer_mongo_pool_connections"
	// MetricPoolMaxConnections is how many there may be to each server.
	MetricPoolMaxConnections = "cdc_consumer_mongo_pool_max_connections"
	// MetricPoolEvents counts what happens to the pool{event=created|closed|cleared|checkout_failed}.
	MetricPoolEvents = "cdc_consumer_mongo_pool_events_total"
	// MetricPoolWaitSeconds is a histogram of the time a command waited for a connection.
	MetricPoolWaitSeconds = "cdc_consumer_mongo_pool_wait_seconds"

	// MetricValidationPassed counts events that broke no rule that rejects.
	MetricValidationPassed = "cdc_validation_passed_total"
	// MetricValidationFailed counts broken rules{rule,entity,severity}; one event may break several.
	MetricValidationFailed = "cdc_validation_failed_total"
	// MetricValidationLatency is a histogram of the time one event's validation took, in seconds.
	MetricValidationLatency = "cdc_validation_latency_seconds"
	// MetricOutOfOrder counts events{entity} with an earlier position than one before them in their
	// partition: a replay, or a source that does not keep its order.
	MetricOutOfOrder = "cdc_consumer_out_of_order_total"
	// MetricTimeDriftSeconds is the last event's{entity} time in Kafka less its commit's: delay, and
	// below 0 a clock that is wrong. A replay does not change it.
	MetricTimeDriftSeconds = "cdc_consumer_time_drift_seconds"
	// MetricSchemaChanges counts changes{entity,column,kind,severity} of tables' columns. Beyond
	// 1,000 columns the label is "other".
	MetricSchemaChanges = "cdc_consumer_schema_changes_total"
	// MetricSchemaVersions is how many shapes of rows{entity} this process has seen.
	MetricSchemaVersions = "cdc_consumer_schema_versions"
	// MetricSpecsReloads counts reloads of --specs{result=changed|failed}.
	MetricSpecsReloads = "cdc_consumer_specs_reloads_total"
	// MetricTraceFailures counts batches of spans that could not be sent.
	MetricTraceFailures = "cdc_consumer_trace_export_failures_total"
	// MetricBuild is 1{version,revision,go_version}.
	MetricBuild = "cdc_consumer_build_info"
)

// The values of the label stage of MetricStageSeconds.
const (
	StageSourceToConnector = "source_to_connector"
	StageConnectorToKafka  = "connector_to_kafka"
	StageKafkaToConsumer   = "kafka_to_consumer"
	StageConsumerToApplied = "consumer_to_applied"
	StageSourceToApplied   = "source_to_applied"
)

// The values of the label outcome of MetricEvents. Each event has one of the first five, counted
// when its end is known, and besides OutcomeParked for each time it has to wait.
const (
	OutcomeApplied    = "applied"
	OutcomeStale      = "stale"
	OutcomeFolded     = "folded"
	OutcomeDeadLetter = "dead_letter"
	OutcomeIgnored    = "ignored" // asks for nothing: a heartbeat, transaction metadata, a message
	OutcomeParked     = "parked"
)

type metrics struct {
	registry *prometheus.Registry

	events      *prometheus.CounterVec
	batchSize   prometheus.Observer
	toConnector prometheus.Observer // the stages
	toKafka     prometheus.Observer
	toConsumer  prometheus.Observer
	toApplied   prometheus.Observer
	inAll       prometheus.Observer
	processing  prometheus.Observer
	retries     *prometheus.CounterVec
	deadLetters *prometheus.CounterVec
	letters     prometheus.Gauge
	undecodable *prometheus.CounterVec
	paused      prometheus.Gauge
	assignment  prometheus.Gauge
	rebalances  *prometheus.CounterVec
	lags        *prometheus.GaugeVec
	offsets     *prometheus.GaugeVec
	brokers     prometheus.Gauge

	mongoTimes    *prometheus.HistogramVec
	mongoFailures *prometheus.CounterVec
	servers       prometheus.Gauge
	poolOpen      prometheus.Gauge
	poolInUse     prometheus.Gauge
	poolMax       prometheus.Gauge
	poolEvents    *prometheus.CounterVec
	poolWait      prometheus.Observer

	passed        prometheus.Counter
	failed        *prometheus.CounterVec
	validation    prometheus.Observer
	disorder      *prometheus.CounterVec
	drift         *prometheus.GaugeVec
	changes       *prometheus.CounterVec
	reloads       *prometheus.CounterVec
	traceFailures prometheus.Counter

	parkings    parkings
	assignments assignments
	specs       atomic.Pointer[entity.Registry] // whose shapes are counted

	entities atomic.Pointer[map[string]*entityMetrics] // a map that is not changed
	mu       sync.Mutex                                // of what changes entities, and of columns
	columns  map[string]bool
}

// columnsMax bounds the values of the label column.
const columnsMax = 1000

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), columns: map[string]bool{}}
	m.entities.Store(&map[string]*entityMetrics{})
	m.makePipeline()
	m.makeMongo()
	m.makeRules()
	m.registry.MustRegister(&m.parkings, shapes{&m.specs}, newBuildInfo(), newClock(),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

// histogram has buckets that double.
func (m *metrics) histogram(name, help string, first float64, buckets int,
	labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help,
		Buckets: prometheus.ExponentialBuckets(first, 2, buckets)}, labels)
	m.registry.MustRegister(h)
	return h
}

func (m *metrics) makePipeline() {
	m.events = m.counter(MetricEvents, "Events by their end.", "entity", "operation", "outcome")
	m.batchSize = m.histogram(MetricBatchSize, "Records in one batch of one partition.", 1,
		12).WithLabelValues()
	stage := m.histogram(MetricStageSeconds, "Time a streamed event spent in each stage.", 100e-6, 20,
		"stage")
	m.toConnector = stage.WithLabelValues(StageSourceToConnector)
	m.toKafka = stage.WithLabelValues(StageConnectorToKafka)
	m.toConsumer = stage.WithLabelValues(StageKafkaToConsumer)
	m.toApplied = stage.WithLabelValues(StageConsumerToApplied)
	m.inAll = stage.WithLabelValues(StageSourceToApplied)
	m.processing = m.histogram(MetricProcessingSeconds,
		"Time from taking up a batch to its last acknowledgement.", 100e-6, 20).WithLabelValues()
	m.retries = m.counter(MetricRetries, "Transient errors.", "reason")
	m.deadLetters = m.counter(MetricDeadLetters, "Records put into the dead-letter topic.",
		"rule", "entity")
	m.letters = m.gauge(MetricDeadLetterRecords, "Records in the dead-letter topic.").WithLabelValues()
	m.undecodable = m.counter(MetricDecodeErrors, "Records that are no Debezium events.", "topic")
	m.paused = m.gauge(MetricPausedPartitions,
		"Partitions backing off from a transient error.").WithLabelValues()
	m.assignment = m.gauge(MetricAssignedPartitions,
		"Partitions this member of the group has.").WithLabelValues()
	m.rebalances = m.counter(MetricRebalances, "Changes of the assignment.", "kind")
	m.lags = m.gauge(MetricLag, "Records that are not committed.", "topic", "partition")
	m.offsets = m.gauge(MetricCommittedOffset, "The group's offset.", "topic", "partition")
	m.brokers = m.gauge(MetricKafkaBrokers,
		"Brokers of the cluster, 0 when it did not answer.").WithLabelValues()
	m.traceFailures = m.counter(MetricTraceFailures,
		"Batches of spans that could not be sent.").WithLabelValues()
	m.reloads = m.counter(MetricSpecsReloads, "Reloads of the entity specs.", "result")
}

func (m *metrics) makeMongo() {
	m.mongoTimes = m.histogram(MetricMongoSeconds, "Time of one command to MongoDB.", 100e-6, 18,
		"command")
	m.mongoFailures = m.counter(MetricMongoFailures, "Commands that failed as a whole.", "command")
	m.servers = m.gauge(MetricMongoServers, "Servers of MongoDB that answer.").WithLabelValues()
	pool := m.gauge(MetricPoolConnections, "Connections to MongoDB.", "state")
	m.poolOpen, m.poolInUse = pool.WithLabelValues("open"), pool.WithLabelValues("in_use")
	m.poolMax = m.gauge(MetricPoolMaxConnections,
		"Connections there may be to one server of MongoDB.").WithLabelValues()
	m.poolEvents = m.counter(MetricPoolEvents, "What happened to the pool.", "event")
	m.poolWait = m.histogram(MetricPoolWaitSeconds, "Time a command waited for a connection.", 10e-6,
		20).WithLabelValues()
}

func (m *metrics) makeRules() {
	m.passed = m.counter(MetricValidationPassed,
		"Events that broke no rule that rejects.").WithLabelValues()
	m.failed = m.counter(MetricValidationFailed, "Broken rules.", "rule", "entity", "severity")
	m.validation = m.histogram(MetricValidationLatency, "Time the validation of one event took.", 1e-6,
		18).WithLabelValues()
	m.disorder = m.counter(MetricOutOfOrder,
		"Events whose position is before that of an earlier one in the partition.", "entity")
	m.drift = m.gauge(MetricTimeDriftSeconds,
		"Time of the last event in Kafka less that of its commit.", "entity")
	m.changes = m.counter(MetricSchemaChanges, "Changes of tables' columns.",
		"entity", "column", "kind", "severity")
}

// build is read once: tests make many consumers.
var build = sync.OnceValue(func() prometheus.Labels {
	version, revision := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return prometheus.Labels{"version": version, "revision": revision,
		"go_version": runtime.Version()}
})

func newClock() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: MetricClockSeconds, Help: "The time, in seconds since 1970."},
		func() float64 { return float64(time.Now().UnixMicro()) / 1e6 })
}

func newBuildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: MetricBuild, Help: "The build.",
		ConstLabels: build()}, func() float64 { return 1 })
}

// shapes are MetricSchemaVersions.
type shapes struct {
	of *atomic.Pointer[entity.Registry]
}

var shapesDesc = prometheus.NewDesc(MetricSchemaVersions, "Shapes of rows that were seen.",
	[]string{"entity"}, nil)

func (shapes) Describe(to chan<- *prometheus.Desc) { to <- shapesDesc }

func (s shapes) Collect(to chan<- prometheus.Metric) {
	registry := s.of.Load()
	if registry == nil {
		return
	}
	for name, count := range registry.Shapes() {
		to <- prometheus.MustNewConstMetric(shapesDesc, prometheus.GaugeValue, float64(count), name)
	}
}
