package cdc

import (
	"math"
	"testing"
	"time"

	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
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
		if want := 2 * n * share * (1 - share); share < 1 &&
			math.Abs(float64(runs)-want) > 6*math.Sqrt(want)+2 {
			t.Errorf("share %v: %d changes, want about %.0f: neighbours are not independent", share,
				runs, want)
		}
	}
}

// With a share of the trends, k6 gets the same share of the times, and every count and rate.
func TestTrendsShare(t *testing.T) {
	t.Parallel()
	registry := metrics.NewRegistry()
	instruments, err := register(registry)
	if err != nil {
		t.Fatal(err)
	}
	options := DefaultOptions()
	options.Trends = 0.1
	g := newGenerator(options, instruments, nil)
	const writes = 2000
	for id := range int64(writes) {
		p := &tracker.Pending{Kind: &tracker.Kind{Op: ledger.Insert, Tags: registry.RootTagSet()},
			Row: &tables.Row{Key: "k"}, ID: id,
			CommittedNs: 2, VisibleNs: 3, SentNs: 1, Fate: ledger.Acked}
		g.samples.settled(p)
		g.samples.visible(p)
	}
	counts := map[string]int{}
	for _, s := range g.samples.take() {
		counts[s.Metric.Name]++
	}
	for _, all := range []string{MetricWrites, MetricSuccess, MetricTimeout} {
		if counts[all] != writes {
			t.Errorf("%s: %d samples, want %d", all, counts[all], writes)
		}
	}
	for _, share := range []string{MetricLatency, MetricQuery, MetricDelay, MetricCommit,
		MetricPipeline} {
		if n := counts[share]; n < 150 || n > 250 || n != counts[MetricLatency] {
			t.Errorf("%s: %d samples, want about 200, as many as of each trend", share, n)
		}
	}
}

func TestGeneratorSamples(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	g, _ := generatorOn(t, target, func(o *Options) {
		o.Postgres, o.SeedRows, o.Sample, o.Mix = source.DSN(), 20, 0.25,
			tables.Mix{Insert: 50, Update: 30, Delete: 20}
	})
	startCopier(t, source, target, g.options.Database)
	if err := g.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	for range 400 {
		if err := g.enqueue(request{scenario: "load", mix: g.options.Mix, intendedNs: g.now(),
			Part: tables.Part{Table: tables.Any}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	_, lines, end := readLedger(t, g)
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
	if len(lines) != 420 || end.SampleAsked != 0.25 || end.SampleKept != float64(kept)/400 ||
		kept < 60 || kept > 200 {
		t.Errorf("%d lines, %d kept, end %+v", len(lines), kept, end)
	}
}
