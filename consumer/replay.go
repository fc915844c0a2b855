package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// ReplayOptions say how records are replayed. The zero value replays them as they are recorded, into
// memory.
type ReplayOptions struct {
	// Config: of it count Specs, NoValidate, Epoch, the limits, LogLevel and Output, and with Mongo its
	// connection and Database.
	Config Config
	// Mongo: into MongoDB instead of memory. The database must be empty. Tombstones begin their time to
	// live now, however old the records are.
	Mongo bool
	// Shuffle mixes the partitions by this seed, each in its own order; 0 keeps the recorded order.
	Shuffle uint64
	// Duplicate is the probability, after each batch, that the partition is begun anew some records
	// before, as after a rebalance; that happens at most as often as the partition has records.
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
	r := &replay{options: o, clock: time.Now(), told: map[*kgo.Record]bool{}}
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
		if err := c.mongo.empty(ctx); err != nil {
			return ReplayCounts{}, err
		}
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
	told     map[*kgo.Record]bool
}

// feed is one partition's records.
type feed struct {
	topic     string
	number    int32
	readings  []*reading
	next      int
	partition *partition
	blocked   bool // its job waits for another partition
	tried     bool // in vain, since anything last moved
	rewinds   int
}

// reading is what a record says, however often it is delivered.
type reading struct {
	draft
	at  int   // the record's place in the recording
	use bool  // false: it asks for nothing
	err error // it is to be rejected
}

// open: records are left.
func (f *feed) open() bool { return f.blocked || f.next < len(f.readings) }

func (r *replay) now() time.Time { return r.clock }

func (r *replay) run(ctx context.Context, records []*kgo.Record) error {
	r.distribute(records)
	r.read()
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
		f.readings = append(f.readings, &reading{at: i,
			draft: draft{record: record, polled: record.Timestamp, processedAt: record.Timestamp}})
		if r.options.Mongo {
			f.readings[len(f.readings)-1].deletedAt = r.clock
		}
	}
}

// read reads and judges each record once, in the order of commits: how values are stored depends on
// what their columns were before, and must not depend on which partition comes first.
func (r *replay) read() {
	type row struct {
		*reading
		by *planner
	}
	var rows []row
	for _, f := range r.feeds {
		p := f.partition.planner
		for _, one := range f.readings {
			var event *debezium.Event
			event, one.err = p.read(&one.draft)
			if one.use = event != nil; one.use && one.err == nil && one.op != debezium.Truncate {
				rows = append(rows, row{one, p})
			}
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.position, b.position), cmp.Compare(a.at, b.at))
	})
	var memory job
	for _, one := range rows {
		var event *debezium.Event
		if event, one.err = one.by.decode(one.record); one.err == nil {
			one.err = one.by.convert(&one.draft, event, &memory)
		}
	}
}

// assign gives the partition to a member that remembers nothing.
func (r *replay) assign(f *feed) {
	if f.partition != nil {
		f.partition.settler.parking.empty()
	}
	f.partition = r.consumer.newPartition(f.topic, f.number, r.consumer.store, r.tell, r.now)
}

// quoted is what a reason shows of a record that is no event.
var quoted = regexp.MustCompile(`".*"|'[^ ']{1,10}'|(number )?-?[0-9][^ ,]*( ms)?( is (negative|out of range)|, not)`)

// tell logs why records are dead letters, each once and without values of a row.
func (r *replay) tell(_ context.Context, letters []deadLetter) error {
	for i := range letters {
		l := &letters[i]
		if r.told[l.record] {
			continue
		}
		r.told[l.record] = true
		reason := cmp.Or(l.said(), "MongoDB refuses the document")
		if l.rule() == ruleUndecodable {
			reason = quoted.ReplaceAllString(l.reason(), "...")
		}
		r.consumer.log.Info("dead letter", "rule", l.rule(), "reason", reason, "entity_type", l.entity, "operation", l.operation,
			"kafka_topic", l.record.Topic, "kafka_partition", l.record.Partition, "kafka_offset", l.record.Offset)
	}
	return nil
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
	return f.readings[min(f.next, len(f.readings)-1)].at
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
			f.deliver(r.batch(f))
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
	if f.rewinds == len(f.readings) || r.random.Float64() >= r.options.Duplicate {
		return
	}
	f.rewinds++
	first := f.next - 1 - r.random.IntN(min(f.next, 100))
	if lowest, parked := f.partition.settler.parking.lowest(); parked {
		first = min(first, slices.IndexFunc(f.readings, func(one *reading) bool {
			return one.record.Offset == lowest
		}))
	}
	f.next = first
	r.assign(f)
}

// batch is how many records the next batch has.
func (r *replay) batch(f *feed) int {
	left := f.readings[f.next:]
	if r.mixed() {
		return min(1+r.random.IntN(50), len(left))
	}
	n := 1
	for n < min(len(left), r.consumer.config.BatchMax) && left[n].at == left[n-1].at+1 {
		n++
	}
	return n
}

// deliver makes the next records the partition's job.
func (f *feed) deliver(n int) {
	j := &f.partition.job
	*j = job{}
	for _, one := range f.readings[f.next : f.next+n] {
		switch d := one.draft; {
		case one.err != nil:
			j.rejected = append(j.rejected, d.letter(one.err))
		case one.use:
			j.drafts = append(j.drafts, &d)
		}
	}
	f.next += n
}
