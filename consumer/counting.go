package consumer

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// entityMetrics are the counters of one entity, looked up once.
type entityMetrics struct {
	applied, stale, folded map[debezium.Op]prometheus.Counter
	drift                  prometheus.Gauge
}

// entity is made when a name first comes.
func (m *metrics) entity(name string) *entityMetrics {
	if e := (*m.entities.Load())[name]; e != nil {
		return e
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := maps.Clone(*m.entities.Load())
	if e := all[name]; e != nil {
		return e
	}
	of := func(outcome string) map[debezium.Op]prometheus.Counter {
		counters := map[debezium.Op]prometheus.Counter{}
		for op, operation := range operations {
			counters[op] = m.events.WithLabelValues(name, operation, outcome)
		}
		return counters
	}
	e := &entityMetrics{applied: of(OutcomeApplied), stale: of(OutcomeStale),
		folded: of(OutcomeFolded), drift: m.drift.WithLabelValues(name)}
	all[name] = e
	m.entities.Store(&all)
	return e
}

func (e *entityMetrics) counter(op debezium.Op, outcome string) prometheus.Counter {
	switch outcome {
	case OutcomeApplied:
		return e.applied[op]
	case OutcomeStale:
		return e.stale[op]
	default:
		return e.folded[op]
	}
}

// settled counts an event whose end is known: OutcomeApplied, OutcomeStale or OutcomeFolded.
func (m *metrics) settled(d *draft, outcome string) { m.settledAt(d, outcome, time.Now()) }

// settledAt is settled for many events that ended together: reading the clock costs more than all
// the rest.
func (m *metrics) settledAt(d *draft, outcome string, now time.Time) {
	e := m.entity(d.entity)
	if counter := e.counter(d.op, outcome); counter != nil {
		counter.Inc()
	}
	if d.record != nil && d.record.Context != nil {
		describe(d.record, d.entity, d.operation, outcome)
	}
	if d.op == debezium.Read {
		return
	}
	observe(m.toConnector, d.connectorAt.Sub(d.sourceAt))
	if d.record != nil {
		e.drift.Set(d.record.Timestamp.Sub(d.sourceAt).Seconds())
		// What a whole millisecond leaves out is half of one on average.
		inKafka := d.record.Timestamp.Add(time.Millisecond / 2)
		observe(m.toKafka, inKafka.Sub(d.connectorAt))
		observe(m.toConsumer, d.polled.Sub(inKafka))
	}
	observe(m.toApplied, now.Sub(d.polled))
	observe(m.inAll, now.Sub(d.sourceAt))
}

// observe counts what is below 0 as 0: clocks differ.
func observe(o prometheus.Observer, d time.Duration) { o.Observe(max(d.Seconds(), 0)) }

// buried counts a dead letter that is acknowledged.
func (m *metrics) buried(l *deadLetter) {
	m.events.WithLabelValues(l.entity, l.operation, OutcomeDeadLetter).Inc()
	m.deadLetters.WithLabelValues(l.rule(), l.entity).Inc()
	if l.rule() == ruleUndecodable {
		m.undecodable.WithLabelValues(l.record.Topic).Inc()
	}
	if l.record.Context != nil {
		describe(l.record, l.entity, l.operation, OutcomeDeadLetter)
	}
}

// ignored counts a record that asks for nothing: what is heartbeat, transaction or message.
func (m *metrics) ignored(what string) {
	m.events.WithLabelValues("none", what, OutcomeIgnored).Inc()
}

// park counts an event that has to wait.
func (m *metrics) park(d *draft) {
	m.events.WithLabelValues(d.entity, d.operation, OutcomeParked).Inc()
}

// batch counts a batch that has met its end.
func (m *metrics) batch(records int, took time.Duration) {
	m.batchSize.Observe(float64(records))
	observe(m.processing, took)
}

func (m *metrics) outOfOrder(name string) { m.disorder.WithLabelValues(name).Inc() }

// validated counts the time of one event.
func (m *metrics) validated(took time.Duration) { observe(m.validation, took) }

func (m *metrics) violated(rule, name string, severity entity.Severity) {
	m.failed.WithLabelValues(rule, name, string(severity)).Inc()
}

func (m *metrics) schemaChange(name string, c *entity.SchemaChange) {
	column := c.Column
	m.mu.Lock()
	if len(m.columns) < columnsMax {
		m.columns[name+"."+column] = true
	} else if !m.columns[name+"."+column] {
		column = "other"
	}
	m.mu.Unlock()
	m.changes.WithLabelValues(name, column, string(c.Kind), string(c.Severity)).Inc()
}

func (m *metrics) retry(err error) { m.retries.WithLabelValues(reasonOf(err)).Inc() }

// reasonOf keeps the label's values few.
func reasonOf(err error) string {
	var concern mongo.WriteConcernError
	var kafka *kafkaError
	switch {
	case errors.Is(err, errWaiting):
		return "key_change"
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

// replayCounts sums up what was counted so far.
func (m *metrics) replayCounts() (ReplayCounts, error) {
	counts := ReplayCounts{DeadLettered: map[string]int{}, Drift: map[string]int{},
		Violations: map[string]int{}}
	families, err := m.registry.Gather()
	if err != nil {
		return ReplayCounts{}, fmt.Errorf("count what was replayed: %w", err)
	}
	for _, family := range families {
		for _, one := range family.GetMetric() {
			n := int(one.GetCounter().GetValue())
			if n == 0 {
				continue
			}
			switch family.GetName() {
			case MetricEvents:
				counts.end(labelValue(one, "outcome"), n)
			case MetricDeadLetters:
				counts.DeadLettered[labelValue(one, "rule")] += n
			case MetricSchemaChanges:
				counts.Drift[labelValue(one, "kind")] += n
			case MetricValidationFailed:
				counts.Violations[labelValue(one, "rule")] += n
			}
		}
	}
	return counts, nil
}

func (c *ReplayCounts) end(outcome string, n int) {
	switch outcome {
	case OutcomeApplied, OutcomeFolded:
		c.Applied += n
	case OutcomeStale:
		c.Stale += n
	case OutcomeParked:
		c.Parked += n
	case OutcomeIgnored:
		c.Ignored += n
	}
}

func labelValue(m *dto.Metric, name string) string {
	for _, pair := range m.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}
