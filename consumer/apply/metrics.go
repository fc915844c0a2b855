package apply

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// eventMetrics count events by outcome.
type eventMetrics struct {
	*telemetry.Metrics
	entities atomic.Pointer[map[string]*entityMetrics] // a map never changed in place
	mu       sync.Mutex                                // for changes of entities, and of columns
	columns  map[string]map[string]bool                // the labels so far, by entity
	labelled int                                       // columns of all entities
}

// columnsMax bounds the values of the label column.
const columnsMax = 1000

func newEventMetrics(m *telemetry.Metrics) *eventMetrics {
	e := &eventMetrics{Metrics: m, columns: map[string]map[string]bool{}}
	e.entities.Store(&map[string]*entityMetrics{})
	return e
}

// entityMetrics are the counters of an entity, looked up once.
type entityMetrics struct {
	applied, stale, folded map[debezium.Op]prometheus.Counter
	drift                  func() prometheus.Gauge
}

// entity is made when a name first comes.
func (m *eventMetrics) entity(name string) *entityMetrics {
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
			counters[op] = m.Events.WithLabelValues(name, operation, outcome)
		}
		return counters
	}
	e := &entityMetrics{applied: of(telemetry.OutcomeApplied), stale: of(telemetry.OutcomeStale),
		folded: of(telemetry.OutcomeFolded),
		drift:  sync.OnceValue(func() prometheus.Gauge { return m.Drift.WithLabelValues(name) })}
	all[name] = e
	m.entities.Store(&all)
	return e
}

func (e *entityMetrics) counter(op debezium.Op, outcome string) prometheus.Counter {
	switch outcome {
	case telemetry.OutcomeApplied:
		return e.applied[op]
	case telemetry.OutcomeStale:
		return e.stale[op]
	default:
		return e.folded[op]
	}
}

// countSettled counts an event whose end is known: OutcomeApplied, OutcomeStale or OutcomeFolded.
func (m *eventMetrics) countSettled(d *draft, outcome string) {
	m.countSettledAt(d, outcome, time.Now())
}

// countSettledAt is countSettled for many events with the same end: reading the clock costs more
// than all the rest.
func (m *eventMetrics) countSettledAt(d *draft, outcome string, now time.Time) {
	e := m.entity(d.entity)
	if counter := e.counter(d.op, outcome); counter != nil {
		counter.Inc()
	}
	if d.record != nil && d.record.Context != nil {
		telemetry.DescribeSpan(d.record, d.entity, d.operation, outcome)
	}
	if d.op == debezium.Read {
		return
	}
	telemetry.ObserveDuration(m.ToConnector, d.connectorAt.Sub(d.sourceAt))
	if d.record != nil {
		e.drift().Set(d.record.Timestamp.Sub(d.sourceAt).Seconds())
		// A whole millisecond leaves out half a millisecond on average.
		inKafka := d.record.Timestamp.Add(time.Millisecond / 2)
		telemetry.ObserveDuration(m.ToKafka, inKafka.Sub(d.connectorAt))
		telemetry.ObserveDuration(m.ToConsumer, d.polled.Sub(inKafka))
	}
	telemetry.ObserveDuration(m.ToApplied, now.Sub(d.polled))
	telemetry.ObserveDuration(m.InAll, now.Sub(d.sourceAt))
}

// countDeadLetter counts an acknowledged dead letter.
func (m *eventMetrics) countDeadLetter(l *deadletter.Rejected) {
	m.Events.WithLabelValues(l.Entity, l.Operation, telemetry.OutcomeDeadLetter).Inc()
	m.DeadLetters.WithLabelValues(l.Rule(), l.Entity).Inc()
	if l.Rule() == fate.RuleUndecodable {
		m.Undecodable.WithLabelValues(l.Record.Topic).Inc()
	}
	if l.Record.Context != nil {
		telemetry.DescribeSpan(l.Record, l.Entity, l.Operation, telemetry.OutcomeDeadLetter)
	}
}

// countParked counts a waiting event.
func (m *eventMetrics) countParked(d *draft) {
	m.Events.WithLabelValues(d.entity, d.operation, telemetry.OutcomeParked).Inc()
}

// showParked shows the parked events of a partition.
func (m *eventMetrics) showParked(p *parking) {
	now := telemetry.Parked{Records: map[string]int{}, Bytes: p.bytes, Oldest: p.oldestSince()}
	for _, of := range p.chains {
		now.Records[of.drafts[0].entity] += len(of.drafts)
	}
	m.Parkings.Set(p, now)
}

func (m *eventMetrics) countViolation(rule, name string, severity entity.Severity) {
	m.Failed.WithLabelValues(rule, name, string(severity)).Inc()
}

// countSchemaChanges counts the changes of a table. Columns beyond the first columnsMax of the
// process are counted together, because a row may have thousands.
func (m *eventMetrics) countSchemaChanges(name string, changes []encode.SchemaChange) {
	var counter prometheus.Counter
	var column string
	var kind encode.ChangeKind // of counter, as column is
	m.mu.Lock()
	defer m.mu.Unlock()
	labels := m.columns[name]
	if labels == nil && m.labelled < columnsMax {
		labels = map[string]bool{}
		m.columns[name] = labels
	}
	for i := range changes {
		c := &changes[i]
		label := c.Column
		if !labels[label] {
			if m.labelled < columnsMax {
				labels[label] = true
				m.labelled++
			} else {
				label = otherField
			}
		}
		if counter == nil || label != column || c.Kind != kind {
			column, kind = label, c.Kind
			counter = m.Changes.WithLabelValues(name, label, string(kind), string(c.Severity))
		}
		counter.Inc()
	}
}
