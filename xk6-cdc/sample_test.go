package cdc

import (
	"math"
	"testing"
	"time"

	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

func TestIsSampled(t *testing.T) {
	t.Parallel()
	const n = 20_000
	for _, share := range []float64{0, 0.01, 0.5, 1} {
		chosen, runs, before := 0, 0, false
		for id := range int64(n) {
			is := isSampled(id+1, share)
			if is {
				chosen++
			}
			if is != before {
				runs++
			}
			before = is
		}
		if want := n * share; math.Abs(float64(chosen)-want) > 5*math.Sqrt(want*(1-share)) {
			t.Errorf("share %v: %d of %d", share, chosen, n)
		}
		if want := 2 * n * share * (1 - share); share < 1 && math.Abs(float64(runs)-want) > 6*math.Sqrt(want)+2 {
			t.Errorf("share %v: %d changes, want about %.0f: neighbours are not independent", share, runs, want)
		}
	}
}

// A write that was left out is not waited for, but a delete of a row that is waited for is.
func TestUntrackedWrites(t *testing.T) {
	t.Parallel()
	tracker, recorded := tracked(time.Hour)
	untracked := func(id int64, op ledger.Op) *pending {
		p := &pending{kind: &kind{op: op}, row: &row{key: "k"}, id: id, untracked: true}
		tracker.expect(p)
		return p
	}
	tracker.settle(untracked(1, ledger.Update), ledger.Acked, 10, nil)
	tracker.settle(untracked(2, ledger.Delete), ledger.Acked, 11, nil)
	if len(tracker.waiting) != 0 || len(*recorded) != 2 || !(*recorded)[1].Untracked || tracker.snapshot().outstanding != 0 {
		t.Fatalf("waiting %v, recorded %+v", tracker.waiting, *recorded)
	}
	tracker.settle(expect(tracker, 3, ledger.Update), ledger.Acked, 12, nil)
	tracker.settle(untracked(4, ledger.Update), ledger.Acked, 13, nil)
	tracker.settle(untracked(5, ledger.Delete), ledger.Acked, 14, nil)
	tracker.saw("k", 4, true, 20)
	for _, w := range (*recorded)[3:] {
		if w.Untracked || w.VisibleNs != 20 {
			t.Errorf("%+v", w)
		}
	}
	if c := tracker.snapshot(); len(*recorded) != 5 || len(tracker.waiting) != 0 || c.outstanding != 0 || c.eligible != 5 || c.tracked != 2 {
		t.Errorf("%d recorded, %+v", len(*recorded), c)
	}
}

// With a share of the trends k6 gets that share of the times, and every count and rate.
func TestTrendsShare(t *testing.T) {
	t.Parallel()
	registry := metrics.NewRegistry()
	instruments, err := register(registry)
	if err != nil {
		t.Fatal(err)
	}
	options := DefaultOptions()
	options.Trends = 0.1
	lab := newLab(options, instruments, nil)
	const writes = 2000
	for id := range int64(writes) {
		p := &pending{kind: &kind{op: ledger.Insert, tags: registry.RootTagSet()}, row: &row{key: "k"}, id: id,
			committedNs: 2, visibleNs: 3, sentNs: 1, fate: ledger.Acked}
		lab.samples.settled(p)
		lab.samples.visible(p)
	}
	counts := map[string]int{}
	for _, s := range lab.samples.take() {
		counts[s.Metric.Name]++
	}
	for _, all := range []string{MetricWrites, MetricSuccess, MetricTimeout} {
		if counts[all] != writes {
			t.Errorf("%s: %d samples, want %d", all, counts[all], writes)
		}
	}
	for _, share := range []string{MetricLatency, MetricQuery, MetricDelay, MetricCommit, MetricPipeline} {
		if n := counts[share]; n < 150 || n > 250 || n != counts[MetricLatency] {
			t.Errorf("%s: %d samples, want about 200, as many as of each trend", share, n)
		}
	}
}

func TestLabSamples(t *testing.T) {
	t.Parallel()
	target, source := startServer(t), startDatabase(t)
	lab, _ := labOn(t, target, func(o *Options) {
		o.Postgres, o.SeedRows, o.Sample, o.Mix = source.dsn(), 20, 0.25, Mix{50, 30, 20}
	})
	startCopier(t, source, target, lab.options.Database)
	if err := lab.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	for range 400 {
		if err := lab.enqueue(request{scenario: "load", mix: lab.options.Mix, intendedNs: lab.now(), part: part{entity: anyEntity}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	_, lines, end := readLedger(t, lab)
	kept := 0
	for _, w := range lines {
		switch {
		case w.Untracked == (w.VisibleNs != 0) || w.Untracked && w.Scenario == "seed":
			t.Errorf("%+v", w)
		case w.Scenario == "load" && !w.Untracked:
			kept++
			if !isSampled(w.ID, 0.25) && w.Op != ledger.Delete {
				t.Errorf("not in the sample: %+v", w)
			}
		case w.Untracked && isSampled(w.ID, 0.25):
			t.Errorf("in the sample: %+v", w)
		}
	}
	if len(lines) != 420 || end.SampleAsked != 0.25 || end.SampleKept != float64(kept)/400 || kept < 60 || kept > 200 {
		t.Errorf("%d lines, %d kept, end %+v", len(lines), kept, end)
	}
}
