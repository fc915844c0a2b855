package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
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
	rewinds   int
}

func (f *feed) ended() bool { return !f.blocked && f.next == len(f.records) }

func (r *replay) now() time.Time { return r.clock }

func (r *replay) run(ctx context.Context, records []*kgo.Record) error {
	r.distribute(records)
	idle := 0
	for {
		f := r.pick()
		if f == nil {
			return r.finish(ctx)
		}
		moved, err := r.step(ctx, f)
		if err != nil {
			return fmt.Errorf("replay %s/%d: %w", f.topic, f.number, err)
		}
		if moved {
			idle = 0
		} else if idle++; idle > 2*len(r.feeds) {
			r.clock, idle = r.clock.Add(time.Minute), 0
		}
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

// pick is the feed that goes on: nil when all have ended.
func (r *replay) pick() *feed {
	var open []*feed
	for _, f := range r.feeds {
		if !f.ended() {
			open = append(open, f)
		}
	}
	if len(open) == 0 {
		return nil
	}
	if r.options.Shuffle != 0 || r.options.Duplicate > 0 {
		return open[r.random.IntN(len(open))]
	}
	return slices.MinFunc(open, func(a, b *feed) int {
		return cmp.Or(compareBool(a.blocked, b.blocked), cmp.Compare(a.place(), b.place()))
	})
}

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

// step takes one batch of the feed, or goes on with the one that waits. It returns whether that
// came to its end.
func (r *replay) step(ctx context.Context, f *feed) (bool, error) {
	p := f.partition
	if !f.blocked {
		batch := r.batch(f)
		p.planner.plan(&p.job, batch)
		f.next += len(batch)
	}
	err := p.settler.try(ctx, &p.job)
	f.blocked = errors.Is(err, errWaiting)
	if f.blocked || err != nil {
		if f.blocked {
			err = nil
		}
		return false, err
	}
	if err := r.unpark(ctx, f); err != nil {
		return false, err
	}
	if r.random.Float64() < r.options.Duplicate && f.rewinds < len(f.records) {
		f.rewinds++
		first := f.next - 1 - r.random.IntN(min(f.next, 100))
		if lowest, parked := p.settler.parking.lowest(); parked {
			first = min(first, slices.IndexFunc(f.records, func(k *kgo.Record) bool {
				return k.Offset == lowest
			}))
		}
		f.next = first
		r.assign(f)
	}
	return true, nil
}

func (r *replay) batch(f *feed) []arrival {
	n := 1
	if r.options.Shuffle != 0 || r.options.Duplicate > 0 {
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

func (r *replay) unpark(ctx context.Context, f *feed) error {
	p := f.partition
	if p.settler.parking.count == 0 {
		return nil
	}
	p.job = job{}
	if err := p.settler.due(ctx, &p.job); err != nil {
		return err
	}
	return p.settler.try(ctx, &p.job)
}

// finish sees to what is parked: first to what has come meanwhile, then to what never came.
func (r *replay) finish(ctx context.Context) error {
	for _, wait := range []time.Duration{sightingTTL + time.Second, 24 * time.Hour} {
		r.clock = r.clock.Add(wait)
		for _, f := range r.feeds {
			if err := r.unpark(ctx, f); err != nil {
				return fmt.Errorf("replay %s/%d: %w", f.topic, f.number, err)
			}
		}
	}
	return nil
}

func (r *replay) print(ctx context.Context, out io.Writer) error {
	collections, err := r.consumer.store.collections(ctx)
	if err != nil {
		return fmt.Errorf("list the collections: %w", err)
	}
	for _, collection := range collections {
		if collection == keptCollection {
			continue
		}
		documents := map[string]bson.D{}
		err := r.consumer.store.all(ctx, collection, func(raw bson.Raw) error {
			document, show, err := readable(raw, r.options.Tombstones)
			if show {
				documents[metadataOf(raw).id] = document
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range sortedKeys(documents) {
			line, err := bson.MarshalExtJSON(bson.D{{Key: "collection", Value: collection},
				{Key: "document", Value: documents[id]}}, true, false)
			if err != nil {
				return fmt.Errorf("print %s/%s: %w", collection, id, err)
			}
			if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
				return fmt.Errorf("print the documents: %w", err)
			}
		}
	}
	return nil
}

// readable is the document as readers see it, its members by name: false where they do not.
func readable(raw bson.Raw, everything bool) (bson.D, bool, error) {
	m := metadataOf(raw)
	if !everything && (m.deleted || m.shell) {
		return nil, false, nil
	}
	var document bson.D
	if err := bson.Unmarshal(raw, &document); err != nil {
		return nil, false, fmt.Errorf("read %s: %w", m.id, err)
	}
	fields := map[string]bool{}
	if embedded, is := raw.Lookup(embeddedMember).DocumentOK(); is {
		elements, _ := embedded.Elements()
		for _, e := range elements {
			fields[e.Key()] = true
		}
	}
	var shown bson.D
	for _, e := range document {
		rows, is := e.Value.(bson.D)
		switch {
		case e.Key == embeddedMember:
			continue // only an index, in the order of arrival
		case is && fields[e.Key]:
			e.Value = livingRows(rows, everything)
		case is && e.Key == metadataMember:
			sortMembers(rows)
		}
		shown = append(shown, e)
	}
	sortMembers(shown)
	return shown, true, nil
}

func livingRows(rows bson.D, everything bool) bson.D {
	living := bson.D{}
	for _, e := range rows {
		row, is := e.Value.(bson.D)
		if is {
			ended := false
			for _, own := range row {
				if about, is := own.Value.(bson.D); is && own.Key == metadataMember {
					ended = slices.Contains(about, bson.E{Key: "deleted", Value: true})
					sortMembers(about)
				}
			}
			if ended && !everything {
				continue
			}
			sortMembers(row)
		}
		living = append(living, e)
	}
	sortMembers(living)
	return living
}

// sortMembers puts _id first.
func sortMembers(d bson.D) {
	slices.SortFunc(d, func(a, b bson.E) int {
		return cmp.Or(compareBool(a.Key != "_id", b.Key != "_id"), strings.Compare(a.Key, b.Key))
	})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
