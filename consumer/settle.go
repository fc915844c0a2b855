package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// store is where writes go: MongoDB, or memory in tests. Both pass the suite of store_test.go.
type store interface {
	// apply writes what is newer than what is there, and returns one outcome for each write. The
	// places of one call are distinct.
	apply(ctx context.Context, writes []write) []outcome
}

// outcome is what became of a write: applied, or stale, or err, of which fateOf knows the fate.
type outcome struct {
	stale bool
	err   error
}

// errLeft says that a batch was left unfinished on request; its offsets are not committed.
var errLeft = errors.New("left unfinished: asked to stop")

// settler sees plans through.
type settler struct {
	store   store
	send    func(context.Context, []deadLetter) error
	backoff func(attempt int) time.Duration
	metrics *metrics
	log     *slog.Logger
}

// settle returns nil when every record of the plan has met its end and the offset may move. Errors
// that may pass are waited out. It returns errLeft when ctx or stopped ended the wait, or an error
// whose fate is stop.
func (s *settler) settle(ctx context.Context, stopped <-chan struct{}, p *plan) error {
	paused := false
	defer func() {
		if paused {
			s.metrics.paused.Dec()
		}
	}()
	for attempt := 0; ; attempt++ {
		err := s.try(ctx, p)
		if err == nil {
			if paused {
				s.log.Info("partition resumed", "topic", p.last.Topic, "partition", p.last.Partition,
					"attempts", attempt)
			}
			return nil
		}
		if fateOf(err) == stop {
			return fmt.Errorf("%s/%d: %w", p.last.Topic, p.last.Partition, err)
		}
		s.metrics.retry(err)
		if !paused {
			paused = true
			s.metrics.paused.Inc()
			s.log.Warn("partition paused", "topic", p.last.Topic, "partition", p.last.Partition,
				"offset", p.last.Offset, "error", err.Error())
		}
		if !wait(ctx, stopped, s.backoff(attempt)) {
			return errLeft
		}
	}
}

// try does what it can of the plan and takes it off. The error is the worst of what remains.
func (s *settler) try(ctx context.Context, p *plan) error {
	err := s.bulk(ctx, p)
	if err != nil && fateOf(err) == stop {
		return err
	}
	for len(p.steps) > 0 {
		w := &p.steps[0]
		done := s.store.apply(ctx, p.steps[:1])[0]
		if done.err != nil && fateOf(done.err) != reject {
			return done.err
		}
		s.end(p, w, done)
		p.steps = p.steps[1:]
	}
	return errors.Join(err, s.bury(ctx, p))
}

func (s *settler) bulk(ctx context.Context, p *plan) error {
	if len(p.writes) == 0 {
		return nil
	}
	var worst error
	var left []write
	for i, done := range s.store.apply(ctx, p.writes) {
		w := &p.writes[i]
		switch {
		case done.err == nil || fateOf(done.err) == reject && len(w.from) == 1:
			s.end(p, w, done)
		case fateOf(done.err) == reject:
			// Only the event that cannot be written is a dead letter, not those folded into it.
			for _, c := range w.from {
				p.steps = append(p.steps, write{c, []change{c}})
			}
		default:
			left = append(left, *w)
			if worst == nil || fateOf(done.err) == stop {
				worst = done.err
			}
		}
	}
	p.writes = left
	return worst
}

func (s *settler) end(p *plan, w *write, done outcome) {
	switch {
	case done.err != nil:
		p.rejected = append(p.rejected, deadLetter{w.record, w.entity, w.operation, done.err})
	case done.stale:
		s.metrics.settled(w, OutcomeStale)
	default:
		s.metrics.settled(w, OutcomeApplied)
	}
}

// bury puts the rejected records into the dead-letter topic, in the order of the log.
func (s *settler) bury(ctx context.Context, p *plan) error {
	if len(p.rejected) == 0 {
		return nil
	}
	slices.SortStableFunc(p.rejected, func(a, b deadLetter) int {
		return cmp.Compare(a.record.Offset, b.record.Offset)
	})
	p.rejected = slices.CompactFunc(p.rejected, func(a, b deadLetter) bool {
		return a.record == b.record
	})
	if err := s.send(ctx, p.rejected); err != nil {
		return err
	}
	for _, l := range p.rejected {
		s.metrics.events.WithLabelValues(l.entity, l.operation, OutcomeDeadLetter).Inc()
		s.metrics.deadLetters.WithLabelValues(l.rule()).Inc()
	}
	first := &p.rejected[0]
	s.log.Warn("dead letters", "count", len(p.rejected), "topic", first.record.Topic,
		"partition", first.record.Partition, "offset", first.record.Offset, "reason", first.err.Error())
	p.rejected = nil
	return nil
}
