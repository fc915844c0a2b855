// Package telemetry is the consumer's view of itself: metrics, traces, logs, and the HTTP server of
// the metrics. The package knows no events or documents; package apply counts those. Start reading
// at names.go, then Metrics.
package telemetry

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the consumer's metrics, and the registry serving the metrics.
type Metrics struct {
	Registry *prometheus.Registry

	Events      *prometheus.CounterVec
	batchSize   prometheus.Observer
	ToConnector prometheus.Observer // the stages
	ToKafka     prometheus.Observer
	ToConsumer  prometheus.Observer
	ToApplied   prometheus.Observer
	InAll       prometheus.Observer
	processing  prometheus.Observer
	Retries     *prometheus.CounterVec
	DeadLetters *prometheus.CounterVec
	Letters     Found
	Undecodable *prometheus.CounterVec
	Paused      prometheus.Gauge
	Blocked     prometheus.Gauge
	Unread      Found
	TopicsAnew  prometheus.Counter
	Held        prometheus.GaugeFunc
	Assignment  prometheus.Gauge
	rebalances  *prometheus.CounterVec
	lags        *prometheus.GaugeVec
	offsets     *prometheus.GaugeVec
	Brokers     Found

	MongoTimes    *prometheus.HistogramVec
	MongoFailures *prometheus.CounterVec
	Servers       Found
	PoolOpen      prometheus.Gauge
	PoolInUse     prometheus.Gauge
	PoolMax       prometheus.Gauge
	PoolEvents    *prometheus.CounterVec
	PoolWait      prometheus.Observer

	Passed        prometheus.Counter
	Failed        *prometheus.CounterVec
	validation    prometheus.Observer
	disorder      *prometheus.CounterVec
	Drift         *prometheus.GaugeVec
	Changes       *prometheus.CounterVec
	Reloads       *prometheus.CounterVec
	traceFailures prometheus.Counter

	Parkings    parkings
	assignments assignments
	Shapes      atomic.Pointer[func() map[string]int] // by entity, of MetricSchemaVersions
	HeldBytes   atomic.Pointer[func() int]            // of Held
}

// NewMetrics returns the metrics in a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	m.makePipelineMetrics()
	m.makeMongoMetrics()
	m.makeRuleMetrics()
	m.Registry.MustRegister(&m.Parkings, shapes{&m.Shapes}, newBuildInfo(), newClock(),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) newCounter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.Registry.MustRegister(c)
	return c
}

func (m *Metrics) newGaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	m.Registry.MustRegister(g)
	return g
}

// Found is a gauge of what a look at a server found. Before the first look the gauge has no series,
// because an alert takes a 0 for a lost server.
type Found struct{ series *prometheus.GaugeVec }

// Set tells what a look found.
func (f Found) Set(value float64) { f.series.WithLabelValues().Set(value) }

func (m *Metrics) newFound(name, help string) Found { return Found{m.newGaugeVec(name, help)} }

// newHistogram makes a histogram of so many buckets: first, twice first, four times first and so
// on.
func (m *Metrics) newHistogram(name, help string, first float64, buckets int,
	labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help,
		Buckets: prometheus.ExponentialBuckets(first, 2, buckets)}, labels)
	m.Registry.MustRegister(h)
	return h
}

func (m *Metrics) makePipelineMetrics() {
	m.Events = m.newCounter(MetricEvents, "Events by their end.", "entity", "operation", "outcome")
	m.batchSize = m.newHistogram(MetricBatchSize, "Records in one batch of one partition.",
		1, 12).WithLabelValues()
	stage := m.newHistogram(MetricStageSeconds, "Time a streamed event spent in each stage.",
		100e-6, 20, "stage")
	m.ToConnector = stage.WithLabelValues(StageSourceToConnector)
	m.ToKafka = stage.WithLabelValues(StageConnectorToKafka)
	m.ToConsumer = stage.WithLabelValues(StageKafkaToConsumer)
	m.ToApplied = stage.WithLabelValues(StageConsumerToApplied)
	m.InAll = stage.WithLabelValues(StageSourceToApplied)
	m.processing = m.newHistogram(MetricProcessingSeconds,
		"Time from taking up a batch to its last acknowledgement.", 100e-6, 20).WithLabelValues()
	m.Retries = m.newCounter(MetricRetries, "Transient errors.", "reason")
	m.DeadLetters = m.newCounter(MetricDeadLetters, "Records put into the dead-letter topic.",
		"rule", "entity")
	m.Letters = m.newFound(MetricDeadLetterRecords, "Records in the dead-letter topic.")
	m.Undecodable = m.newCounter(MetricDecodeErrors, "Records that are no Debezium events.",
		"topic")
	m.Paused = m.newGaugeVec(MetricPausedPartitions,
		"Partitions backing off from a transient error.").WithLabelValues()
	m.Blocked = m.newGaugeVec(MetricBlockedPartitions,
		"Partitions that a too large batch blocks.").WithLabelValues()
	m.Unread = m.newFound(MetricUnreadTopics, "Topics of the subscription that nobody reads.")
	m.TopicsAnew = m.newCounter(MetricTopicsAnew,
		"Topics that were deleted and made anew.").WithLabelValues()
	m.Held = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: MetricHeldBytes,
		Help: "Memory of the records that are queued, under way or parked."}, func() float64 {
		if bytes := m.HeldBytes.Load(); bytes != nil {
			return float64((*bytes)())
		}
		return 0
	})
	m.Registry.MustRegister(m.Held)
	m.Assignment = m.newGaugeVec(MetricAssignedPartitions,
		"Partitions this member of the group has.").WithLabelValues()
	m.rebalances = m.newCounter(MetricRebalances, "Changes of the assignment.", "kind")
	m.lags = m.newGaugeVec(MetricLag, "Records that are not committed.", "topic", "partition")
	m.offsets = m.newGaugeVec(MetricCommittedOffset, "The group's offset.", "topic", "partition")
	m.Brokers = m.newFound(MetricKafkaBrokers,
		"Brokers of the cluster, 0 when it did not answer.")
	m.traceFailures = m.newCounter(MetricTraceFailures,
		"Batches of spans that could not be sent.").WithLabelValues()
	m.Reloads = m.newCounter(MetricSpecsReloads, "Reloads of the entity specs.", "result")
}

func (m *Metrics) makeMongoMetrics() {
	m.MongoTimes = m.newHistogram(MetricMongoSeconds, "Time of one command to MongoDB.", 100e-6, 18,
		"command")
	m.MongoFailures = m.newCounter(MetricMongoFailures, "Commands that failed as a whole.",
		"command")
	m.Servers = m.newFound(MetricMongoServers, "Servers of MongoDB that answer.")
	pool := m.newGaugeVec(MetricPoolConnections, "Connections to MongoDB.", "state")
	m.PoolOpen, m.PoolInUse = pool.WithLabelValues("open"), pool.WithLabelValues("in_use")
	m.PoolMax = m.newGaugeVec(MetricPoolMaxConnections,
		"Connections there may be to one server of MongoDB.").WithLabelValues()
	m.PoolEvents = m.newCounter(MetricPoolEvents, "What happened to the pool.", "event")
	m.PoolWait = m.newHistogram(MetricPoolWaitSeconds, "Time a command waited for a connection.",
		10e-6, 20).WithLabelValues()
}

func (m *Metrics) makeRuleMetrics() {
	m.Passed = m.newCounter(MetricValidationPassed,
		"Events that broke no rule that rejects.").WithLabelValues()
	m.Failed = m.newCounter(MetricValidationFailed, "Broken rules.", "rule", "entity", "severity")
	m.validation = m.newHistogram(MetricValidationLatency, "Time the validation of one event took.",
		1e-6, 18).WithLabelValues()
	m.disorder = m.newCounter(MetricOutOfOrder,
		"Events whose position is before that of an earlier one in the partition.", "entity")
	m.Drift = m.newGaugeVec(MetricTimeDriftSeconds,
		"Time of the last event in Kafka less that of its commit.", "entity")
	m.Changes = m.newCounter(MetricSchemaChanges, "Changes of tables' columns.",
		"entity", "column", "kind", "severity")
}

// Version returns the program's version, or else the commit, as far as the build knows either.
var Version = sync.OnceValue(func() string {
	about := build()
	if about["version"] == "(devel)" && about["revision"] != "unknown" {
		return about["revision"]
	}
	return about["version"]
})

// build is read once: tests make many consumers.
var build = sync.OnceValue(func() prometheus.Labels {
	version, revision := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = cmp.Or(info.Main.Version, version)
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
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: MetricClockSeconds,
		Help: "The time, in seconds since 1970."},
		func() float64 { return float64(time.Now().UnixMicro()) / 1e6 })
}

func newBuildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: MetricBuild, Help: "The build.",
		ConstLabels: build()}, func() float64 { return 1 })
}

// shapes are MetricSchemaVersions.
type shapes struct {
	of *atomic.Pointer[func() map[string]int]
}

var shapesDesc = prometheus.NewDesc(MetricSchemaVersions, "Shapes of rows that were seen.",
	[]string{"entity"}, nil)

func (shapes) Describe(to chan<- *prometheus.Desc) { to <- shapesDesc }

func (s shapes) Collect(to chan<- prometheus.Metric) {
	count := s.of.Load()
	if count == nil {
		return
	}
	for name, count := range (*count)() {
		to <- prometheus.MustNewConstMetric(shapesDesc, prometheus.GaugeValue, float64(count), name)
	}
}

// ObserveDuration counts a duration below 0 as 0, because clocks differ.
func ObserveDuration(o prometheus.Observer, d time.Duration) { o.Observe(max(d.Seconds(), 0)) }

// CountIgnored counts a record without a request: what is heartbeat, transaction or message.
func (m *Metrics) CountIgnored(what string) {
	m.Events.WithLabelValues("none", what, OutcomeIgnored).Inc()
}

// CountBatch counts a finished batch.
func (m *Metrics) CountBatch(records int, took time.Duration) {
	m.batchSize.Observe(float64(records))
	ObserveDuration(m.processing, took)
}

// CountOutOfOrder counts an event behind a later event of the same partition.
func (m *Metrics) CountOutOfOrder(name string) { m.disorder.WithLabelValues(name).Inc() }

// ObserveValidation counts the time of one event.
func (m *Metrics) ObserveValidation(took time.Duration) { ObserveDuration(m.validation, took) }

// CountRetry counts a transient error by the reason.
func (m *Metrics) CountRetry(reason string) { m.Retries.WithLabelValues(reason).Inc() }
