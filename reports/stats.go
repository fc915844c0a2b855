package reports

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/cdclab/cdclab/reports/histogram"
)

// The stages of a write. E2E = ScheduleDelay + Commit + Pipeline for each single write; the four
// below Pipeline are the consumer's own, taken from other clocks, and only attribute.
const (
	// ScheduleDelay is from the intended time until a worker sent the statement.
	ScheduleDelay = "scheduleDelay"
	// Commit is from sent until PostgreSQL's commit was acknowledged.
	Commit = "commit"
	// Pipeline is from the acknowledged commit until the tracker saw the version in MongoDB.
	Pipeline = "pipeline"
	// E2E is from the intended time until seen.
	E2E = "e2e"
	// E2ESteady is E2E of the writes intended outside every fault and its recovery. Only a Run with
	// faults has E2ESteady; the latency limits, which are for normal load, then apply to E2ESteady.
	E2ESteady = "e2eSteady"
	// SourceToConnector is from source.ts_us until the envelope's ts_us.
	SourceToConnector = "sourceToConnector"
	// ConnectorToKafka is from the envelope's ts_us until the record's own time, set by the
	// connector's producer or the broker: how long the connector held the record back.
	ConnectorToKafka = "connectorToKafka"
	// KafkaToConsumer is from there until the consumer polled the record.
	KafkaToConsumer = "kafkaToConsumer"
	// ConsumerToApplied is from polled until MongoDB acknowledged the write.
	ConsumerToApplied = "consumerToApplied"
)

// PartStages are the consecutive stages of a write, as fine as the Run knows the stages.
var PartStages = []string{ScheduleDelay, Commit, SourceToConnector, ConnectorToKafka,
	KafkaToConsumer, ConsumerToApplied}

// StageOf returns the row of a stage for an entity and operation; empty names mean all. ok is false
// if there is no such row, or if the row has no samples.
func (r *Run) StageOf(stage, entity, operation string) (row Stage, ok bool) {
	for _, s := range r.Stages {
		if s.Stage == stage && s.Entity == entity && s.Operation == operation {
			return s, s.Count > 0
		}
	}
	return Stage{}, false
}

// Part is the share of a stage in the waterfall, in milliseconds.
type Part struct {
	Stage, Label string
	Ms           float64
}

// Visibility names the rest of the pipeline after the consumer's own stages: mostly from MongoDB's
// acknowledgement until the tracker saw the version.
const Visibility = "visibility"

// Waterfall returns the stages of a write one after the other at a percentile: the schedule delay,
// the commit, and the pipeline, split where the consumer's own stages are known.
func Waterfall(r *Run, at func(Latency) float64) []Part {
	var found []Part
	var inPipeline float64
	for _, stage := range PartStages {
		row, ok := r.StageOf(stage, "", "")
		if !ok {
			continue
		}
		found = append(found, Part{stage, StageLabel(stage), at(row.Latency)})
		if stage != ScheduleDelay && stage != Commit {
			inPipeline += at(row.Latency)
		}
	}
	pipeline, ok := r.StageOf(Pipeline, "", "")
	rest := at(pipeline.Latency) - inPipeline
	switch {
	case ok && inPipeline == 0:
		found = append(found, Part{Pipeline, StageLabel(Pipeline), rest})
	case ok && rest > 0:
		found = append(found, Part{Visibility, StageLabel(Visibility), rest})
	}
	return found
}

// StageLabel returns the printed name of a stage.
func StageLabel(stage string) string {
	switch stage {
	case ScheduleDelay:
		return "schedule delay"
	case SourceToConnector:
		return "source → connector"
	case ConnectorToKafka:
		return "connector → Kafka"
	case KafkaToConsumer:
		return "Kafka → consumer"
	case ConsumerToApplied:
		return "consumer → applied"
	case Visibility:
		return "rest of the pipeline"
	case E2E:
		return "end to end"
	case E2ESteady:
		return "end to end, outside faults"
	}
	return stage
}

// Latencies are recorded in whole microseconds up to ten minutes, with three significant digits.
const (
	longestUs = int64(10 * time.Minute / time.Microsecond)
	digits    = 3
)

// MaxSecond is the largest second of a Run kept by a Recorder: a week.
const MaxSecond = 7 * 24 * 3600

// Recorder folds samples into the Stages and the Series of a Run, in memory that does not grow with
// the number of samples. A Recorder is not safe for concurrent use.
type Recorder struct {
	stages  map[stageKey]*distribution
	seconds map[int]*second
	blocks  *histogram.Blocks
	clock   Clock
	// isCut is true after a second beyond MaxSecond.
	isCut bool
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
	return &Recorder{stages: map[stageKey]*distribution{}, seconds: map[int]*second{},
		blocks: histogram.NewBlocks()}
}

// Add records a sample of a stage (see E2E) of a write of the entity and operation, intended in the
// second at this offset. The sample counts in the rows for all, for the entity, and for the
// entity's operation; samples of E2E count in their second as well. A negative duration is left out
// and counted in Clock; a duration beyond ten minutes is recorded as ten minutes.
func (r *Recorder) Add(stage, entity, operation string, second int, d time.Duration) {
	if d < 0 {
		r.clock.NegativeSpans++
		return
	}
	if d.Microseconds() > longestUs {
		r.clock.ClampedSpans++
	}
	if stage != E2ESteady && second <= MaxSecond { // E2E has the samples of E2ESteady
		r.blocks.Add(histogram.Key{Stage: stage, Entity: entity, Operation: operation}, second,
			d.Round(time.Microsecond).Microseconds(), 1)
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

// Offered counts a write intended in this second.
func (r *Recorder) Offered(second int) {
	if at := r.at(second); at != nil {
		at.offered++
	}
}

// Committed counts a tracked write acknowledged by PostgreSQL in this second.
func (r *Recorder) Committed(second int) {
	if at := r.at(second); at != nil {
		at.committed++
	}
}

// Visible counts a committed write seen in this second, by its version or by a later version of the
// row.
func (r *Recorder) Visible(second int) {
	if at := r.at(second); at != nil {
		at.visible++
	}
}

// at is nil for impossible seconds: a wild time stamp must not make an endless Series.
func (r *Recorder) at(offset int) *second {
	r.isCut = r.isCut || offset > MaxSecond
	if offset < 0 || offset > MaxSecond {
		return nil
	}
	if r.seconds[offset] == nil {
		r.seconds[offset] = new(second)
	}
	return r.seconds[offset]
}

// Clock returns the samples' evidence against the clocks.
func (r *Recorder) Clock() Clock { return r.clock }

// IsCut returns true if a second beyond MaxSecond has no row in Seconds.
func (r *Recorder) IsCut() bool { return r.isCut }

// Histograms returns the samples of each stage, entity, operation and second.
func (r *Recorder) Histograms() histogram.Set { return r.blocks.Set() }

// Stages returns a row for every stage, entity and operation with samples, sorted, each with its
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

// Seconds returns the Series: every second from 0 to the last second with anything known.
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
	// A bucket is named by its upper end, perhaps above the exact maximum.
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

// MergeStages adds up the histograms of rows of one stage, of several Runs. Percentiles are the
// percentiles of all samples together. Rows of different stages, or without a histogram, are
// errors.
func MergeStages(rows ...Stage) (Stage, error) {
	if len(rows) == 0 {
		return Stage{}, errors.New("merge stages: none given")
	}
	merged := rows[0]
	whole := hdrhistogram.NewPacked(1, longestUs, digits)
	for i, row := range rows {
		if row.Stage != merged.Stage || row.Entity != merged.Entity ||
			row.Operation != merged.Operation {
			return Stage{}, fmt.Errorf("merge stages: row %d is of %s %s %s, row 0 of %s %s %s", i,
				row.Stage, row.Entity, row.Operation, merged.Stage, merged.Entity, merged.Operation)
		}
		histogram, err := DecodeHistogram(row.Histogram)
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

// DecodeHistogram refuses any geometry but ours, so that merging loses nothing and stored text
// cannot ask for much memory.
func DecodeHistogram(text string) (*hdrhistogram.PackedHistogram, error) {
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

// Middle returns the middle of at least one value; of an even number, the upper of both in the
// middle.
func Middle(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
