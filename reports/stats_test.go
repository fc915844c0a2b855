package reports

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecorder(t *testing.T) {
	t.Parallel()
	r := NewRecorder()
	for i := 1; i <= 100; i++ {
		r.Add(E2E, "order", "insert", i%2, time.Duration(i)*time.Millisecond)
	}
	r.Add(E2E, "order", "delete", 0, -time.Nanosecond)
	r.Add(E2E, "customer", "insert", 3, 11*time.Minute)
	r.Add(Commit, "", "", 0, 0)
	if diff := cmp.Diff(Clock{NegativeSpans: 1, ClampedSpans: 1}, r.Clock()); diff != "" {
		t.Error(diff)
	}
	run := &Run{Stages: r.Stages()}
	orders, ok := run.StageOf(E2E, "order", "")
	if !ok || orders.Count != 100 || orders.Mean != 50.5 || orders.Max != 100 ||
		orders.Histogram == "" {
		t.Errorf("got %+v", orders)
	}
	if p50 := orders.P50; p50 < 50 || p50 > 50.05 {
		t.Errorf("p50 is %v, want 50 with three digits", p50)
	}
	all, _ := run.StageOf(E2E, "", "")
	if all.Count != 101 || all.Max != 600_000 || all.Histogram == "" {
		t.Errorf("got %+v", all)
	}
	if commit, ok := run.StageOf(Commit, "", ""); !ok || commit.Count != 1 || commit.P99 != 0 {
		t.Errorf("got %+v", commit)
	}
	if _, ok := run.StageOf(E2E, "order", "delete"); ok {
		t.Error("a negative span was recorded")
	}
}

func TestRecorderSeconds(t *testing.T) {
	t.Parallel()
	r := NewRecorder()
	for range 3 {
		r.Offered(0)
		r.Committed(0)
	}
	r.Visible(0)
	r.Visible(2)
	r.Visible(2)
	r.Add(E2E, "order", "insert", 0, 2*time.Second)
	r.Add(Commit, "order", "insert", 1, time.Second)
	r.Offered(-1)
	r.Visible(MaxSecond + 1)
	want := []Second{
		{Second: 0, Offered: 3, Committed: 3, Visible: 1, Outstanding: 2, P50: 2000, P95: 2000,
			P99: 2000,
			Max: 2000},
		{Second: 1, Outstanding: 2},
		{Second: 2, Visible: 2},
	}
	seconds := r.Seconds()
	for i := range seconds {
		if (seconds[i].Histogram == "") != (i > 0) {
			t.Errorf("second %d has histogram %q", i, seconds[i].Histogram)
		}
		seconds[i].Histogram = ""
	}
	if diff := cmp.Diff(want, seconds); diff != "" {
		t.Error(diff)
	}
	if got := NewRecorder().Seconds(); len(got) != 0 {
		t.Errorf("nothing recorded gives %d seconds", len(got))
	}
}

func TestMergeStages(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 7))
	whole, parts := NewRecorder(), []*Recorder{NewRecorder(), NewRecorder(), NewRecorder()}
	for i := range 5000 {
		d := time.Duration(random.ExpFloat64() * float64(20*time.Millisecond))
		whole.Add(E2E, "", "", 0, d)
		parts[i%3].Add(E2E, "", "", 0, d)
	}
	var rows []Stage
	for _, part := range parts {
		rows = append(rows, part.Stages()...)
	}
	merged, err := MergeStages(rows...)
	if err != nil {
		t.Fatal(err)
	}
	want := whole.Stages()[0]
	merged.Mean = want.Mean // a histogram only knows the mean of the buckets
	if diff := cmp.Diff(want, merged); diff != "" {
		t.Error(diff)
	}
}

func TestMergeStagesRefuses(t *testing.T) {
	t.Parallel()
	r := NewRecorder()
	r.Add(E2E, "order", "insert", 0, time.Second)
	r.Add(Commit, "order", "insert", 0, time.Second)
	run := &Run{Stages: r.Stages()}
	e2e, _ := run.StageOf(E2E, "", "")
	commit, _ := run.StageOf(Commit, "", "")
	orders := Stage{Stage: E2E, Entity: "order", Count: 1}
	for want, rows := range map[string][]Stage{
		"none given":         nil,
		"row 1 is of commit": {e2e, commit},
		"no histogram":       {orders},
		"decode histogram":   {{Stage: E2E, Histogram: "HISTFAAA"}},
	} {
		if _, err := MergeStages(rows...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
