package reports

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// ConfigSegment is the member of Provenance.Config that says which part of a divided load a Run is,
// "1/2" or "2/2".
const ConfigSegment = "segment"

// Merge puts the Runs of a divided load together, which k6 generated in several processes, perhaps on
// several machines, at the same time and into one pipeline: counts add up, histograms too, so
// percentiles are those of all samples, and each Run's table check was of its own rows. Every
// latency was measured by one clock; the seconds of the Series are laid over each other by the
// machines' clocks. What was seen beside the load is the first Run's, with its seconds laid like those.
func Merge(runs ...*Run) (*Run, error) {
	if len(runs) < 2 {
		return nil, fmt.Errorf("merge: %d runs, want two or more", len(runs))
	}
	if err := mergeable(runs); err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	m := *runs[0]
	m.Notes, m.Warnings, m.Thresholds = nil, nil, Thresholds{}
	m.mergeTestRun(runs)
	m.mergeCounts(runs)
	m.mergeMeasuring(runs)
	m.mergeConsistency(runs)
	if err := m.mergeStages(runs); err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	if err := m.mergeSeries(runs); err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	m.Conclude()
	return &m, nil
}

// mergeable: of one load, and each of another part of it.
func mergeable(runs []*Run) error {
	seen := map[string]bool{}
	for i, r := range runs {
		segment := r.Provenance.Config[ConfigSegment]
		if segment == "" {
			return fmt.Errorf("run %d, %s, is whole: only segments of one load can be merged", i+1, r.TestRun.ID)
		}
		if seen[segment] {
			return fmt.Errorf("run %d, %s, is segment %s like another one", i+1, r.TestRun.ID, segment)
		}
		seen[segment] = true
		first := runs[0]
		for _, d := range []struct{ what, a, b string }{
			{"scenario", first.TestRun.Scenario, r.TestRun.Scenario},
			{"scenario's text", first.Provenance.ScenarioSHA256, r.Provenance.ScenarioSHA256},
			{"number of segments", after(first.Provenance.Config[ConfigSegment]), after(segment)},
			{"tracker", first.Tracker.Kind, r.Tracker.Kind},
			{"stack", first.Provenance.Stack, r.Provenance.Stack},
			{"MongoDB server", first.Provenance.MongoKind, r.Provenance.MongoKind},
			{"consumer program", first.Provenance.ConsumerSHA256, r.Provenance.ConsumerSHA256},
			{"seed", fmt.Sprint(first.Provenance.Seed), fmt.Sprint(r.Provenance.Seed)},
			{"configuration", configText(first), configText(r)},
		} {
			if d.a != d.b {
				return fmt.Errorf("run %d, %s, has another %s: %q instead of %q", i+1, r.TestRun.ID, d.what, d.b, d.a)
			}
		}
	}
	if whole := after(runs[0].Provenance.Config[ConfigSegment]); whole != fmt.Sprint(len(runs)) {
		return fmt.Errorf("%d segments of %s", len(runs), whole)
	}
	return nil
}

// configText is a Run's configuration but for the segment.
func configText(r *Run) string {
	var all []string
	for _, name := range sortedKeys(r.Provenance.Config) {
		if name != ConfigSegment {
			all = append(all, name+" "+r.Provenance.Config[name])
		}
	}
	return strings.Join(all, ", ")
}

// after is "2" of "1/2".
func after(segment string) string {
	_, whole, _ := strings.Cut(segment, "/")
	return whole
}

func (r *Run) mergeTestRun(runs []*Run) {
	t, config := &r.TestRun, map[string]string{}
	for name, value := range r.Provenance.Config {
		if name != ConfigSegment {
			config[name] = value
		}
	}
	config["merged"] = plural(int64(len(runs)), "segment", "segments")
	r.Provenance.Config = config
	t.ID += "-merged"
	for _, one := range runs {
		o := &one.TestRun
		if o.StartTime.Before(t.StartTime) {
			t.StartTime = o.StartTime
		}
		if o.EndTime.After(t.EndTime) {
			t.EndTime = o.EndTime
		}
		t.Partial = t.Partial || o.Partial
		r.Notes, r.Warnings = withMissing(r.Notes, one.Notes), withMissing(r.Warnings, one.Warnings)
		for _, v := range one.Thresholds.Violations {
			if strings.HasPrefix(v.Name, "k6 ") {
				r.Thresholds.Violations = append(r.Thresholds.Violations, v)
			}
		}
	}
	var apart float64
	for _, one := range runs {
		later := one.TestRun.StartTime.Sub(t.StartTime).Seconds()
		apart, t.DurationSeconds = max(apart, later), max(t.DurationSeconds, later+one.TestRun.DurationSeconds)
	}
	t.Duration = time.Duration(math.Round(t.DurationSeconds) * 1e9).String()
	if apart > 1 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the segments began up to %s s apart", number(apart)))
	}
	// The looks are the first Run's.
	later := runs[0].TestRun.StartTime.Sub(t.StartTime).Seconds()
	r.Looks.Seconds = slices.Clone(r.Looks.Seconds)
	for i := range r.Looks.Seconds {
		r.Looks.Seconds[i] += later
	}
}

// withMissing is all, and what of more is not in it yet.
func withMissing(all, more []string) []string {
	for _, one := range more {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

func (r *Run) mergeCounts(runs []*Run) {
	r.Summary, r.Ledger, r.Clock = Summary{}, Ledger{}, Clock{Offsets: r.Clock.Offsets, NotMeasured: r.Clock.NotMeasured}
	var paths []string
	for _, one := range runs {
		s, o := &r.Summary, &one.Summary
		s.TotalOperations += o.TotalOperations
		s.Throughput.Offered += o.Throughput.Offered
		s.Throughput.Mean += o.Throughput.Mean
		s.Errors.Total += o.Errors.Total
		if s.DroppedIterations < 0 || o.DroppedIterations < 0 {
			s.DroppedIterations = -1
		} else {
			s.DroppedIterations += o.DroppedIterations
		}
		s.Timeouts += o.Timeouts
		s.Late += o.Late
		s.Indeterminate += o.Indeterminate
		r.Ledger.Writes += one.Ledger.Writes
		r.Ledger.Truncated = r.Ledger.Truncated || one.Ledger.Truncated
		paths = append(paths, one.Ledger.Path)
		r.Clock.NegativeSpans += one.Clock.NegativeSpans
		r.Clock.ClampedSpans += one.Clock.ClampedSpans
	}
	r.Ledger.Path = strings.Join(paths, ", ")
	r.Summary.Errors.Rate = float64(r.Summary.Errors.Total) / float64(max(1, r.Summary.TotalOperations))
}

// mergeMeasuring takes the worst of what says how well it was measured.
func (r *Run) mergeMeasuring(runs []*Run) {
	r.Faults = nil
	t, g := Tracker{Kind: r.Tracker.Kind}, Generator{}
	var weight float64
	for _, one := range runs {
		o, n := &one.Tracker, float64(one.Summary.TotalOperations)
		t.TrackedShare, t.AskedShare, weight = t.TrackedShare+n*o.TrackedShare, t.AskedShare+n*o.AskedShare, weight+n
		t.Errors, t.Operations = t.Errors+o.Errors, t.Operations+o.Operations
		t.MedianLookMs, t.SlowestLookMs = max(t.MedianLookMs, o.MedianLookMs), max(t.SlowestLookMs, o.SlowestLookMs)
		// Each counted the same server.
		t.ServerOperations = max(t.ServerOperations, o.ServerOperations)
		t.BudgetAsked, t.BudgetKept = t.BudgetAsked+o.BudgetAsked, t.BudgetKept+o.BudgetKept
		p := &one.Generator
		g.LateTicksP99Ms, g.QueueMax = max(g.LateTicksP99Ms, p.LateTicksP99Ms), g.QueueMax+p.QueueMax
		g.Substituted, g.GCPauseMaxMs = g.Substituted+p.Substituted, max(g.GCPauseMaxMs, p.GCPauseMaxMs)
		g.SchedulerDelayP99Ms = max(g.SchedulerDelayP99Ms, p.SchedulerDelayP99Ms)
		if one.Floor.P50 > r.Floor.P50 {
			r.Floor = one.Floor
		}
		r.Host.CPUBusyPercent = max(r.Host.CPUBusyPercent, one.Host.CPUBusyPercent)
		r.Host.CPUStealPercent = max(r.Host.CPUStealPercent, one.Host.CPUStealPercent)
		r.Faults = append(r.Faults, one.Faults...)
	}
	t.TrackedShare, t.AskedShare = t.TrackedShare/max(1, weight), t.AskedShare/max(1, weight)
	r.Tracker, r.Generator = t, g
}

func (r *Run) mergeConsistency(runs []*Run) {
	c := Consistency{Checked: true, Counts: map[string]int64{}}
	var wrong []string
	for _, one := range runs {
		o := &one.Consistency
		c.Checked = c.Checked && o.Checked
		c.Rows, c.Documents = c.Rows+o.Rows, c.Documents+o.Documents
		for status, n := range o.Counts {
			c.Counts[status] += n
		}
		c.Examples = append(c.Examples, o.Examples...)
		if o.Error != "" {
			wrong = append(wrong, o.Error)
		}
	}
	c.Error = strings.Join(wrong, "; ")
	r.Consistency = c
}

// mergeStages adds up the histograms. The consumer's own stages have none: every Run asked the same
// consumer, and the one that saw most of it says most.
func (r *Run) mergeStages(runs []*Run) error {
	rows := map[stageKey][]Stage{}
	var order []stageKey
	for _, one := range runs {
		for _, s := range one.Stages {
			key := stageKey{s.Stage, s.Entity, s.Operation}
			if rows[key] == nil {
				order = append(order, key)
			}
			rows[key] = append(rows[key], s)
		}
	}
	r.Stages = nil
	for _, key := range order {
		all := rows[key]
		if slices.ContainsFunc(all, func(s Stage) bool { return s.Histogram == "" }) {
			r.Stages = append(r.Stages, slices.MaxFunc(all, func(a, b Stage) int { return int(a.Count - b.Count) }))
			continue
		}
		merged, err := MergeStages(all...)
		if err != nil {
			return err
		}
		r.Stages = append(r.Stages, merged)
	}
	return nil
}

// mergeSeries lays the seconds over each other and adds them up.
func (r *Run) mergeSeries(runs []*Run) error {
	seconds := map[int]*Second{}
	histograms := map[int][]Stage{}
	last := -1
	for _, one := range runs {
		shift := int(math.Round(one.TestRun.StartTime.Sub(r.TestRun.StartTime).Seconds()))
		for _, s := range one.Series {
			at := s.Second + shift
			last = max(last, at)
			if seconds[at] == nil {
				seconds[at] = &Second{Second: at}
			}
			into := seconds[at]
			into.Offered, into.Committed, into.Visible = into.Offered+s.Offered, into.Committed+s.Committed, into.Visible+s.Visible
			into.Max = max(into.Max, s.Max)
			if s.Histogram != "" {
				histograms[at] = append(histograms[at], Stage{Latency: Latency{Max: s.Max}, Histogram: s.Histogram})
			}
		}
	}
	r.Series = make([]Second, last+1)
	var outstanding int64
	for at := range r.Series {
		row := Second{Second: at}
		if seconds[at] != nil {
			row = *seconds[at]
		}
		if len(histograms[at]) > 0 {
			merged, err := MergeStages(histograms[at]...)
			if err != nil {
				return errors.Join(fmt.Errorf("second %d", at), err)
			}
			row.P50, row.P95, row.P99, row.Histogram = merged.P50, merged.P95, merged.P99, merged.Histogram
		}
		outstanding += row.Committed - row.Visible
		row.Outstanding = max(0, outstanding)
		r.Summary.Throughput.Max = max(r.Summary.Throughput.Max, float64(row.Committed))
		r.Series[at] = row
	}
	return nil
}
