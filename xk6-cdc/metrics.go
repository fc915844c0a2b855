package cdc

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// The module's metrics beside k6's own; all but Writes are in milliseconds or a rate. The metrics
// carry the tags entity, operation and scenario, and Writes also fate.
const (
	// MetricLatency is intended time -> visible in MongoDB, of every visible write.
	MetricLatency = "cdc_e2e_latency_ms"
	// MetricSuccess is the rate of writes seen within the timeout; a refused or never seen write
	// counts against the rate.
	MetricSuccess = "cdc_e2e_success_rate"
	// MetricTimeout is the rate of acknowledged writes not seen within the timeout.
	MetricTimeout = "cdc_e2e_timeout_rate"
	// MetricQuery is the time of each acknowledged statement, the same as MetricCommit under the
	// name in the specification's thresholds.
	MetricQuery = "db_query_duration"
	// MetricDelay is intended time -> a worker began.
	MetricDelay = "cdc_schedule_delay_ms"
	// MetricCommit is a worker began -> PostgreSQL acknowledged the commit.
	MetricCommit = "cdc_commit_ms"
	// MetricPipeline is commit acknowledged -> visible in MongoDB, at least 0, because the change
	// can be seen before the acknowledgement is back.
	MetricPipeline = "cdc_pipeline_ms"
	// MetricWrites counts the writes with a known or abandoned fate in PostgreSQL.
	MetricWrites = "cdc_writes"
)

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

// forgetIterations makes k6's iteration_duration a gauge of the last, the least and the greatest
// value. As a trend, iteration_duration keeps 8 bytes an iteration until the end, and no option of
// k6 turns the trend off. The call must come before the first iteration.
func forgetIterations(builtin *metrics.BuiltinMetrics) error {
	gauge, err := metrics.NewRegistry().NewMetric(metrics.IterationDurationName, metrics.Gauge,
		metrics.Time)
	if err != nil {
		return fmt.Errorf("register metric: %w", err)
	}
	builtin.IterationDuration = gauge
	return nil
}

// checkThresholds refuses a threshold that could not be crossed, because the metric gets no
// samples.
func checkThresholds(options Options, test *lib.Options) error {
	for name := range test.Thresholds {
		if metric, _, _ := strings.Cut(name, "{"); metric == metrics.IterationDurationName &&
			options.Trends < 1 {
			return fmt.Errorf(`option "trends": the threshold on %s wants every sample, `+
				`so that it must be 1, not %v`, name, options.Trends)
		}
	}
	return nil
}

// samples buffers the measurements of the generator's goroutines until a VU can push them: k6
// closes the channel of samples when the last VU is done, and a later push would panic.
type samples struct {
	*instruments
	// trends is the share of the writes with times for k6.
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

// times is true if k6 gets the times of a write. The ID is inverted, because the ID also decides
// whether the write is tracked: the one choice must not decide the other.
func (s *samples) times(p *tracker.Pending) bool { return isSampled(^p.ID, s.trends) }

// settled measures a write once PostgreSQL has answered.
func (s *samples) settled(p *tracker.Pending) {
	if p.Tags == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(s.writes, s.fateTags(p), 1)
	timed := s.times(p)
	if p.SentNs != 0 && timed {
		s.add(s.delay, p.Tags, milliseconds(p.SentNs-p.IntendedNs))
	}
	switch {
	case p.Fate == ledger.Acked && timed:
		s.add(s.query, p.Tags, milliseconds(p.CommittedNs-p.SentNs))
		s.add(s.commit, p.Tags, milliseconds(p.CommittedNs-p.SentNs))
	case p.Fate == ledger.Failed && !p.Untracked:
		s.add(s.success, p.Tags, 0)
	}
}

// fateTags returns the tags with the fate. The tags of the usual fate, acked, are made once, under
// the lock of samples.
func (s *samples) fateTags(p *tracker.Pending) *metrics.TagSet {
	if p.Fate != ledger.Acked {
		return p.Tags.With("fate", string(p.Fate))
	}
	if p.AckedTags == nil {
		p.AckedTags = p.Tags.With("fate", string(ledger.Acked))
	}
	return p.AckedTags
}

// visible measures a visible write, perhaps after a timeout.
func (s *samples) visible(p *tracker.Pending) {
	if p.Tags == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	timed := s.times(p)
	if timed {
		s.add(s.latency, p.Tags, milliseconds(p.VisibleNs-p.IntendedNs))
	}
	if p.CommittedNs != 0 && timed {
		s.add(s.pipeline, p.Tags, milliseconds(p.VisibleNs-p.CommittedNs))
	}
	if !p.TimedOut {
		s.add(s.success, p.Tags, 1)
		s.add(s.timeout, p.Tags, 0)
	}
}

// unseen counts a write as not materialized, after the timeout or when the generator gave up.
func (s *samples) unseen(p *tracker.Pending) {
	if p.Tags == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(s.success, p.Tags, 0)
	if p.Fate == ledger.Acked {
		s.add(s.timeout, p.Tags, 1)
	}
}

func milliseconds(ns int64) float64 { return float64(max(0, ns)) / float64(time.Millisecond) }
