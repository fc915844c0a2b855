package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// store is where rows go: MongoDB, or memory. Both pass the suite of store_test.go. Errors have a
// fate, as fateOf says.
type store interface {
	// apply writes what is newer than what is there, and returns one outcome for each write, valid
	// until the next apply. The places of one call are distinct.
	apply(ctx context.Context, writes []write) []outcome
	// find returns those of the documents that are there, by _id: with _id and the members only, or
	// whole where none are named.
	find(ctx context.Context, collection string, ids []string, members ...string) (map[string]bson.Raw, error)
	// holders returns the documents in whose field one of the items is or was, with _id and those items.
	holders(ctx context.Context, collection, field string, items []string) ([]bson.Raw, error)
	// keep puts a document into keptCollection, unless its _id is there.
	keep(ctx context.Context, document bson.Raw) error
	// fill sets the elements, which begin with member, if the row at the place lacks it, has not ended and
	// is newer than position.
	fill(ctx context.Context, at place, position, member string, elements []byte) error
	// all visits every document of a collection.
	all(ctx context.Context, collection string, visit func(bson.Raw) error) error
	// collections returns, sorted, those that hold documents.
	collections(ctx context.Context) ([]string, error)
}

// keptCollection has the last state of rows whose key changed, until the TTL of tombstones.
const keptCollection = "cdc_kept"

// outcome is what became of a write: applied, or stale, or err, of which fateOf knows the fate.
type outcome struct {
	stale bool
	err   error
}

// errLeft says that a batch was left unfinished on request; its offsets are not committed.
var errLeft = errors.New("left unfinished: asked to stop")

// settler sees the jobs of one partition through.
type settler struct {
	store     store
	parents   *parents
	truncates *truncates
	parking   *parking
	memo      memo
	rules     *ruleLog
	send      func(context.Context, []deadLetter) error
	backoff   func(attempt int) time.Duration
	metrics   *metrics
	log       *slog.Logger
	now       func() time.Time

	folder folder
}

// settle returns nil when every record of the job has met its end, or is parked. Errors that may
// pass are waited out. It returns errLeft when ctx or stopped ended the wait, or an error whose fate
// is stop.
func (s *settler) settle(ctx context.Context, stopped <-chan struct{}, j *job, topic string,
	partition int32) error {
	paused := false
	defer func() {
		if paused {
			s.metrics.paused.Dec()
		}
	}()
	for attempt := 0; ; attempt++ {
		err := s.try(ctx, j)
		if err == nil {
			if paused {
				s.log.InfoContext(ctx, "partition resumed", "kafka_topic", topic, "kafka_partition", partition,
					"attempts", attempt)
			}
			return nil
		}
		if fateOf(err) == stop {
			return fmt.Errorf("%s/%d: %w", topic, partition, err)
		}
		s.metrics.retry(err)
		if !paused {
			paused = true
			s.metrics.paused.Inc()
			s.log.WarnContext(ctx, "partition paused", "kafka_topic", topic, "kafka_partition", partition,
				"error", err.Error())
		}
		if !wait(ctx, stopped, s.backoff(attempt)) {
			return errLeft
		}
	}
}

// try does what it can of the job and takes it off. The error is the worst of what remains.
func (s *settler) try(ctx context.Context, j *job) error {
	for {
		if j.round == nil {
			if j.round = j.next(); j.round == nil {
				s.rules.flush(ctx)
				return s.bury(ctx, j)
			}
		}
		if err := s.advance(ctx, j, j.round); err != nil {
			return err
		}
		j.round = nil
	}
}

func (s *settler) advance(ctx context.Context, j *job, r *round) error {
	if !r.built {
		if err := s.build(ctx, j, r); err != nil {
			return err
		}
	}
	if err := s.bulk(ctx, j, r); err != nil {
		return err
	}
	for len(r.steps) > 0 {
		w := &r.steps[0]
		done := s.store.apply(ctx, r.steps[:1])[0]
		if done.err != nil && fateOf(done.err) != reject {
			return done.err
		}
		s.end(j, w, done, time.Now())
		r.steps = r.steps[1:]
	}
	return nil
}

func (s *settler) bulk(ctx context.Context, j *job, r *round) error {
	if len(r.writes) == 0 {
		return nil
	}
	var worst error
	var left []write
	var newest *write // of those that are stale, by the source's clock
	outcomes := s.readAgain(ctx, r.writes, s.store.apply(ctx, r.writes))
	now := time.Now()
	for i, done := range outcomes {
		w := &r.writes[i]
		switch {
		case done.err == nil || fateOf(done.err) == reject && w.from == nil:
			s.end(j, w, done, now)
		case fateOf(done.err) == reject:
			// Only the event that cannot be written is a dead letter, not those folded into it.
			for _, c := range w.from {
				r.steps = append(r.steps, write{change: c})
			}
		default:
			left = append(left, *w)
			if worst == nil || fateOf(done.err) == stop {
				worst = done.err
			}
		}
		if done.stale && !w.begins() && !w.embedded() &&
			(newest == nil || w.sourceAt.After(newest.sourceAt)) {
			newest = w
		}
	}
	if worst == nil && newest != nil {
		if err := s.contradicted(ctx, newest); err != nil {
			r.writes = []write{*newest} // to be asked again, and counted once
			return err
		}
	}
	r.writes = left
	return worst
}

// logResetAfter: commits this much later in the source's time have later positions.
const logResetAfter = time.Minute

// contradicted tells a replay from a log that began anew: there, what PostgreSQL committed long
// after has the lower position, and would be taken for stale for ever.
func (s *settler) contradicted(ctx context.Context, w *write) error {
	found, err := s.store.find(ctx, w.collection, []string{w.id}, metadataMember)
	if err != nil {
		return fmt.Errorf("look at a document that is newer: %w", err)
	}
	stored := metadataOf(found[w.id])
	ahead := w.sourceAt.Sub(time.UnixMilli(stored.sourceTimestamp))
	if stored.position <= w.position || stored.sourceTimestamp == 0 || ahead < logResetAfter {
		return nil
	}
	return fmt.Errorf("positions went back: an event of %s at offset %d was committed %s after what is stored, at a"+
		" lower position: PostgreSQL was restored or failed over to another timeline; go on with a higher --epoch",
		w.collection, w.record.Offset, ahead.Round(time.Second))
}

func (s *settler) end(j *job, w *write, done outcome, now time.Time) {
	if done.err != nil {
		j.rejected = append(j.rejected, w.letter(done.err))
		return
	}
	result := OutcomeApplied
	if done.stale {
		result = OutcomeStale
	} else if !w.embedded() {
		ended := ""
		if w.deleted {
			ended = w.position
		}
		s.parents.see(w.collection, w.id, ended)
	}
	w.each(func(c *change) {
		switch {
		case c.aside: // counted where its row is now
			return
		case c.draft == w.draft:
			s.metrics.settledAt(c.draft, result, now)
		default:
			s.metrics.settledAt(c.draft, OutcomeFolded, now)
		}
		if !done.stale { // a replay raises no alarm
			s.rules.broken(c.draft, c.orphan)
		}
	})
}

// bury puts the rejected records into the dead-letter topic, in the order of the log.
func (s *settler) bury(ctx context.Context, j *job) error {
	if len(j.rejected) == 0 {
		return nil
	}
	slices.SortStableFunc(j.rejected, func(a, b deadLetter) int {
		return cmp.Compare(a.record.Offset, b.record.Offset)
	})
	j.rejected = slices.CompactFunc(j.rejected, func(a, b deadLetter) bool {
		return a.record == b.record
	})
	if err := s.send(ctx, j.rejected); err != nil {
		return err
	}
	for i := range j.rejected {
		s.metrics.buried(&j.rejected[i])
	}
	first := &j.rejected[0]
	s.log.WarnContext(ctx, "dead letters", "count", len(j.rejected), "rule", first.rule(),
		"reason", first.said(), "entity_type", first.entity, "operation", first.operation, "kafka_topic", first.record.Topic,
		"kafka_partition", first.record.Partition, "kafka_offset", first.record.Offset)
	j.rejected = nil
	return nil
}
