package consumer

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/documents/documentstest"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/kafka"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// TestSettleWaitsOutTransientErrors: nothing is lost, nothing is a dead letter, and a successful
// write is not sent again.
func TestSettleWaitsOutTransientErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryPartition()
		started := time.Now()
		sent := map[string]int{}
		s.memory.Refuse = func(w *documents.Write) error {
			sent[w.ID]++
			if time.Since(started) < 9*time.Second && w.ID == consumertest.UUID(1) {
				return consumertest.ErrAway
			}
			return nil
		}
		batch := s.batch(consumertest.Customer(consumertest.Insert, 1, 1, "a@x"),
			consumertest.Customer(consumertest.Insert, 2, 1, "b@x"))
		done := make(chan error)
		go func() { done <- s.applyBatch(context.Background(), batch) }()
		<-time.After(5 * time.Second)
		if paused := consumertest.ValueOf(t, s.metrics.Paused); paused != 1 {
			t.Errorf("%v partitions paused, want 1", paused)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		// 50 ms, doubled up to 2 s: ten tries until then.
		if sent[consumertest.UUID(1)] != 10 || sent[consumertest.UUID(2)] != 1 {
			t.Errorf("took %v with the tries %v", time.Since(started), sent)
		}
		if paused := consumertest.ValueOf(t, s.metrics.Paused); paused != 0 || len(s.letters) != 0 {
			t.Errorf("%v partitions paused, dead letters %v", paused, s.letters)
		}
		if n := consumertest.EventCount(t, s.metrics.Registry, "customer",
			telemetry.OutcomeApplied); n != 2 {
			t.Errorf("%v events applied, want 2", n)
		}
	})
}

// TestAlarmIsNotReady: a partition that waits for the operator says why the process is not ready,
// and no more once the partition left.
func TestAlarmIsNotReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryPartition()
		r := &router{partitions: map[string]map[int32]*partition{s.topic: {0: s.partition}}}
		s.feed(t, consumertest.Customer(consumertest.Insert, 1, 9, "a@x"))
		if alarm := r.firstAlarm(); alarm != "" {
			t.Fatalf("an alarm without a reason: %s", alarm)
		}
		restored := consumertest.Customer(consumertest.Update, 1, 2, "b@x")
		restored.Value = regexp.MustCompile(`"ts_us":\d+`).ReplaceAll(restored.Value,
			[]byte(`"ts_us":4102444800000000`))
		time.AfterFunc(time.Minute, func() {
			if alarm := r.firstAlarm(); !strings.Contains(alarm, "positions went back") {
				t.Errorf("the alarm is %q", alarm)
			}
			if n := consumertest.ValueOf(t, s.metrics.Retries.WithLabelValues(
				"positions_went_back")); n == 0 {
				t.Error("no retry is counted")
			}
			close(s.stopped)
		})
		if err := s.applyBatch(context.Background(), s.batch(restored)); !errors.Is(err, errLeft) {
			t.Errorf("settle returned %v, want %v", err, errLeft)
		}
		if alarm := r.firstAlarm(); alarm != "" {
			t.Errorf("the partition left, and still asks: %s", alarm)
		}
	})
}

func TestSettleLeavesWhenStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryPartition()
		s.memory.Refuse = func(*documents.Write) error { return consumertest.ErrAway }
		time.AfterFunc(time.Minute, func() { close(s.stopped) })
		err := s.applyBatch(context.Background(),
			s.batch(consumertest.Customer(consumertest.Insert, 1, 1, "a@x")))
		if !errors.Is(err, errLeft) {
			t.Errorf("settle returned %v, want %v", err, errLeft)
		}
		if s.marked != -1 {
			t.Errorf("offset %d marked, though nothing was acknowledged", s.marked)
		}
		if paused := consumertest.ValueOf(t, s.metrics.Paused); paused != 0 {
			t.Errorf("%v partitions paused after the end", paused)
		}
	})
}

func TestSettleStops(t *testing.T) {
	t.Parallel()
	s := newMemoryPartition()
	s.memory.Refuse = func(*documents.Write) error {
		return &fate.Halt{Err: errors.New("not authorized")}
	}
	err := s.applyBatch(context.Background(),
		s.batch(consumertest.Customer(consumertest.Insert, 1, 1, "a@x")))
	if err == nil || fate.Of(err) != fate.Stop {
		t.Errorf("settle returned %v, want an error to stop for", err)
	}
}

// TestSettleKeepsLetters: while the dead-letter topic is away the batch is not done, and written
// rows are not written again.
func TestSettleKeepsLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryPartition()
		fails := 3
		s.refuse = func() error {
			if fails--; fails >= 0 {
				return kafka.Classify(errors.New("no leader"))
			}
			return nil
		}
		s.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, nil),
			consumertest.Customer(consumertest.Insert, 2, 1, "b@x"))
		if len(s.letters) != 1 || s.memory.Calls != 1 {
			t.Errorf("%d dead letters after %d writes, want one and one", len(s.letters),
				s.memory.Calls)
		}
		if n := consumertest.ValueOf(t, s.metrics.Retries.WithLabelValues("kafka")); n != 3 {
			t.Errorf("%v retries, want 3", n)
		}
	})
}

// memoryPartition is a partition of a consumer over memory, without Kafka.
type memoryPartition struct {
	*partition
	memory  *documentstest.WatchedStore
	letters []deadletter.Rejected
	refuse  func() error // of the dead-letter topic; nil: the topic takes all
	offset  int64        // of the next record
	marked  int64
}

func newMemoryPartition() *memoryPartition {
	p := &memoryPartition{memory: documentstest.NewWatchedStore(), marked: -1}
	c, err := newConsumer(quietConfig(), p.memory)
	if err != nil {
		panic(err)
	}
	p.partition = c.newPartition("cdc.public.customer", 0,
		func(_ context.Context, l []deadletter.Rejected) error {
			if p.refuse != nil {
				if err := p.refuse(); err != nil {
					return err
				}
			}
			p.letters = append(p.letters, l...)
			return nil
		})
	p.mark = func(_ int32, offset int64) { p.marked = offset }
	return p
}

func quietConfig() Config {
	config := DefaultConfig()
	config.Output = io.Discard
	return config
}

func (p *memoryPartition) batch(records ...*kgo.Record) []telemetry.Arrival {
	batch := make([]telemetry.Arrival, len(records))
	for i, r := range records {
		r.Offset, p.offset = p.offset, p.offset+1
		batch[i] = telemetry.Arrival{Record: r, Polled: time.Now()}
	}
	return batch
}

func (p *memoryPartition) feed(t testing.TB, records ...*kgo.Record) {
	t.Helper()
	if err := p.applyBatch(context.Background(), p.batch(records...)); err != nil {
		t.Fatal(err)
	}
}

// TestKeyChangeShows: a waiting partition is seen.
func TestKeyChangeShows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newMemoryPartition()
		_, made := consumertest.CustomerKeyChange(1, 2, 3)
		time.AfterFunc(time.Minute, func() { close(p.stopped) })
		time.AfterFunc(time.Minute/2, func() {
			if paused := consumertest.ValueOf(t, p.metrics.Paused); paused != 1 {
				t.Errorf("%v partitions paused, want 1", paused)
			}
		})
		if err := p.applyBatch(context.Background(), p.batch(made)); !errors.Is(err, errLeft) ||
			p.marked != -1 {
			t.Errorf("ended with %v, offset %d marked", err, p.marked)
		}
		if n := consumertest.ValueOf(t, p.metrics.Retries.WithLabelValues("key_change")); n == 0 {
			t.Error("the looks for the delete are not counted")
		}
	})
}

// TestLogsSlowBatches: the duration of a batch is logged at info level where worth a line.
func TestLogsSlowBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newMemoryPartition()
		output := &strings.Builder{}
		log, err := telemetry.NewLog("info", output)
		if err != nil {
			t.Fatal(err)
		}
		p.log = log
		p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "a@x"))
		if done := consumertest.Lines(t, output, "batch done"); done != nil {
			t.Errorf("a fast batch is logged: %v", done)
		}
		started := time.Now()
		p.memory.Refuse = func(*documents.Write) error {
			if time.Since(started) < 2*time.Second {
				return consumertest.ErrAway
			}
			return nil
		}
		p.feed(t, consumertest.Customer(consumertest.Insert, 2, 1, "a@x"),
			consumertest.Customer(consumertest.Insert, 3, 1, "a@x"))
		done := consumertest.Lines(t, output, "batch done")
		if took, _ := done[0]["processing_time_ms"].(float64); len(done) != 1 || took < 2000 ||
			done[0]["records"] != 2.0 {
			t.Errorf("a slow batch is logged as %v", done)
		}
	})
}
