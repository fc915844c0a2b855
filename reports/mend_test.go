package reports

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// TestMend: a measured run with a member that cannot be true is stored all the same, says what was
// left out, and keeps the rest.
func TestMend(t *testing.T) {
	t.Parallel()
	for says, spoil := range map[string]func(*Run){
		"summary.throughput.offered: got +Inf": func(r *Run) {
			r.Summary.Throughput.Offered = math.Inf(1)
		},
		"thresholds.violations[0].value: got NaN": func(r *Run) {
			r.Thresholds = Thresholds{Violations: []Violation{{Name: "k6 m", Limit: "< 1",
				Value: math.NaN()}}}
		},
		"consistency.counts.ok: got -1": func(r *Run) { r.Consistency.Counts[OK] = -1 },
		"testRun.endTime: ": func(r *Run) {
			r.TestRun.EndTime = r.TestRun.StartTime.Add(-time.Hour)
		},
		"stages[1]: a second row": func(r *Run) { r.Stages[1] = r.Stages[0] },
		"series[3].offered: got -1": func(r *Run) {
			for i := 3; i < len(r.Series); i++ {
				r.Series[i].Offered, r.Series[i].Visible, r.Series[i].Max = -1, -1, math.NaN()
			}
		},
		"deliveries.again: ": func(r *Run) {
			r.Deliveries = Deliveries{Counted: true, Events: 2, Again: 3}
		},
		"faults[0].endSeconds: ": func(r *Run) {
			r.Faults = []FaultWindow{{Name: "x", StartSeconds: 1}}
		},
	} {
		run := goodRun(t)
		spoil(run)
		run.Mend()
		got, err := Decode(strings.NewReader(encoded(t, run)))
		if err != nil {
			t.Errorf("%s: %v", says, err)
			continue
		}
		if !strings.HasPrefix(got.LeftOut[0], says) {
			t.Errorf("%s: left out %q", says, got.LeftOut)
		}
		for _, verdict := range []Verdict{got.Verdict, Judge(got)} {
			reasons := strings.Join(verdict.Reasons, "\n")
			if verdict.Status == Pass || !strings.Contains(reasons, "could not be true: "+says) {
				t.Errorf("%s: verdict %v", says, verdict)
			}
		}
		if got.Summary.TotalOperations != 6000 || got.Provenance.Commit == "" {
			t.Errorf("%s: the rest is lost too: %+v", says, got.Summary)
		}
	}
}

// TestMendLeavesASoundRunAlone: nothing is mended where nothing is wrong.
func TestMendLeavesASoundRunAlone(t *testing.T) {
	t.Parallel()
	for name, run := range examples(t) {
		before := encoded(t, run)
		run.Mend()
		if diff := cmp.Diff(before, encoded(t, run)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestMendAnything spoils random members with random values: whatever was measured can be stored
// and read back.
func TestMendAnything(t *testing.T) {
	t.Parallel()
	good := encoded(t, chaosRun(t))
	rapid.Check(t, func(t *rapid.T) {
		run, err := Decode(strings.NewReader(good))
		if err != nil {
			t.Fatal(err)
		}
		leaves := leavesOf(reflect.ValueOf(run).Elem())
		for range rapid.IntRange(1, 300).Draw(t, "spoilt") {
			spoil(t, leaves[rapid.IntRange(0, len(leaves)-1).Draw(t, "leaf")])
		}
		run.Mend()
		var text bytes.Buffer
		if err := run.Encode(&text); err != nil {
			t.Fatal(err)
		}
		got, err := Decode(&text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(run, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

// leavesOf returns the members of a value that hold one number, text or list.
func leavesOf(v reflect.Value) (leaves []reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		return []reflect.Value{v}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			leaves = append(leaves, leavesOf(v.Field(i))...)
		}
		return leaves
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			leaves = append(leaves, leavesOf(v.Index(i))...)
		}
	}
	return append(leaves, v)
}

// spoil gives a member a value that nobody measures.
func spoil(t *rapid.T, v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(rapid.SampledFrom([]time.Time{{}, time.Unix(0, 0).UTC(),
			time.Unix(1<<33, 0).UTC()}).Draw(t, "time")))
	case v.CanInt():
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case v.CanFloat():
		v.SetFloat(rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 1e300,
			0.5}).Draw(t, "float"))
	case v.Kind() == reflect.String:
		v.SetString(rapid.SampledFrom([]string{"", "nonsense", "pass", "e2e"}).Draw(t, "text"))
	case v.Kind() == reflect.Slice && v.Len() > 1:
		v.Set(reflect.AppendSlice(v.Slice(1, v.Len()), v.Slice(0, 1)))
	case v.Kind() == reflect.Map && v.Type().Elem().Kind() == reflect.Int64:
		v.SetMapIndex(reflect.ValueOf(RowStatus("nonsense")), reflect.ValueOf(int64(-2)))
	}
}
