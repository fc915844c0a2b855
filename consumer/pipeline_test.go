package consumer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/entity"
)

// pipeline is one partition's way from records to documents, over memory and without Kafka.
type pipeline struct {
	*partition
	memory  *memoryStore
	letters []deadLetter
	offset  int64 // of the next record
	marked  int64
	clock   time.Time
}

// sharedRegistry spares reading the built-in specs for each of thousands of histories.
var sharedRegistry = sync.OnceValue(entity.Default)

func newPipeline(change ...func(*Config)) *pipeline {
	config := DefaultConfig()
	for _, c := range change {
		c(&config)
	}
	memory := newMemoryStore()
	return newTestConsumer(config, memory).pipeline(memory, "cdc.public.customer", 0)
}

func newTestConsumer(config Config, s store) *Consumer {
	c := &Consumer{config: config, registry: sharedRegistry(), metrics: newMetrics(),
		log: slog.New(slog.DiscardHandler), room: &parkingRoom{max: config.ParkedMaxBytes}, tracer: noTracer()}
	c.use(s)
	return c
}

// pipeline is another partition of the same process.
func (c *Consumer) pipeline(memory *memoryStore, topic string, number int32) *pipeline {
	p := &pipeline{memory: memory, marked: -1, clock: testTime}
	now := func() time.Time { return p.clock }
	p.partition = c.newPartition(topic, number, memory, func(_ context.Context, l []deadLetter) error {
		p.letters = append(p.letters, l...)
		return nil
	}, now)
	c.parents.now = now
	p.mark = func(_ int32, offset int64) { p.marked = offset }
	return p
}

// batch gives the records the next offsets, those apart that have one.
func (p *pipeline) batch(records ...*kgo.Record) []arrival {
	batch := make([]arrival, len(records))
	for i, r := range records {
		if r.Offset == 0 {
			r.Offset = p.offset
		}
		p.offset = r.Offset + 1
		batch[i] = arrival{r, testTime}
	}
	return batch
}

// feed takes the records as one batch, and returns the rules of the dead letters that came of it.
func (p *pipeline) feed(t testing.TB, records ...*kgo.Record) []string {
	t.Helper()
	before := len(p.letters)
	if err := p.work(context.Background(), p.batch(records...)); err != nil {
		t.Fatal(err)
	}
	var rules []string
	for i := range p.letters[before:] {
		rules = append(rules, p.letters[before+i].rule())
	}
	return rules
}

// tick lets time pass, and has the parked events looked at.
func (p *pipeline) tick(t testing.TB, d time.Duration) {
	t.Helper()
	p.clock = p.clock.Add(d)
	if err := p.unpark(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (p *pipeline) document(t testing.TB, collection, id string) bson.M {
	t.Helper()
	return state(t, p.memory, collection, id)
}

// eventCount sums MetricEvents over the operations.
func eventCount(t testing.TB, m *metrics, entity, outcome string) (sum float64) {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != MetricEvents {
			continue
		}
		for _, metric := range family.Metric {
			if labelOf(metric, "entity") == entity && labelOf(metric, "outcome") == outcome {
				sum += metric.Counter.GetValue()
			}
		}
	}
	return sum
}

// valueOf is the value of a gauge or a counter.
func valueOf(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var read dto.Metric
	if err := m.Write(&read); err != nil {
		t.Fatal(err)
	}
	return read.Gauge.GetValue() + read.Counter.GetValue()
}

func labelOf(metric *dto.Metric, name string) string {
	for _, l := range metric.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

var errAway = errors.New("connection refused")

// violations is how often the rule was broken.
func (p *pipeline) violations(t testing.TB, rule string) (sum int) {
	t.Helper()
	families, err := p.planner.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			if family.GetName() == MetricValidationFailed && labelOf(metric, "rule") == rule {
				sum += int(metric.Counter.GetValue())
			}
		}
	}
	return sum
}
