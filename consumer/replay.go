package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ReplayOptions say how records are replayed. The zero value replays them as they are recorded, into
// memory.
type ReplayOptions struct {
	// Config: of it count Specs, NoValidate, Epoch, the limits, LogLevel and Output, and with Mongo its
	// connection and Database.
	Config Config
	// Mongo: into MongoDB instead of memory.
	Mongo bool
	// Shuffle mixes the partitions by this seed, each in its own order; 0 keeps the recorded order.
	Shuffle uint64
	// Duplicate is the probability, after each batch, that the partition is begun anew some records
	// before, as after a rebalance; below 1.
	Duplicate float64
	// Tombstones: print what readers do not see, too.
	Tombstones bool
}

// ReplayCounts is what became of the records.
type ReplayCounts struct {
	Records      int            `json:"records"`
	Applied      int            `json:"applied"` // events written, folded ones included
	Stale        int            `json:"stale"`
	Parked       int            `json:"parked"` // events that waited for another row
	Ignored      int            `json:"ignored"`
	DeadLettered map[string]int `json:"dead_lettered"` // by rule
	Drift        map[string]int `json:"drift"`         // changes of schema by kind
	Violations   map[string]int `json:"violations"`    // by rule, warnings included
}

// Replay takes records through the consumer's decoding, rules and guarded writes, and prints the
// documents that are there in the end: one {"collection": ..., "document": ...} a line, canonical
// Extended JSON v2, by collection and _id. Records of one partition must be in their order.
//
// The same records give the same documents for every Shuffle and Duplicate.
func Replay(ctx context.Context, records []*kgo.Record, o ReplayOptions, out io.Writer) (
	ReplayCounts, error) {
	r := &replay{options: o, clock: time.Now()}
	var err error
	memory := newMemoryStore()
	if r.consumer, err = newConsumer(o.Config, memory); err != nil {
		return ReplayCounts{}, err
	}
	if o.Mongo {
		c := r.consumer
		if c.mongo, err = openMongo(o.Config, c.registry, c.metrics); err != nil {
			return ReplayCounts{}, err
		}
		defer c.mongo.close(context.WithoutCancel(ctx))
		c.use(c.mongo)
	}
	r.consumer.parents.now = r.now
	r.random = rand.New(rand.NewPCG(o.Shuffle, 5))
	if err := r.run(ctx, records); err != nil {
		return ReplayCounts{}, err
	}
	counts, err := r.consumer.metrics.replayCounts()
	if err != nil {
		return ReplayCounts{}, err
	}
	counts.Records = len(records)
	return counts, r.print(ctx, out)
}

// replay is a Kafka of one process: partitions that are polled in turn, or at random.
type replay struct {
	options  ReplayOptions
	consumer *Consumer
	random   *rand.Rand
	feeds    []*feed
	clock    time.Time // moved on where everything waits
}

// feed is one partition's records.
type feed struct {
	topic     string
	number    int32
	records   []*kgo.Record
	at        []int // their places in the recording
	next      int
	partition *partition
	blocked   bool // its job waits for another partition
	tried     bool // in vain, since anything last moved
	rewinds   int
}

// open: records are left.
func (f *feed) open() bool { return f.blocked || f.next < len(f.records) }

func (r *replay) now() time.Time { return r.clock }

func (r *replay) run(ctx context.Context, records []*kgo.Record) error {
	r.distribute(records)
	for {
		f := r.pick()
		if f == nil {
			if !r.hurry() {
				return nil
			}
			continue
		}
		moved, err := r.step(ctx, f)
		if err != nil {
			return fmt.Errorf("replay %s/%d: %w", f.topic, f.number, err)
		}
		for _, other := range r.feeds {
			other.tried = other.tried && !moved
		}
		f.tried = !moved
	}
}

func (r *replay) distribute(records []*kgo.Record) {
	type key struct {
		topic  string
		number int32
	}
	feeds := map[key]*feed{}
	for i, record := range records {
		k := key{record.Topic, record.Partition}
		f := feeds[k]
		if f == nil {
			f = &feed{topic: record.Topic, number: record.Partition}
			feeds[k] = f
			r.feeds = append(r.feeds, f)
			r.assign(f)
		}
		f.records, f.at = append(f.records, record), append(f.at, i)
	}
}

// assign gives the partition to a member that remembers nothing.
func (r *replay) assign(f *feed) {
	if f.partition != nil {
		f.partition.settler.parking.empty()
	}
	none := func(context.Context, []deadLetter) error { return nil }
	f.partition = r.consumer.newPartition(f.topic, f.number, r.consumer.store, none, r.now)
	f.partition.planner.byRecord = true
}

// pick is the feed that goes on, one that was not tried since anything moved: of those with records
// left any, then those with parked rows in turn. It is nil when nothing moves any more.
func (r *replay) pick() *feed {
	var open []*feed
	var parked *feed
	for _, f := range r.feeds {
		switch {
		case f.tried:
		case f.open():
			open = append(open, f)
		case parked == nil && f.partition.settler.parking.count > 0:
			parked = f
		}
	}
	if len(open) == 0 {
		return parked
	}
	if r.mixed() {
		return open[r.random.IntN(len(open))]
	}
	return slices.MinFunc(open, func(a, b *feed) int {
		return cmp.Or(compareBool(a.blocked, b.blocked), cmp.Compare(a.place(), b.place()))
	})
}

func (r *replay) mixed() bool { return r.options.Shuffle != 0 || r.options.Duplicate > 0 }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (f *feed) place() int {
	if f.next == len(f.records) {
		return f.at[len(f.at)-1]
	}
	return f.at[f.next]
}

// hurry is for when nothing moves: what is waited for is not in the recording. It ends the wait of the
// earliest event that waits for a delete, as others may be behind it; where there is none, that of all
// parked rows. False: there is nothing that waits.
func (r *replay) hurry() bool {
	var first *draft
	parked := false
	for _, f := range r.feeds {
		f.tried = false
		parked = parked || f.partition.settler.parking.count > 0
		if !f.blocked {
			continue
		}
		if d := f.partition.job.round.drafts[0]; first == nil || d.position < first.position {
			first = d
		}
	}
	switch {
	case first != nil:
		first.waiting = first.waiting.Add(-keyChangeBound)
	case parked:
		r.clock = r.clock.Add(24 * time.Hour)
	}
	return parked || first != nil
}

// step takes one batch of the feed, or goes on with the one that waits, and then sees to what is
// parked. It returns whether anything came to its end.
func (r *replay) step(ctx context.Context, f *feed) (bool, error) {
	p := f.partition
	moved := f.open()
	if moved {
		if !f.blocked {
			batch := r.batch(f)
			p.planner.plan(&p.job, batch)
			f.next += len(batch)
		}
		if err := r.settle(ctx, f); err != nil || f.blocked {
			return false, err
		}
	}
	if waiting := p.settler.parking.count; waiting > 0 {
		p.job = job{}
		if err := p.settler.due(ctx, &p.job); err != nil {
			return false, err
		}
		if err := r.settle(ctx, f); err != nil {
			return false, err
		}
		moved = moved || p.settler.parking.count < waiting
	}
	if moved && !f.blocked {
		r.rewind(f)
	}
	return moved, nil
}

// settle does what it can of the job; blocked says that it waits for another partition.
func (r *replay) settle(ctx context.Context, f *feed) error {
	err := f.partition.settler.try(ctx, &f.partition.job)
	if f.blocked = errors.Is(err, errWaiting); f.blocked {
		return nil
	}
	return err
}

// rewind begins the partition anew some records before, or at the oldest that is parked: as often as
// chance has it, but not more often than it has records.
func (r *replay) rewind(f *feed) {
	if f.rewinds == len(f.records) || r.random.Float64() >= r.options.Duplicate {
		return
	}
	f.rewinds++
	first := f.next - 1 - r.random.IntN(min(f.next, 100))
	if lowest, parked := f.partition.settler.parking.lowest(); parked {
		first = min(first, slices.IndexFunc(f.records, func(k *kgo.Record) bool {
			return k.Offset == lowest
		}))
	}
	f.next = first
	r.assign(f)
}

func (r *replay) batch(f *feed) []arrival {
	n := 1
	if r.mixed() {
		n = min(1+r.random.IntN(50), len(f.records)-f.next)
	} else {
		for f.next+n < len(f.records) && f.at[f.next+n] == f.at[f.next+n-1]+1 &&
			n < r.consumer.config.BatchMax {
			n++
		}
	}
	batch := make([]arrival, n)
	for i := range batch {
		record := f.records[f.next+i]
		batch[i] = arrival{record, record.Timestamp}
	}
	return batch
}
