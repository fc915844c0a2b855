package recording

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// ReplayOptions say how records are replayed.
type ReplayOptions struct {
	Apply    apply.Config
	Registry *entity.Registry // nil: the built-in specs
	Log      *slog.Logger     // nil: nothing is logged
	BatchMax int              // records in one batch of a partition, at least 1
	// Mongo, if not nil, takes the place of memory. The database must be empty. Tombstones begin
	// their time to live now, however old the records are.
	Mongo *documents.Config
	// Shuffle mixes the partitions by this seed, each in its own order; 0 keeps the recorded order.
	Shuffle uint64
	// Duplicate is the probability, after each batch, of beginning the partition anew some records
	// before, as after a rebalance; the number of such beginnings is at most the number of the
	// partition's records.
	Duplicate float64
	// Tombstones is true if documents hidden from readers are printed, too.
	Tombstones bool
}

// ReplayCounts counts the records by their end.
type ReplayCounts struct {
	Records      int            `json:"records"`
	Applied      int            `json:"applied"` // events written, folded ones included
	Stale        int            `json:"stale"`
	Parked       int            `json:"parked"` // events parked to wait for another row
	Ignored      int            `json:"ignored"`
	DeadLettered map[string]int `json:"dead_lettered"` // by rule
	Drift        map[string]int `json:"drift"`         // changes of schema by kind
	Violations   map[string]int `json:"violations"`    // by rule, warnings included
}

// Replay takes records through the consumer's decoding, rules and guarded writes, and prints the
// final documents: one {"collection": ..., "document": ...} a line, canonical Extended JSON v2, by
// collection and _id. Records of one partition must be in their order.
//
// The same records give the same documents for every Shuffle and Duplicate.
func Replay(ctx context.Context, records []*kgo.Record, o ReplayOptions, out io.Writer) (
	ReplayCounts, error) {
	r := &replay{options: o, clock: time.Now(), told: map[*kgo.Record]bool{},
		random: rand.New(rand.NewPCG(o.Shuffle, 5)),
		log:    cmp.Or(o.Log, slog.New(slog.DiscardHandler))}
	registry, m := cmp.Or(o.Registry, entity.Default()), telemetry.NewMetrics()
	var store documents.Store = documents.NewMemory()
	if o.Mongo != nil {
		mongo, err := documents.Open(*o.Mongo, registry, m)
		if err != nil {
			return ReplayCounts{}, err
		}
		defer mongo.Close(context.WithoutCancel(ctx))
		if err := mongo.Empty(ctx); err != nil {
			return ReplayCounts{}, err
		}
		store = mongo
	}
	r.shared = apply.NewShared(o.Apply, encode.NewTables(registry), store, m, r.log, r.now)
	if err := r.replayAll(ctx, records); err != nil {
		return ReplayCounts{}, err
	}
	counts, err := countOutcomes(m.Registry)
	if err != nil {
		return ReplayCounts{}, err
	}
	counts.Records = len(records)
	return counts, documents.Print(ctx, store, o.Tombstones, out)
}

// replay is a Kafka of one process, with partitions polled in turn, or at random.
type replay struct {
	options ReplayOptions
	shared  *apply.Shared
	log     *slog.Logger
	random  *rand.Rand
	feeds   []*feed
	clock   time.Time // moved on where everything waits
	told    map[*kgo.Record]bool
}

// feed is the records of a partition.
type feed struct {
	topic    string
	number   int32
	readings []reading
	next     int
	applier  *apply.Applier
	blocked  bool // the job waits for another partition
	tried    bool // in vain, since anything last moved
	rewinds  int

	incarnation int32 // of the topic of the last reading
}

// reading is a record's place in the recording, and the record as read.
type reading struct {
	*apply.Reading
	at int
}

// hasRecords: records are left.
func (f *feed) hasRecords() bool { return f.blocked || f.next < len(f.readings) }

func (r *replay) now() time.Time { return r.clock }

func (r *replay) replayAll(ctx context.Context, records []*kgo.Record) error {
	if err := r.distribute(ctx, records); err != nil {
		return err
	}
	for {
		f := r.pickFeed()
		if f == nil {
			if !r.stopWaiting() {
				return nil
			}
			continue
		}
		moved, err := r.stepFeed(ctx, f)
		if err != nil {
			return fmt.Errorf("replay %s/%d: %w", f.topic, f.number, err)
		}
		for _, other := range r.feeds {
			other.tried = other.tried && !moved
		}
		f.tried = !moved
	}
}

// distribute gives the records to their partitions, and reads and judges each once.
func (r *replay) distribute(ctx context.Context, records []*kgo.Record) error {
	type key struct {
		topic  string
		number int32
	}
	var deletedAt time.Time
	if r.options.Mongo != nil {
		deletedAt = r.clock
	}
	feeds := map[key]*feed{}
	all := make([]*apply.Reading, len(records))
	for i, record := range records {
		k := key{record.Topic, record.Partition}
		f := feeds[k]
		if f == nil {
			f = &feed{topic: record.Topic, number: record.Partition}
			feeds[k] = f
			r.feeds = append(r.feeds, f)
			r.assignAnew(f)
		}
		if n := len(f.readings); n > 0 && record.Offset <= f.readings[n-1].Offset() {
			f.incarnation++
			if err := f.applier.BeginAt(ctx, f.topic, record.Offset, f.incarnation); err != nil {
				return err
			}
		}
		all[i] = f.applier.ReadAhead(telemetry.Arrival{Record: record, Polled: record.Timestamp},
			record.Timestamp, deletedAt)
		f.readings = append(f.readings, reading{all[i], i})
	}
	apply.JudgeInCommitOrder(all)
	return nil
}

// assignAnew gives the partition to a member without memory.
func (r *replay) assignAnew(f *feed) {
	if f.applier != nil {
		f.applier.Leave()
	}
	f.applier = r.shared.Applier(r.logDeadLetters, r.now)
}

// quoted matches the parts of a reason quoted from a record without an event.
var quoted = regexp.MustCompile(
	`".*"|'[^ ']{1,10}'|(number )?-?[0-9][^ ,]*( ms)?( is (negative|out of range)|, not)`)

// logDeadLetters logs why records are dead letters, each once and without values of a row.
func (r *replay) logDeadLetters(_ context.Context, letters []deadletter.Rejected) error {
	for i := range letters {
		l := &letters[i]
		if r.told[l.Record] {
			continue
		}
		r.told[l.Record] = true
		reason := cmp.Or(l.ReasonForLog(), "MongoDB refuses the document")
		if l.Rule() == fate.RuleUndecodable {
			reason = quoted.ReplaceAllString(l.Reason(), "...")
		}
		r.log.Info("dead letter", "rule", l.Rule(), "reason", reason,
			"entity_type", l.Entity, "operation", l.Operation, "kafka_topic", l.Record.Topic,
			"kafka_partition", l.Record.Partition, "kafka_offset", l.Record.Offset)
	}
	return nil
}

// pickFeed returns the next feed, not yet tried since anything moved: a feed with records left if
// there is any, else a feed with parked rows, in turn. pickFeed returns nil when nothing moves any
// more.
func (r *replay) pickFeed() *feed {
	var open []*feed
	var parked *feed
	for _, f := range r.feeds {
		switch {
		case f.tried:
		case f.hasRecords():
			open = append(open, f)
		case parked == nil && f.applier.Parked() > 0:
			parked = f
		}
	}
	if len(open) == 0 {
		return parked
	}
	if r.isShuffled() {
		return open[r.random.IntN(len(open))]
	}
	return slices.MinFunc(open, func(a, b *feed) int {
		return cmp.Or(compareBool(a.blocked, b.blocked),
			cmp.Compare(a.placeInRecording(), b.placeInRecording()))
	})
}

func (r *replay) isShuffled() bool { return r.options.Shuffle != 0 || r.options.Duplicate > 0 }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (f *feed) placeInRecording() int {
	return f.readings[min(f.next, len(f.readings)-1)].at
}

// stopWaiting is for when nothing moves, because the awaited rows are not in the recording.
// stopWaiting ends the wait of the earliest event waiting for a delete, as others may be behind
// this event; without such an event, the wait of all parked rows. stopWaiting returns false if
// nothing waits.
func (r *replay) stopWaiting() bool {
	var first *feed
	earliest := ""
	parked := false
	for _, f := range r.feeds {
		f.tried = false
		parked = parked || f.applier.Parked() > 0
		if position, waits := f.applier.WaitsForDelete(); waits &&
			(first == nil || position < earliest) {
			first, earliest = f, position
		}
	}
	switch {
	case first != nil:
		first.applier.StopWaitingForDelete()
	case parked:
		r.clock = r.clock.Add(24 * time.Hour)
	}
	return parked || first != nil
}

// stepFeed takes a batch of the feed, or goes on with the waiting batch, and then sees to the
// parked rows. stepFeed returns true if anything came to an end.
func (r *replay) stepFeed(ctx context.Context, f *feed) (bool, error) {
	moved := f.hasRecords()
	if moved {
		if !f.blocked {
			f.deliverNext(r.batchLength(f))
		}
		if err := f.settleTaken(ctx); err != nil || f.blocked {
			return false, err
		}
	}
	if waiting := f.applier.Parked(); waiting > 0 {
		if err := f.applier.Tick(ctx); err != nil {
			return false, err
		}
		if err := f.settleTaken(ctx); err != nil {
			return false, err
		}
		moved = moved || f.applier.Parked() < waiting
	}
	if moved && !f.blocked {
		r.maybeRewind(f)
	}
	return moved, nil
}

// settleTaken does the job as far as possible; blocked is true if the job waits for another
// partition.
func (f *feed) settleTaken(ctx context.Context) error {
	err := f.applier.Step(ctx)
	if f.blocked = errors.Is(err, apply.ErrWaiting); f.blocked {
		return nil
	}
	return err
}

// maybeRewind begins the partition anew some records before, or at the oldest parked record: as
// often as chance has it, but at most once for each record of the partition.
func (r *replay) maybeRewind(f *feed) {
	if f.rewinds == len(f.readings) || r.random.Float64() >= r.options.Duplicate {
		return
	}
	f.rewinds++
	first := f.next - 1 - r.random.IntN(min(f.next, 100))
	_, committable, _ := f.applier.Committable()
	if parked := slices.IndexFunc(f.readings, func(one reading) bool {
		return one.Offset() >= committable
	}); parked >= 0 {
		first = min(first, parked)
	}
	f.next = first
	r.assignAnew(f)
}

// batchLength is how many records the next batch has.
func (r *replay) batchLength(f *feed) int {
	left := f.readings[f.next:]
	if r.isShuffled() {
		return min(1+r.random.IntN(50), len(left))
	}
	n := 1
	for n < min(len(left), r.options.BatchMax) && left[n].at == left[n-1].at+1 {
		n++
	}
	return n
}

// deliverNext makes the next records the Applier's job.
func (f *feed) deliverNext(n int) {
	var batch []*apply.Reading
	for _, one := range f.readings[f.next : f.next+n] {
		batch = append(batch, one.Reading)
	}
	f.applier.TakeReadings(batch)
	f.next += n
}
