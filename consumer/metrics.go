package consumer

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// The catalogue: the names of the consumer's own metrics, for dashboards and alert rules. The
// collectors of Go and of the process are there too.
const (
	// MetricEvents counts events{entity,operation,outcome=applied|stale|folded|dead_letter}, each
	// once, when its end is known. Debezium's tombstones (null values) are not events.
	MetricEvents = "cdc_consumer_events_total"
	// MetricBatchSize is a histogram of the records in one batch of one partition.
	MetricBatchSize = "cdc_consumer_batch_size"
	// MetricStageSeconds is a histogram{stage} of streamed events, in seconds: how long each took
	// from the commit to the connector, to the consumer, to the acknowledged write. The first two
	// compare clocks of several machines.
	MetricStageSeconds = "cdc_consumer_stage_seconds"
	// MetricRetries counts transient errors{reason=network|timeout|write_concern|server|kafka}.
	MetricRetries = "cdc_consumer_retries_total"
	// MetricDeadLetters counts acknowledged dead letters{reason}: the rule that was broken.
	MetricDeadLetters = "cdc_consumer_dead_letters_total"
	// MetricPausedPartitions is how many partitions are backing off from a transient error now.
	MetricPausedPartitions = "cdc_consumer_paused_partitions"
	// MetricValidationPassed counts events that broke no rule.
	MetricValidationPassed = "cdc_validation_passed_total"
	// MetricValidationFailed counts broken rules{rule}; one event may break several.
	MetricValidationFailed = "cdc_validation_failed_total"
	// MetricValidationLatency is a histogram of the time one event's validation took, in seconds.
	MetricValidationLatency = "cdc_validation_latency_seconds"
)

// The values of the label stage of MetricStageSeconds.
const (
	StageSourceToConnector   = "source_to_connector"
	StageConnectorToConsumer = "connector_to_consumer"
	StageConsumerToApplied   = "consumer_to_applied"
)

// The values of the label outcome of MetricEvents.
const (
	OutcomeApplied    = "applied"
	OutcomeStale      = "stale"
	OutcomeFolded     = "folded"
	OutcomeDeadLetter = "dead_letter"
)

type metrics struct {
	registry    *prometheus.Registry
	events      *prometheus.CounterVec
	batchSize   prometheus.Histogram
	stage       *prometheus.HistogramVec
	retries     *prometheus.CounterVec
	deadLetters *prometheus.CounterVec
	paused      prometheus.Gauge
	passed      prometheus.Counter
	failed      *prometheus.CounterVec
	validation  prometheus.Histogram
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		events:   counter(MetricEvents, "Events by their end.", "entity", "operation", "outcome"),
		batchSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: MetricBatchSize, Help: "Records in one batch of one partition.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
		stage: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: MetricStageSeconds, Help: "Time a streamed event spent in each stage.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 20),
		}, []string{"stage"}),
		retries:     counter(MetricRetries, "Transient errors.", "reason"),
		deadLetters: counter(MetricDeadLetters, "Records put into the dead-letter topic.", "reason"),
		paused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: MetricPausedPartitions, Help: "Partitions backing off from a transient error.",
		}),
		passed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: MetricValidationPassed, Help: "Events that broke no rule.",
		}),
		failed: counter(MetricValidationFailed, "Broken rules.", "rule"),
		validation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: MetricValidationLatency, Help: "Time the validation of one event took.",
			Buckets: prometheus.ExponentialBuckets(0.000001, 4, 10),
		}),
	}
	m.registry.MustRegister(m.events, m.batchSize, m.stage, m.retries, m.deadLetters, m.paused,
		m.passed, m.failed, m.validation, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// settled counts the events of a write whose end is known. A record that moves an item makes two
// changes and is counted by the one at its new place.
func (m *metrics) settled(w *write, outcome string) {
	for _, c := range w.from {
		if c.aside {
			continue
		}
		end := outcome
		if c.record != w.record {
			end = OutcomeFolded
		}
		m.events.WithLabelValues(c.entity, c.operation, end).Inc()
		if c.operation == operations[debezium.Read] {
			continue
		}
		m.observe(StageSourceToConnector, c.connectorAt.Sub(c.sourceAt))
		m.observe(StageConnectorToConsumer, c.polled.Sub(c.connectorAt))
		m.observe(StageConsumerToApplied, time.Since(c.polled))
	}
}

func (m *metrics) observe(stage string, d time.Duration) {
	m.stage.WithLabelValues(stage).Observe(max(d.Seconds(), 0))
}

func (m *metrics) retry(err error) { m.retries.WithLabelValues(reasonOf(err)).Inc() }

// reasonOf keeps the label's values few.
func reasonOf(err error) string {
	var concern mongo.WriteConcernError
	var kafka *kafkaError
	switch {
	case errors.As(err, &kafka):
		return "kafka"
	case errors.As(err, &concern):
		return "write_concern"
	case mongo.IsTimeout(err):
		return "timeout"
	case mongo.IsNetworkError(err):
		return "network"
	default:
		return "server"
	}
}
