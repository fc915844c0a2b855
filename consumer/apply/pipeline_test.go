package apply

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/documents/documentstest"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// pipeline is a partition's way from records to documents, over memory and without Kafka.
type pipeline struct {
	*Applier
	memory  *documentstest.WatchedStore
	letters []deadletter.Rejected
	offset  int64 // of the next record
	marked  int64
	clock   time.Time
	ctx     context.Context // of the batches
}

// sharedRegistry spares reading the built-in specs for each of thousands of histories.
var (
	sharedRegistry = sync.OnceValue(entity.Default)
	sharedTables   = sync.OnceValue(func() *encode.Tables {
		return encode.NewTables(sharedRegistry())
	})
)

func newPipeline(change ...func(*Config)) *pipeline {
	config := DefaultConfig()
	for _, c := range change {
		c(&config)
	}
	memory := documentstest.NewWatchedStore()
	return member(config, memory).pipeline(memory)
}

// member is a process of the group.
func member(config Config, s documents.Store) *Shared {
	return NewShared(config, sharedTables(), s, telemetry.NewMetrics(),
		slog.New(slog.DiscardHandler), nil)
}

// withHigherEpoch is the partition in a consumer of epoch 1, over the same store.
func (p *pipeline) withHigherEpoch() *pipeline {
	config := DefaultConfig()
	config.Epoch = 1
	return member(config, p.memory).pipeline(p.memory)
}

// pipeline is another partition of the same process.
func (s *Shared) pipeline(memory *documentstest.WatchedStore) *pipeline {
	p := &pipeline{memory: memory, marked: -1, clock: consumertest.Time, ctx: context.Background()}
	now := func() time.Time { return p.clock }
	p.Applier = s.Applier(p.keepLetters, now)
	s.parents.now = now
	return p
}

func (p *pipeline) keepLetters(_ context.Context, l []deadletter.Rejected) error {
	p.letters = append(p.letters, l...)
	return nil
}

// batch gives the next offset to each record without an offset.
func (p *pipeline) batch(records ...*kgo.Record) []telemetry.Arrival {
	batch := make([]telemetry.Arrival, len(records))
	for i, r := range records {
		if r.Offset == 0 {
			r.Offset = p.offset
		}
		p.offset = r.Offset + 1
		batch[i] = telemetry.Arrival{Record: r, Polled: consumertest.Time}
	}
	return batch
}

// work sees a batch through to the end.
func (p *pipeline) work(batch []telemetry.Arrival) error {
	p.Take(batch)
	return p.settle()
}

// settle waits out passing errors, by the clock of the test.
func (p *pipeline) settle() error {
	for {
		err := p.Step(p.ctx)
		if err == nil {
			p.commit()
			return nil
		}
		if fate.Of(err) == fate.Stop {
			return err
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (p *pipeline) commit() {
	if _, offset, any := p.Committable(); any {
		p.marked = offset
	}
}

// feed takes the records as a batch, and returns the rules of the resulting dead letters.
func (p *pipeline) feed(t testing.TB, records ...*kgo.Record) []string {
	t.Helper()
	before := len(p.letters)
	if err := p.work(p.batch(records...)); err != nil {
		t.Fatal(err)
	}
	var rules []string
	for i := range p.letters[before:] {
		rules = append(rules, p.letters[before+i].Rule())
	}
	return rules
}

// tick lets time pass, and has the parked events looked at.
func (p *pipeline) tick(t testing.TB, d time.Duration) {
	t.Helper()
	p.clock = p.clock.Add(d)
	if err := p.release(); err != nil {
		t.Fatal(err)
	}
}

// release has the parked events looked at.
func (p *pipeline) release() error {
	if err := p.Tick(context.Background()); err != nil {
		return err
	}
	return p.settle()
}

func (p *pipeline) document(t testing.TB, collection, id string) bson.M {
	t.Helper()
	return consumertest.State(t, p.memory, collection, id)
}

// violations is how often the rule was broken.
func (p *pipeline) violations(t testing.TB, rule string) (sum int) {
	t.Helper()
	families, err := p.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			if family.GetName() == telemetry.MetricValidationFailed &&
				consumertest.LabelOf(metric, "rule") == rule {
				sum += int(metric.Counter.GetValue())
			}
		}
	}
	return sum
}
