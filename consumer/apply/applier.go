// Package apply makes documents of the events of a partition, from record to settled. The package
// has no client of Kafka or MongoDB and starts no goroutine: package consumer hands over records
// and waits, package documents stores. Start reading at Applier, then draft.go (a record becomes a
// draft), round.go (drafts become writes), fold.go (the writes of a place become a single write)
// and parking.go (rows wait for another row). Each event meets one of these ends, and the event's
// offset is not committable before:
//
//	applied      a majority acknowledged the write
//	stale        the document was already as new, or newer
//	folded       a later event of the same row in the same batch stands for the event
//	ignored      changes no row: a heartbeat, transaction metadata, a logical message
//	dead_letter  can never be written: is in the dead-letter topic, with the reason
package apply

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/order"
	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/consumer/topics"
)

// Config says how events become documents.
type Config struct {
	NoValidate     bool // true if rows are stored without rules
	Epoch          int  // of the positions, 0 to 65535: raised where the log began anew
	RecordMaxBytes int  // of a key, value or header
	NestingMax     int  // levels of objects and arrays in a record
	ParkedMax      int  // records of a partition waiting for another row
	HeldMaxBytes   int  // of all partitions together; each may have a 16th whatever others have
	TablesMax      int  // tables without a spec; rows of further tables are dead letters
	// TopicTables names the tables of topics that a transformation renamed.
	TopicTables topics.Tables
}

// DefaultConfig returns the limits of a consumer of a lab on this machine.
func DefaultConfig() Config {
	return Config{RecordMaxBytes: debezium.DefaultMaxBytes, NestingMax: debezium.DefaultMaxDepth,
		ParkedMax: 10_000, HeldMaxBytes: 64 << 20, TablesMax: 1_000}
}

// Shared is the common part of the partitions of a process: the store, the specs, and the knowledge
// of rows written by other partitions. Shared is safe for concurrent use.
type Shared struct {
	config    Config
	tables    *encode.Tables
	store     documents.Store
	metrics   *eventMetrics
	log       *slog.Logger
	parents   *parents
	truncates truncates
	sources   order.Sources
	naming    sync.Mutex // held while names of members are settled
	room      *Room
	once      sync.Map // what was logged and is not logged again
}

// NewShared returns the common part for Appliers writing to s. now is the clock for the knowledge
// of referenced rows; nil stands for time.Now.
func NewShared(config Config, tables *encode.Tables, s documents.Store, m *telemetry.Metrics,
	log *slog.Logger, now func() time.Time) *Shared {
	if now == nil {
		now = time.Now
	}
	return &Shared{config: config, tables: tables, store: s, metrics: newEventMetrics(m), log: log,
		parents: &parents{store: s, now: now, known: sightings{}, older: sightings{},
			wanted: map[string]bool{}, waiting: map[chan struct{}]map[parent]bool{}},
		room: NewRoom(config.HeldMaxBytes)}
}

// Room returns the room of the records that the process holds.
func (s *Shared) Room() *Room { return s.room }

// Applier makes documents of the records of a partition. Take takes records, Step works off the
// records until each is settled (the offset may be committed) or parked, Tick releases parked
// events, and Committable says how far the offset may move. Only one goroutine uses an Applier.
type Applier struct {
	*Shared
	// Elsewhere visits what the other partitions of a record's topic got shortly before the
	// record; nil where nobody can tell.
	Elsewhere func(ctx context.Context, before *kgo.Record, visit func(*kgo.Record) error) error

	planner planner
	writer  writer
	parking *parking
	stored  stored
	checked checkedSource
	rules   *ruleLog
	folder  folder
	send    func(context.Context, []deadletter.Rejected) error
	now     func() time.Time

	job  job
	last *kgo.Record // the newest settled or parked record; nil before the first
}

// Applier returns the Applier of another partition. send puts dead letters in a safe place, and
// returns nil once the letters are safe. now is the clock for writes and waits.
func (s *Shared) Applier(send func(context.Context, []deadletter.Rejected) error,
	now func() time.Time) *Applier {
	rules := &ruleLog{metrics: s.metrics, log: s.log, once: &s.once}
	return &Applier{Shared: s,
		planner: planner{tables: s.tables, tablesMax: s.config.TablesMax,
			topics: s.config.TopicTables,
			decoder: debezium.Decoder{MaxBytes: s.config.RecordMaxBytes,
				MaxDepth: s.config.NestingMax},
			metrics: s.metrics, log: rules,
			epoch: fmt.Sprintf("%04x", s.config.Epoch), noRules: s.config.NoValidate, now: now},
		writer: writer{store: s.store},
		parking: &parking{chains: map[string]*chain{}, max: s.config.ParkedMax, room: s.room,
			wake: make(chan struct{}, 1)},
		stored: stored{log: rules}, rules: rules, send: send, now: now}
}

// BeginAt says where the topic's partition is read from: of the offsets before, each was settled.
// incarnation is order.Event.Incarnation of the topic. The error is the store's.
func (a *Applier) BeginAt(ctx context.Context, topic string, offset int64,
	incarnation int32) error {
	known, err := a.sources.TopicOf(ctx, a.store, topic)
	if err != nil {
		return err
	}
	p := &a.planner
	p.begun, p.next = true, offset
	if p.several = p.several || known.Several; known.Table != "" && p.table == nil {
		p.table = p.tables.TableWithin(p.tablesMax, known.Schema, known.Table)
	}
	if p.anew != incarnation {
		p.anew, p.recent, p.reached = incarnation, order.Recent{}, ""
	}
	return nil
}

// Recall reads the records right before the beginning, each settled by an earlier owner of the
// partition, to tell a change sent again from a change of a log that began anew. Recall must
// follow BeginAt. After an error, which is the reading's, nothing is remembered.
func (a *Applier) Recall(read func(visit func(*kgo.Record) error) error) error {
	p := &a.planner
	err := read(func(r *kgo.Record) error {
		p.ended = p.ended[:0]
		event, change := p.decodeStreamed(r)
		if event == nil {
			return nil
		}
		if event.Op == debezium.Delete {
			p.ended = append(p.ended, r.Key...)
		}
		if place, err := event.Position(); err == nil {
			p.reached = max(p.reached, p.epoch+string(place[:]))
			p.recent.Recall(change, p.epoch+string(place[:]), r.Offset)
		}
		return nil
	})
	if err != nil {
		p.recent, p.reached = order.Recent{}, ""
	}
	return err
}

// findElsewhere looks in the other partitions of the topic for the unseen changes of a round that
// raised an alarm. Once a topic has more partitions, a row's changes go to another, and a change
// that the connector sends again comes there for the first time. found is true if a change was met
// elsewhere, and the round is worth another try. Each change is looked for until a look is whole.
func (a *Applier) findElsewhere(ctx context.Context, r *round) (found bool) {
	unseen := map[order.Change][]*draft{}
	var first *kgo.Record
	for _, d := range r.drafts {
		if d.unseen && !d.sought && d.change.LSN != 0 {
			unseen[d.change] = append(unseen[d.change], d)
			if first == nil {
				first = d.record
			}
		}
	}
	if first == nil || a.Elsewhere == nil {
		return false
	}
	err := a.Elsewhere(ctx, first, func(r *kgo.Record) error {
		event, change := a.planner.decodeStreamed(r)
		if event == nil {
			return nil
		}
		for _, d := range unseen[change] {
			if bytes.Equal(d.record.Key, r.Key) && d.sourceAt.UnixMicro() == event.Source.TsUs {
				d.resent, d.unseen, found = true, false, true
			}
		}
		return nil
	})
	if err != nil {
		a.log.WarnContext(ctx, "the other partitions could not be asked for a change sent again",
			"kafka_topic", first.Topic, "kafka_partition", first.Partition, "kafka_offset",
			first.Offset, "error", err.Error())
		return found
	}
	for _, drafts := range unseen {
		for _, d := range drafts {
			d.sought = true
		}
	}
	return found
}

// Take reads and judges a batch, in the order of the partition. Step must have returned nil for the
// batch before, and the records must stay unchanged until Step returns nil.
func (a *Applier) Take(batch []telemetry.Arrival) { a.planner.planBatch(&a.job, batch) }

// Step works off the batch as far as possible. Step returns nil once each record is settled or
// parked. An error with the fate fate.Later asks for another Step after a pause, with fate.Stop for
// none.
func (a *Applier) Step(ctx context.Context) error {
	for {
		if a.job.round == nil {
			if a.job.round = a.job.nextRound(); a.job.round == nil {
				if a.planner.planMore(&a.job) {
					continue
				}
				break
			}
		}
		err := a.advanceRound(ctx, a.job.round)
		if order.AlarmOf(err) != "" && a.findElsewhere(ctx, a.job.round) {
			continue
		}
		if err != nil {
			return err
		}
		a.job.round = nil
	}
	a.rules.logBroken(ctx)
	if err := a.sendDeadLetters(ctx); err != nil {
		return err
	}
	if a.job.last != nil {
		a.last = a.job.last
	}
	a.reportParked()
	return nil
}

// Tick takes the parked events whose wait is over, for a Step to work off. Tick must follow a Step
// that returned nil. The error is the store's; the events stay parked.
func (a *Applier) Tick(ctx context.Context) error {
	a.job = job{}
	found, err := a.parents.findParents(ctx, a.parking.parkedReferences())
	if err != nil {
		return fmt.Errorf("look for referenced rows: %w", err)
	}
	for _, d := range a.parking.takeReleased(a.now(), found) {
		if !slices.ContainsFunc(d.orphan, func(v entity.Violation) bool {
			return v.Severity == entity.Reject
		}) {
			a.job.drafts = append(a.job.drafts, d)
		} else if err := a.rules.rejectionFor(d, d.orphan); err != nil {
			a.job.rejected = append(a.job.rejected, d.deadLetter(err))
		}
	}
	return nil
}

// Committable returns the offset to commit, with the offset's leader epoch: everything below is
// settled. With 5, 6 and 8 settled and 7 parked the offset is 7. any is false before the first
// record.
func (a *Applier) Committable() (epoch int32, offset int64, any bool) {
	if a.last == nil {
		return 0, 0, false
	}
	offset = a.last.Offset + 1
	if lowest, parked := a.parking.lowestOffset(); parked {
		offset = min(offset, lowest)
	}
	return a.last.LeaderEpoch, offset, true
}

// Parked returns how many events wait for another row.
func (a *Applier) Parked() int { return a.parking.count }

// Full returns true while so much is parked that no more may be taken.
func (a *Applier) Full() bool { return a.parking.takesNoMore() }

// Wake returns a channel. A receive says that a row awaited by parked events may have come, and
// asks for a Tick.
func (a *Applier) Wake() <-chan struct{} { return a.parking.wake }

// Leave forgets the parked events: Kafka delivers the events again to the partition's next owner.
func (a *Applier) Leave() {
	for row := range a.parking.chains {
		a.parking.takeChain(row)
	}
	a.reportParked()
}

// reportParked tells the process of the parked events: the metrics, and the watchers of rows.
func (a *Applier) reportParked() {
	if !a.parking.changed {
		return
	}
	a.parking.changed = false
	a.parents.wakeWhenSeen(a.parking.awaitedParents(), a.parking.wake)
	a.metrics.showParked(a.parking)
}

// advanceRound does a round of the job.
func (a *Applier) advanceRound(ctx context.Context, r *round) error {
	if !r.built {
		err := a.buildRound(ctx, r)
		if fate.Of(err) == fate.Reject {
			a.refuseRound(r, err)
			return nil
		}
		if err != nil {
			return err
		}
	}
	if err := a.writeBulk(ctx, r); err != nil {
		return err
	}
	for len(r.steps) > 0 {
		w := &r.steps[0]
		done := a.settleStale(ctx, r.steps[:1], a.writer.writeRows(ctx, r.steps[:1]))[0]
		if done.Err != nil && fate.Of(done.Err) != fate.Reject {
			return done.Err
		}
		a.settleWrite(w, done, time.Now())
		r.steps = r.steps[1:]
	}
	return nil
}

// refuseRound handles a look at the store that the store refuses however often: the looks are made
// again for each draft alone, and a draft refused alone is a dead letter.
func (a *Applier) refuseRound(r *round, err error) {
	if len(r.drafts) == 1 {
		a.job.rejected = append(a.job.rejected, r.drafts[0].deadLetter(err))
		return
	}
	a.job.alone = len(r.drafts)
	a.job.drafts = slices.Concat(r.drafts, a.job.drafts)
}

// WaitsForDelete returns the position of the event that a Step left waiting for the delete of the
// row's old key; waits is false where no event waits.
func (a *Applier) WaitsForDelete() (position string, waits bool) {
	if r := a.job.round; r != nil && len(r.drafts) > 0 && !r.drafts[0].waiting.IsZero() {
		return r.drafts[0].position, true
	}
	return "", false
}

// StopWaitingForDelete makes the next Step decide without the delete reported by WaitsForDelete.
func (a *Applier) StopWaitingForDelete() {
	if _, waits := a.WaitsForDelete(); waits {
		d := a.job.round.drafts[0]
		d.waiting = d.waiting.Add(-keyChangeBound)
	}
}

// writer makes the store's writes of changes, and keeps the memory for the next.
type writer struct {
	store documents.Store
	sent  []documents.Write
}

// writeRows returns an outcome for each write, valid until the next apply.
func (w *writer) writeRows(ctx context.Context, writes []write) []documents.Outcome {
	clear(w.sent)
	w.sent = slices.Grow(w.sent[:0], len(writes))[:len(writes)]
	for i := range writes {
		writes[i].describeRow(&w.sent[i])
	}
	return w.store.Apply(ctx, w.sent)
}
