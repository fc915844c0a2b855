package reports

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// halves are a Run and the two segments of the same Run, divided.
func halves(t *testing.T) (whole, first, second *Run) {
	t.Helper()
	random := rand.New(rand.NewPCG(5, 6))
	recorders := [3]*Recorder{NewRecorder(), NewRecorder(), NewRecorder()}
	for i := range 4000 {
		half := recorders[1+i%2]
		at, took := i/100, time.Duration(1e6*(1+9*random.ExpFloat64()))
		for _, r := range []*Recorder{recorders[0], half} {
			entity, op := []string{"customer", "order"}[i/2%2],
				[]string{"insert", "update", "delete"}[i%3]
			r.Offered(at)
			r.Committed(at)
			r.Visible(at)
			r.Add(E2E, entity, op, at, took)
			r.Add(Commit, entity, op, at, took/3)
		}
	}
	runs := [3]*Run{}
	for i, recorder := range recorders {
		r, share := describedRun(), int64(1)
		if i > 0 {
			share = 2
			r.Provenance.Config[ConfigSegment] = fmt.Sprintf("%d/2", i)
		}
		r.Looks = Looks{Seconds: describedLooks().Seconds, Gauges: []Gauge{lagLooks}}
		r.Stages, r.Series, r.Clock = recorder.Stages(), recorder.Seconds(), recorder.Clock()
		r.Histograms = recorder.Histograms()
		r.TestRun.DurationSeconds = 40
		r.Summary.TotalOperations = 4000 / share
		r.Summary.Throughput = Throughput{Offered: 100 / float64(share), Mean: 100 / float64(share),
			Max: 100 / float64(share)}
		r.Ledger.Writes = 4000 / share
		r.Consistency = Consistency{Checked: true, Rows: 3000 / share, Documents: 3000 / share,
			Counts: map[RowStatus]int64{OK: 3000 / share}}
		r.Conclude()
		runs[i] = r
	}
	return runs[0], runs[1], runs[2]
}

// TestMerge: the segments of a load add up to the whole, to the sample.
func TestMerge(t *testing.T) {
	t.Parallel()
	whole, first, second := halves(t)
	merged, err := Merge(first, second)
	if err != nil {
		t.Fatal(err)
	}
	if err := merged.Validate(); err != nil {
		t.Error(err)
	}
	for i := range merged.Stages { // a histogram only knows the mean of the buckets
		merged.Stages[i].Mean = 0
	}
	for i := range whole.Stages {
		whole.Stages[i].Mean = 0
	}
	slices.SortFunc(merged.Stages, func(a, b Stage) int {
		return strings.Compare(a.Stage+"\x00"+a.Entity+"\x00"+a.Operation,
			b.Stage+"\x00"+b.Entity+"\x00"+b.Operation)
	})
	if diff := cmp.Diff(whole.Stages, merged.Stages); diff != "" {
		t.Errorf("stages: %s", diff)
	}
	if diff := cmp.Diff(whole.Series, merged.Series); diff != "" {
		t.Errorf("series: %s", diff)
	}
	if diff := cmp.Diff(whole.Histograms, merged.Histograms); diff != "" {
		t.Errorf("histograms: %s", diff)
	}
	whole.Summary.Latency.Mean, merged.Summary.Latency.Mean = 0, 0
	if diff := cmp.Diff(whole.Summary, merged.Summary); diff != "" {
		t.Errorf("summary: %s", diff)
	}
	if diff := cmp.Diff(whole.Consistency, merged.Consistency); diff != "" {
		t.Errorf("consistency: %s", diff)
	}
	if merged.Verdict.Status != Pass || merged.Ledger.Writes != 4000 ||
		first.Ledger.Writes != 2000 {
		t.Errorf("%+v, %d writes", merged.Verdict, merged.Ledger.Writes)
	}
}

// TestMergeTakesTheWorst: a defect of a segment is a defect of the whole.
func TestMergeTakesTheWorst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*Run)
		says  string
	}{
		"lost":    {func(r *Run) { r.Consistency.Counts[Lost] = 1 }, "lost"},
		"dropped": {func(r *Run) { r.Summary.DroppedIterations = 3 }, "dropped 3 iterations"},
		"drops": {func(r *Run) { r.Summary.DroppedIterations = -1 },
			"not known whether the generator dropped"},
		"late":    {func(r *Run) { r.Generator.LateTicksP99Ms = 60 }, "saturated"},
		"partial": {func(r *Run) { r.TestRun.Partial = true }, "before its time"},
		"k6": {func(r *Run) {
			r.Thresholds.Violations = []Violation{{"k6 checks", "rate>0.9",
				0.5}}
		}, "K6 checks"},
		"errors": {func(r *Run) { r.Summary.Errors.Total = 30 }, "Error rate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, first, second := halves(t)
			c.spoil(second)
			merged, err := Merge(first, second)
			if err != nil || merged.Verdict.Status == Pass ||
				!strings.Contains(strings.Join(merged.Verdict.Reasons, ""), c.says) {
				t.Errorf("%v, %+v, want %q", err, merged.Verdict, c.says)
			}
		})
	}
}

// TestMergeOfUnequalStarts: the merged Run begins with the first segment, and everything else keeps
// its place.
func TestMergeOfUnequalStarts(t *testing.T) {
	t.Parallel()
	_, first, second := halves(t)
	first.Looks = describedLooks()
	second.TestRun.StartTime = first.TestRun.StartTime.Add(-10 * time.Second)
	merged, err := Merge(first, second)
	if err != nil {
		t.Fatal(err)
	}
	if at := merged.Looks.Seconds[1]; at != 17 || first.Looks.Seconds[1] != 7 {
		t.Errorf("a look of second 7 is at %v, and was moved in the segment itself to %v", at,
			first.Looks.Seconds[1])
	}
	if r := merged.TestRun; r.DurationSeconds != 50 || r.Duration != "50s" ||
		!r.StartTime.Equal(second.TestRun.StartTime) {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(strings.Join(merged.Warnings, ""), "began up to 10 s apart") ||
		merged.Series[5].Offered != second.Series[5].Offered {
		t.Errorf("%q, %+v", merged.Warnings, merged.Series[5])
	}
}

// TestMergeOfLoadsApart: loads that met only in part are less than one load of their sum.
func TestMergeOfLoadsApart(t *testing.T) {
	t.Parallel()
	for seconds, status := range map[int]Status{0: Pass, 2: Pass, -2: Pass, 10: Unknown,
		-10: Unknown, 39: Unknown} {
		_, first, second := halves(t)
		second.TestRun.StartTime = first.TestRun.StartTime.Add(time.Duration(seconds) * time.Second)
		second.TestRun.EndTime = second.TestRun.StartTime.Add(40 * time.Second)
		merged, err := Merge(first, second)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "run.json")
		if err := merged.Save(path); err != nil {
			t.Fatal(err)
		}
		stored, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if merged.Verdict.Status != status || stored.Verdict.Status != status ||
			status != Pass && !strings.Contains(merged.Verdict.Reasons[0], "at the same time") {
			t.Errorf("%d s apart: %+v, stored %+v, want %s", seconds, merged.Verdict,
				stored.Verdict, status)
		}
	}
}

// TestMergeOfOtherTimes: loads that never met are no load, whatever a clock says, and cost nothing.
func TestMergeOfOtherTimes(t *testing.T) {
	t.Parallel()
	_, _, second := halves(t)
	for name, start := range map[string]time.Time{
		"right after":     second.TestRun.StartTime.Add(40 * time.Second),
		"an hour later":   second.TestRun.StartTime.Add(time.Hour),
		"an hour earlier": second.TestRun.StartTime.Add(-time.Hour),
		"1970":            time.Unix(0, 0),
		"the first year":  time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC),
		"the last year":   time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		_, first, second := halves(t)
		first.TestRun.StartTime, first.TestRun.EndTime = start, start.Add(time.Minute)
		for _, runs := range [][]*Run{{first, second}, {second, first}} {
			if _, err := Merge(runs...); err == nil ||
				!strings.Contains(err.Error(), "did not run at the same time: segment ") ||
				!strings.Contains(err.Error(), "when segment ") {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
	// An endless load meets every other, and still must not ask for a second of memory each.
	_, first, second := halves(t)
	first.TestRun.StartTime, first.TestRun.DurationSeconds = time.Unix(0, 0), 9e9
	if _, err := Merge(first, second); err == nil ||
		!strings.Contains(err.Error(), "can be merged") {
		t.Errorf("an endless load: %v", err)
	}
}

// TestMergeKeepsTheDoubts: what was in doubt in a segment is in doubt in the whole.
func TestMergeKeepsTheDoubts(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(a, b *Run){
		"stood still for 3000 ms":  func(_, b *Run) { b.Lab.LongestStopMs = 3000 },
		"stood still for 3001 ms":  func(a, _ *Run) { a.Lab.LongestStopMs = 3001 },
		"clock jumped by -9000 ms": func(_, b *Run) { b.Lab.ClockStepMs = -9000 },
		"not drained when":         func(_, b *Run) { b.Consistency.NotDrained("9 are behind") },
		"The threshold k6 x has no sample": func(a, b *Run) {
			a.Thresholds.Unmeasured, b.Thresholds.Unmeasured = []string{"k6 x"}, []string{"k6 x"}
		},
		"": func(a, _ *Run) { a.Thresholds.Unmeasured = []string{"k6 x"} },
	} {
		_, first, second := halves(t)
		spoil(first, second)
		merged, err := Merge(first, second)
		if err != nil {
			t.Fatal(err)
		}
		if v := merged.Verdict; (want == "") != (v.Status == Pass) ||
			!strings.Contains(strings.Join(v.Reasons, "\n"), want) {
			t.Errorf("%+v, want %q", v, want)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(a, b *Run) []*Run{
		"1 runs, want two": func(a, _ *Run) []*Run { return []*Run{a} },
		"is whole": func(a, b *Run) []*Run {
			delete(b.Provenance.Config,
				ConfigSegment)
			return []*Run{a, b}
		},
		"is segment 1/2 like": func(a, _ *Run) []*Run { return []*Run{a, a} },
		"another scenario's text": func(a,
			b *Run) []*Run {
			b.Provenance.ScenarioSHA256 = "x"
			return []*Run{a, b}
		},
		"another tracker": func(a, b *Run) []*Run {
			b.Tracker.Kind = "poll"
			return []*Run{a,
				b}
		},
		"another seed": func(a, b *Run) []*Run { b.Provenance.Seed++; return []*Run{a, b} },
		"another stack": func(a,
			b *Run) []*Run {
			b.Provenance.Stack = "native"
			return []*Run{a, b}
		},
		"another MongoDB server": func(a,
			b *Run) []*Run {
			b.Provenance.MongoKind = "mongod"
			return []*Run{a, b}
		},
		"another consumer program": func(a,
			b *Run) []*Run {
			b.Provenance.ConsumerSHA256 = "x"
			return []*Run{a, b}
		},
		"another configuration": func(a,
			b *Run) []*Run {
			b.Provenance.Config["rate"] = "200"
			return []*Run{a, b}
		},
		"2 segments of 3": func(a, b *Run) []*Run { return renumbered(a, b) },
		"another number of segment": func(a,
			b *Run) []*Run {
			b.Provenance.Config[ConfigSegment] = "2/3"
			return []*Run{a, b}
		},
	} {
		_, first, second := halves(t)
		if _, err := Merge(spoil(first, second)...); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func renumbered(a, b *Run) []*Run {
	a.Provenance.Config[ConfigSegment], b.Provenance.Config[ConfigSegment] = "1/3", "2/3"
	return []*Run{a, b}
}
