package cdc

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// The metrics that the module adds to k6's own; all but Writes are in milliseconds or a rate. They
// carry the tags entity, operation and scenario, and Writes also fate.
const (
	// MetricLatency is intended time -> visible in MongoDB, of every write that was seen.
	MetricLatency = "cdc_e2e_latency_ms"
	// MetricSuccess is the rate of writes seen within the timeout; a write that PostgreSQL refused
	// or that was never seen counts against it.
	MetricSuccess = "cdc_e2e_success_rate"
	// MetricTimeout is the rate of acknowledged writes not seen within the timeout.
	MetricTimeout = "cdc_e2e_timeout_rate"
	// MetricQuery is the time of each statement that was acknowledged, the same as MetricCommit
	// under the name that the specification's thresholds use.
	MetricQuery = "db_query_duration"
	// MetricDelay is intended time -> a worker began.
	MetricDelay = "cdc_schedule_delay_ms"
	// MetricCommit is a worker began -> PostgreSQL acknowledged the commit.
	MetricCommit = "cdc_commit_ms"
	// MetricPipeline is commit acknowledged -> visible in MongoDB, at least 0: the change can be
	// seen before the acknowledgement is back.
	MetricPipeline = "cdc_pipeline_ms"
	// MetricWrites counts the writes whose fate in PostgreSQL is known or was given up.
	MetricWrites = "cdc_writes"
)

// unmeasured are the scenarios of which k6 gets no samples.
var unmeasured = map[string]bool{"warmup": true, "seed": true, "selftest": true}

// instruments are the metrics as registered with k6.
type instruments struct {
	latency, success, timeout, query, delay, commit, pipeline, writes *metrics.Metric
}

func register(registry *metrics.Registry) (*instruments, error) {
	i := &instruments{}
	for _, m := range []struct {
		into  **metrics.Metric
		name  string
		kind  metrics.MetricType
		value metrics.ValueType
	}{
		{&i.latency, MetricLatency, metrics.Trend, metrics.Time},
		{&i.success, MetricSuccess, metrics.Rate, metrics.Default},
		{&i.timeout, MetricTimeout, metrics.Rate, metrics.Default},
		{&i.query, MetricQuery, metrics.Trend, metrics.Time},
		{&i.delay, MetricDelay, metrics.Trend, metrics.Time},
		{&i.commit, MetricCommit, metrics.Trend, metrics.Time},
		{&i.pipeline, MetricPipeline, metrics.Trend, metrics.Time},
		{&i.writes, MetricWrites, metrics.Counter, metrics.Default},
	} {
		var err error
		if *m.into, err = registry.NewMetric(m.name, m.kind, m.value); err != nil {
			return nil, fmt.Errorf("register metric: %w", err)
		}
	}
	return i, nil
}

// forgetIterations makes k6's iteration_duration a gauge: the last, the least and the greatest one. As a trend
// it is every one, 8 bytes an iteration until the end, and no option of k6 turns it off. It must be called before
// the first iteration.
func forgetIterations(builtin *metrics.BuiltinMetrics) error {
	gauge, err := metrics.NewRegistry().NewMetric(metrics.IterationDurationName, metrics.Gauge, metrics.Time)
	if err != nil {
		return fmt.Errorf("register metric: %w", err)
	}
	builtin.IterationDuration = gauge
	return nil
}

// checkThresholds refuses a threshold that could not be crossed, since its metric gets no samples.
func checkThresholds(options Options, test *lib.Options) error {
	for name := range test.Thresholds {
		if metric, _, _ := strings.Cut(name, "{"); metric == metrics.IterationDurationName && options.Trends < 1 {
			return fmt.Errorf(`option "trends": the threshold on %s wants every sample, so that it must be 1, not %v`,
				name, options.Trends)
		}
	}
	return nil
}

// samples buffers what goroutines of the lab measured until a VU can push it: k6 closes its channel
// of samples when the last VU is done, and a later push would panic.
type samples struct {
	*instruments
	// trends is the share of the writes whose times k6 gets.
	trends   float64
	mu       sync.Mutex
	buffered metrics.Samples
}

func (s *samples) add(metric *metrics.Metric, tags *metrics.TagSet, value float64) {
	s.buffered = append(s.buffered, metrics.Sample{
		TimeSeries: metrics.TimeSeries{Metric: metric, Tags: tags}, Time: time.Now(), Value: value,
	})
}

// take empties the buffer.
func (s *samples) take() metrics.Samples {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.buffered
	s.buffered = nil
	return taken
}

// giveBack undoes take when nothing could be pushed.
func (s *samples) giveBack(taken metrics.Samples) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buffered = append(taken, s.buffered...)
}

// times says whether k6 gets the times of a write. Which are tracked follows from the IDs as well, so the
// ID is turned round: the one choice must not decide the other.
func (s *samples) times(p *pending) bool { return isSampled(^p.id, s.trends) }

// settled measures what is known once PostgreSQL has answered.
func (s *samples) settled(p *pending) {
	if p.tags == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(s.writes, p.fateTags(), 1)
	timed := s.times(p)
	if p.sentNs != 0 && timed {
		s.add(s.delay, p.tags, milliseconds(p.sentNs-p.intendedNs))
	}
	switch {
	case p.fate == ledger.Acked && timed:
		s.add(s.query, p.tags, milliseconds(p.committedNs-p.sentNs))
		s.add(s.commit, p.tags, milliseconds(p.committedNs-p.sentNs))
	case p.fate == ledger.Failed && !p.untracked:
		s.add(s.success, p.tags, 0)
	}
}

// fateTags are the tags with the fate. Those of the fate that nearly all have are made once; the lock of
// samples guards them.
func (p *pending) fateTags() *metrics.TagSet {
	if p.fate != ledger.Acked {
		return p.tags.With("fate", string(p.fate))
	}
	if p.acked == nil {
		p.acked = p.tags.With("fate", string(ledger.Acked))
	}
	return p.acked
}

// visible measures a write that was seen; it may have counted as timed out before.
func (s *samples) visible(p *pending) {
	if p.tags == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	timed := s.times(p)
	if timed {
		s.add(s.latency, p.tags, milliseconds(p.visibleNs-p.intendedNs))
	}
	if p.committedNs != 0 && timed {
		s.add(s.pipeline, p.tags, milliseconds(p.visibleNs-p.committedNs))
	}
	if !p.timedOut {
		s.add(s.success, p.tags, 1)
		s.add(s.timeout, p.tags, 0)
	}
}

// unseen counts a write as not materialized: its time is over, or the lab gave up.
func (s *samples) unseen(p *pending) {
	if p.tags == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(s.success, p.tags, 0)
	if p.fate == ledger.Acked {
		s.add(s.timeout, p.tags, 1)
	}
}

func milliseconds(ns int64) float64 { return float64(max(0, ns)) / float64(time.Millisecond) }
