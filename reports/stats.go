package reports

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are recorded in whole microseconds up to ten minutes, with three significant digits.
const (
	longestUs = int64(10 * time.Minute / time.Microsecond)
	digits    = 3
)

// MaxSecond is the largest second of a Run that a Recorder keeps: a week.
const MaxSecond = 7 * 24 * 3600

// Recorder folds samples into the Stages and the Series of a Run, in memory that does not grow
// with their number. It is not safe for concurrent use.
type Recorder struct {
	stages  map[stageKey]*distribution
	seconds map[int]*second
	clock   Clock
}

type stageKey struct{ stage, entity, operation string }

// distribution is a histogram with the exact mean and maximum beside it.
type distribution struct {
	histogram *hdrhistogram.PackedHistogram
	sum, max  time.Duration
}

type second struct {
	e2e                         *distribution
	offered, committed, visible int64
}

// NewRecorder returns an empty Recorder.
func NewRecorder() *Recorder {
	return &Recorder{stages: map[stageKey]*distribution{}, seconds: map[int]*second{}}
}

// Add records one sample of a stage (see E2E) of a write of the entity and operation that was
// intended in the second at this offset. It counts in the rows for all, for the entity, and for
// the entity's operation; samples of E2E count in their second as well. A negative duration is left
// out and counted in Clock; one beyond ten minutes is recorded as ten minutes.
func (r *Recorder) Add(stage, entity, operation string, second int, d time.Duration) {
	if d < 0 {
		r.clock.NegativeSpans++
		return
	}
	if d.Microseconds() > longestUs {
		r.clock.ClampedSpans++
	}
	keys := []stageKey{{stage, "", ""}, {stage, entity, ""}, {stage, entity, operation}}
	for _, key := range slices.Compact(keys) {
		if r.stages[key] == nil {
			r.stages[key] = newDistribution()
		}
		r.stages[key].add(d)
	}
	if stage != E2E {
		return
	}
	if at := r.at(second); at != nil {
		if at.e2e == nil {
			at.e2e = newDistribution()
		}
		at.e2e.add(d)
	}
}

// Offered counts one write that was intended in this second.
func (r *Recorder) Offered(second int) {
	if at := r.at(second); at != nil {
		at.offered++
	}
}

// Committed counts one tracked write that PostgreSQL acknowledged in this second.
func (r *Recorder) Committed(second int) {
	if at := r.at(second); at != nil {
		at.committed++
	}
}

// Visible counts one committed write whose version, or a later one of its row, was seen in this
// second.
func (r *Recorder) Visible(second int) {
	if at := r.at(second); at != nil {
		at.visible++
	}
}

// at is nil for seconds that cannot be: a wild time stamp must not make an endless Series.
func (r *Recorder) at(offset int) *second {
	if offset < 0 || offset > MaxSecond {
		return nil
	}
	if r.seconds[offset] == nil {
		r.seconds[offset] = new(second)
	}
	return r.seconds[offset]
}

// Clock returns what the samples said against the clocks.
func (r *Recorder) Clock() Clock { return r.clock }

// Stages returns a row for every stage, entity and operation that has samples, sorted, each with its
// histogram.
func (r *Recorder) Stages() []Stage {
	rows := make([]Stage, 0, len(r.stages))
	for key, d := range r.stages {
		row := d.stage(key)
		row.Histogram = encodeHistogram(d.histogram)
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b Stage) int {
		return strings.Compare(a.Stage+"\x00"+a.Entity+"\x00"+a.Operation,
			b.Stage+"\x00"+b.Entity+"\x00"+b.Operation)
	})
	return rows
}

// Seconds returns the Series: every second from 0 to the last one of which anything is known.
func (r *Recorder) Seconds() []Second {
	last := -1
	for offset := range r.seconds {
		last = max(last, offset)
	}
	rows := make([]Second, last+1)
	var outstanding int64
	for offset := range rows {
		row := &rows[offset]
		row.Second = offset
		if s := r.seconds[offset]; s != nil {
			row.Offered, row.Committed, row.Visible = s.offered, s.committed, s.visible
			if s.e2e != nil {
				l := s.e2e.latency()
				row.P50, row.P95, row.P99, row.Max = l.P50, l.P95, l.P99, l.Max
				row.Histogram = encodeHistogram(s.e2e.histogram)
			}
		}
		outstanding += row.Committed - row.Visible
		row.Outstanding = max(0, outstanding)
	}
	return rows
}

func newDistribution() *distribution {
	return &distribution{histogram: hdrhistogram.NewPacked(1, longestUs, digits)}
}

func (d *distribution) add(sample time.Duration) {
	us := min(sample.Round(time.Microsecond).Microseconds(), longestUs)
	if err := d.histogram.RecordValue(us); err != nil {
		panic(fmt.Sprintf("record %d us: %v", us, err)) // 0 <= us <= longestUs always fits
	}
	sample = min(sample, time.Duration(longestUs)*time.Microsecond)
	d.sum += sample
	d.max = max(d.max, sample)
}

func (d *distribution) latency() Latency {
	l := histogramLatency(d.histogram)
	l.Max = milliseconds(d.max)
	l.Mean = milliseconds(d.sum) / float64(max(1, d.histogram.TotalCount()))
	// A bucket is named by its upper end, which may lie above the exact maximum.
	l.P50, l.P95, l.P99 = min(l.P50, l.Max), min(l.P95, l.Max), min(l.P99, l.Max)
	return l
}

func (d *distribution) stage(key stageKey) Stage {
	return Stage{Stage: key.stage, Entity: key.entity, Operation: key.operation,
		Count: d.histogram.TotalCount(), Latency: d.latency()}
}

func histogramLatency(h *hdrhistogram.PackedHistogram) Latency {
	at := func(percentile float64) float64 { return float64(h.ValueAtPercentile(percentile)) / 1e3 }
	return Latency{P50: at(50), P95: at(95), P99: at(99),
		Max: float64(h.Max()) / 1e3, Mean: h.Mean() / 1e3}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// MergeStages adds up the histograms of rows of one stage, of several Runs. Percentiles are those of
// all samples together. Rows of different stages, or without a histogram, are errors.
func MergeStages(rows ...Stage) (Stage, error) {
	if len(rows) == 0 {
		return Stage{}, errors.New("merge stages: none given")
	}
	merged := rows[0]
	whole := hdrhistogram.NewPacked(1, longestUs, digits)
	for i, row := range rows {
		if row.Stage != merged.Stage || row.Entity != merged.Entity || row.Operation != merged.Operation {
			return Stage{}, fmt.Errorf("merge stages: row %d is of %s %s %s, row 0 of %s %s %s", i,
				row.Stage, row.Entity, row.Operation, merged.Stage, merged.Entity, merged.Operation)
		}
		histogram, err := decodeHistogram(row.Histogram)
		if err != nil {
			return Stage{}, fmt.Errorf("merge stages: row %d: %w", i, err)
		}
		whole.Merge(histogram)
		merged.Max = max(merged.Max, row.Max)
	}
	l := histogramLatency(whole)
	merged.Count, merged.Mean = whole.TotalCount(), l.Mean
	merged.P50, merged.P95 = min(l.P50, merged.Max), min(l.P95, merged.Max)
	merged.P99 = min(l.P99, merged.Max)
	merged.Histogram = encodeHistogram(whole)
	return merged, nil
}

func encodeHistogram(h *hdrhistogram.PackedHistogram) string {
	text, err := h.Encode()
	if err != nil {
		panic(fmt.Sprintf("encode a histogram of our own geometry: %v", err))
	}
	return string(text)
}

// decodeHistogram refuses any geometry but ours, so that merging loses nothing and stored text
// cannot ask for much memory.
func decodeHistogram(text string) (*hdrhistogram.PackedHistogram, error) {
	if text == "" {
		return nil, errors.New("no histogram")
	}
	h, err := hdrhistogram.DecodePacked([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("decode histogram: %w", err)
	}
	if h.LowestTrackableValue() != 1 || h.HighestTrackableValue() != longestUs ||
		h.SignificantFigures() != digits {
		return nil, fmt.Errorf("histogram of %d..%d with %d digits, want 1..%d with %d",
			h.LowestTrackableValue(), h.HighestTrackableValue(), h.SignificantFigures(),
			longestUs, digits)
	}
	return h, nil
}
