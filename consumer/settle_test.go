package consumer

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// settling is a settler over memory, with its dead letters.
type settling struct {
	settler
	memory  *memoryStore
	letters []deadLetter
}

func newSettling() *settling {
	config := DefaultConfig()
	s := &settling{memory: newMemoryStore()}
	s.settler = settler{store: s.memory, backoff: config.backoff, metrics: newMetrics(),
		log: slog.New(slog.DiscardHandler),
		send: func(_ context.Context, letters []deadLetter) error {
			s.letters = append(s.letters, letters...)
			return nil
		}}
	return s
}

// eventCount sums MetricEvents over the operations.
func eventCount(t *testing.T, m *metrics, entity, outcome string) (sum float64) {
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
func valueOf(t *testing.T, m prometheus.Metric) float64 {
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

// TestSettleWaitsOutTransientErrors: nothing is lost, nothing is a dead letter, and one write that
// goes through is not sent again.
func TestSettleWaitsOutTransientErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSettling()
		started := time.Now()
		sent := map[string]int{}
		s.memory.refuse = func(w *write) error {
			sent[w.id]++
			if time.Since(started) < 9*time.Second && w.id == uuid(1) {
				return errors.New("connection refused")
			}
			return nil
		}
		work := testPlanner().plan(arrivals(customer(insert, 1, 1, "a@x"), customer(insert, 2, 1, "b@x")))
		done := make(chan error)
		go func() { done <- s.settle(context.Background(), nil, work) }()
		<-time.After(5 * time.Second)
		if paused := valueOf(t, s.metrics.paused); paused != 1 {
			t.Errorf("%v partitions paused, want 1", paused)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		// 50 ms, doubled up to 2 s: ten tries until then.
		if sent[uuid(1)] != 10 || sent[uuid(2)] != 1 {
			t.Errorf("took %v with the tries %v", time.Since(started), sent)
		}
		if paused := valueOf(t, s.metrics.paused); paused != 0 || len(s.letters) != 0 {
			t.Errorf("%v partitions paused, dead letters %v", paused, s.letters)
		}
		if n := eventCount(t, s.metrics, "customer", OutcomeApplied); n != 2 {
			t.Errorf("%v events applied, want 2", n)
		}
	})
}

func TestSettleLeavesWhenStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSettling()
		s.memory.refuse = func(*write) error { return errors.New("connection refused") }
		stopped := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(stopped) })
		work := testPlanner().plan(arrivals(customer(insert, 1, 1, "a@x")))
		err := s.settle(context.Background(), stopped, work)
		if !errors.Is(err, errLeft) {
			t.Errorf("settle returned %v, want %v", err, errLeft)
		}
		if paused := valueOf(t, s.metrics.paused); paused != 0 {
			t.Errorf("%v partitions paused after the end", paused)
		}
	})
}

func TestSettleStops(t *testing.T) {
	t.Parallel()
	s := newSettling()
	s.memory.refuse = func(*write) error { return &haltError{errors.New("not authorized")} }
	work := testPlanner().plan(arrivals(customer(insert, 1, 1, "a@x")))
	err := s.settle(context.Background(), nil, work)
	if err == nil || fateOf(err) != stop {
		t.Errorf("settle returned %v, want an error to stop for", err)
	}
}

// TestSettleUnfolds: of the events folded into a refused write, only the refused one is a dead
// letter.
func TestSettleUnfolds(t *testing.T) {
	t.Parallel()
	s := newSettling()
	s.memory.refuse = func(w *write) error {
		for _, f := range w.fields {
			if f.value == "too large" {
				return rejectf(ruleDocument, "too large")
			}
		}
		return nil
	}
	work := testPlanner().plan(arrivals(customer(insert, 1, 1, "a@x"), customer(update, 1, 2, "b@x"),
		customer(update, 1, 3, "too large"), customer(insert, 2, 1, "c@x")))
	refused := work.writes[0].record
	if err := s.settle(context.Background(), nil, work); err != nil {
		t.Fatal(err)
	}
	if got := s.memory.read("customers", uuid(1))["email"]; got != "b@x" {
		t.Errorf("email is %v, want that of the last event that could be written", got)
	}
	if len(s.letters) != 1 || s.letters[0].record != refused {
		t.Errorf("dead letters %+v, want one", s.letters)
	}
	for outcome, want := range map[string]float64{OutcomeApplied: 3, OutcomeDeadLetter: 1,
		OutcomeFolded: 0} {
		if n := eventCount(t, s.metrics, "customer", outcome); n != want {
			t.Errorf("%v events %s, want %v", n, outcome, want)
		}
	}
}

// TestSettleKeepsLetters: while the dead-letter topic is away the batch is not done, and what was
// written is not written again.
func TestSettleKeepsLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSettling()
		send, fails := s.send, 3
		s.send = func(ctx context.Context, letters []deadLetter) error {
			if fails--; fails >= 0 {
				return classifyKafka(errors.New("no leader"))
			}
			return send(ctx, letters)
		}
		work := testPlanner().plan(arrivals(customer(insert, 1, 1, nil), customer(insert, 2, 1, "b@x")))
		if err := s.settle(context.Background(), nil, work); err != nil {
			t.Fatal(err)
		}
		if len(s.letters) != 1 || s.memory.calls != 1 {
			t.Errorf("%d dead letters after %d writes, want one and one", len(s.letters), s.memory.calls)
		}
		if n := valueOf(t, s.metrics.retries.WithLabelValues("kafka")); n != 3 {
			t.Errorf("%v retries, want 3", n)
		}
	})
}
