package consumer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestSettleWaitsOutTransientErrors: nothing is lost, nothing is a dead letter, and one write that
// goes through is not sent again.
func TestSettleWaitsOutTransientErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newPipeline()
		started := time.Now()
		sent := map[string]int{}
		s.memory.refuse = func(w *write) error {
			sent[w.id]++
			if time.Since(started) < 9*time.Second && w.id == uuid(1) {
				return errAway
			}
			return nil
		}
		batch := s.batch(customer(insert, 1, 1, "a@x"), customer(insert, 2, 1, "b@x"))
		done := make(chan error)
		go func() { done <- s.work(context.Background(), batch) }()
		<-time.After(5 * time.Second)
		if paused := valueOf(t, s.settler.metrics.paused); paused != 1 {
			t.Errorf("%v partitions paused, want 1", paused)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		// 50 ms, doubled up to 2 s: ten tries until then.
		if sent[uuid(1)] != 10 || sent[uuid(2)] != 1 {
			t.Errorf("took %v with the tries %v", time.Since(started), sent)
		}
		if paused := valueOf(t, s.settler.metrics.paused); paused != 0 || len(s.letters) != 0 {
			t.Errorf("%v partitions paused, dead letters %v", paused, s.letters)
		}
		if n := eventCount(t, s.settler.metrics, "customer", OutcomeApplied); n != 2 {
			t.Errorf("%v events applied, want 2", n)
		}
	})
}

func TestSettleLeavesWhenStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newPipeline()
		s.memory.refuse = func(*write) error { return errAway }
		time.AfterFunc(time.Minute, func() { close(s.stopped) })
		err := s.work(context.Background(), s.batch(customer(insert, 1, 1, "a@x")))
		if !errors.Is(err, errLeft) {
			t.Errorf("settle returned %v, want %v", err, errLeft)
		}
		if s.marked != -1 {
			t.Errorf("offset %d marked, though nothing was acknowledged", s.marked)
		}
		if paused := valueOf(t, s.settler.metrics.paused); paused != 0 {
			t.Errorf("%v partitions paused after the end", paused)
		}
	})
}

func TestSettleStops(t *testing.T) {
	t.Parallel()
	s := newPipeline()
	s.memory.refuse = func(*write) error { return &haltError{errors.New("not authorized")} }
	err := s.work(context.Background(), s.batch(customer(insert, 1, 1, "a@x")))
	if err == nil || fateOf(err) != stop {
		t.Errorf("settle returned %v, want an error to stop for", err)
	}
}

// TestSettleUnfolds: of the events folded into a refused write, only the refused one is a dead
// letter.
func TestSettleUnfolds(t *testing.T) {
	t.Parallel()
	s := newPipeline()
	s.memory.refuse = func(w *write) error {
		if email, _ := asDocument(w.elements).Lookup("email").StringValueOK(); email == "too@large" {
			return rejectf(ruleDocument, "too large")
		}
		return nil
	}
	refused := customer(update, 1, 3, "too@large")
	s.feed(t, customer(insert, 1, 1, "a@x"), customer(update, 1, 2, "b@x"), refused,
		customer(insert, 2, 1, "c@x"))
	if got := s.document(t, "customers", uuid(1))["email"]; got != "b@x" {
		t.Errorf("email is %v, want that of the last event that could be written", got)
	}
	if len(s.letters) != 1 || s.letters[0].record != refused {
		t.Errorf("dead letters %+v, want one", s.letters)
	}
	for outcome, want := range map[string]float64{OutcomeApplied: 3, OutcomeDeadLetter: 1,
		OutcomeFolded: 0} {
		if n := eventCount(t, s.settler.metrics, "customer", outcome); n != want {
			t.Errorf("%v events %s, want %v", n, outcome, want)
		}
	}
}

// TestSettleKeepsLetters: while the dead-letter topic is away the batch is not done, and what was
// written is not written again.
func TestSettleKeepsLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newPipeline()
		send, fails := s.settler.send, 3
		s.settler.send = func(ctx context.Context, letters []deadLetter) error {
			if fails--; fails >= 0 {
				return classifyKafka(errors.New("no leader"))
			}
			return send(ctx, letters)
		}
		s.feed(t, customer(insert, 1, 1, nil), customer(insert, 2, 1, "b@x"))
		if len(s.letters) != 1 || s.memory.calls != 1 {
			t.Errorf("%d dead letters after %d writes, want one and one", len(s.letters), s.memory.calls)
		}
		if n := valueOf(t, s.settler.metrics.retries.WithLabelValues("kafka")); n != 3 {
			t.Errorf("%v retries, want 3", n)
		}
	})
}
