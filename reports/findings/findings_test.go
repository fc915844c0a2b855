package findings

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/histogram"
)

// noises are the p99s of the seconds of a run without any clock.
var noises = map[string]func(random *rand.Rand, n int) []float64{
	"even": func(random *rand.Rand, n int) []float64 {
		return drawn(n, func(int) float64 { return 10 * math.Exp(0.3*random.NormFloat64()) })
	},
	"long tail": func(random *rand.Rand, n int) []float64 {
		return drawn(n, func(int) float64 { return 10 / math.Pow(random.Float64(), 0.8) })
	},
	"stalls at random, longer than a second": func(random *rand.Rand, n int) []float64 {
		high := 0.0
		return drawn(n, func(int) float64 {
			if high *= 0.6; random.Float64() < 0.05 {
				high = 500 * random.ExpFloat64()
			}
			return 10*math.Exp(0.3*random.NormFloat64()) + high
		})
	},
	"growing": func(random *rand.Rand, n int) []float64 {
		return drawn(n, func(i int) float64 {
			return float64(5+i) * math.Exp(0.5*random.NormFloat64())
		})
	},
	"a slow minute": func(random *rand.Rand, n int) []float64 {
		from := random.IntN(n)
		return drawn(n, func(i int) float64 {
			slow := 1.0
			if i >= from && i < from+60 {
				slow = 20
			}
			return slow * 10 * math.Exp(0.5*random.NormFloat64())
		})
	},
}

func drawn(n int, one func(i int) float64) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = one(i)
	}
	return all
}

// TestNoiseHasNoClock: of runs without a clock at most one in a hundred has a pattern.
func TestNoiseHasNoClock(t *testing.T) {
	t.Parallel()
	const runs = 200
	for name, noise := range noises {
		found := 0
		for seed := range uint64(runs) {
			random := rand.New(rand.NewPCG(seed, 7))
			if p := findPattern(noise(random, 120+random.IntN(300)), 1); p.likely <= chance {
				found++
			}
		}
		t.Logf("%s: a pattern in %d of %d runs", name, found, runs)
		if found > runs/100 {
			t.Errorf("%s: a pattern in %d of %d runs", name, found, runs)
		}
	}
}

// TestClockIsFound: of runs of five minutes, with stalls on a clock beside five at random, most
// have their pattern by its period.
func TestClockIsFound(t *testing.T) {
	t.Parallel()
	const runs = 50
	// Five beats among five stalls at random are hard to tell.
	for period, least := range map[float64]int{60: 35, 30: 45, 20: 45, 7.3: 45} {
		found := 0
		for seed := range uint64(runs) {
			random := rand.New(rand.NewPCG(seed, 8))
			worst := noises["even"](random, 300)
			for range 5 { // at random
				worst[random.IntN(300)] += 200 * random.ExpFloat64()
			}
			for at := period * random.Float64(); at < 300; at += period {
				worst[int(at)] += 100 + at
			}
			p := findPattern(worst, 1)
			if p.likely <= chance && math.Abs(p.period-period) < 0.03*period {
				found++
			}
		}
		t.Logf("every %v s: found in %d of %d runs", period, found, runs)
		if found < least {
			t.Errorf("every %v s: found in %d of %d runs", period, found, runs)
		}
	}
}

// made is a Run of five minutes at 100/s; stalled is the time that a write of an entity and second
// waits for MongoDB.
func made(stalled func(entity string, second int) time.Duration) *reports.Run {
	random := rand.New(rand.NewPCG(1, 2))
	recorder := reports.NewRecorder()
	entities := []string{"customer", "address", "order", "order_item"}
	const seconds, rate = 300, 100
	for i := range seconds * rate {
		second, entity := i/rate, entities[random.IntN(4)]
		ms := func(median float64) time.Duration {
			return time.Duration(median * math.Exp(0.3*random.NormFloat64()) * 1e6)
		}
		delay, commit, pipeline := ms(0.1), ms(0.5), ms(3)+stalled(entity, second)
		for stage, took := range map[string]time.Duration{reports.ScheduleDelay: delay,
			reports.Commit: commit, reports.Pipeline: pipeline,
			reports.E2E: delay + commit + pipeline} {
			recorder.Add(stage, entity, "insert", second, took)
		}
		recorder.Offered(second)
	}
	r := &reports.Run{TestRun: reports.TestRun{DurationSeconds: seconds}}
	r.Stages, r.Series, r.Histograms = recorder.Stages(), recorder.Seconds(), recorder.Histograms()
	gauges := map[string]*reports.Gauge{}
	put := func(component, name, unit string, value float64) {
		key := component + name
		if gauges[key] == nil {
			gauges[key] = &reports.Gauge{Component: component, Name: name, Unit: unit}
		}
		gauges[key].Values = append(gauges[key].Values, value)
	}
	for second := range seconds {
		r.Looks.Seconds = append(r.Looks.Seconds, float64(second)+0.9)
		var waited time.Duration
		for before := max(0, second-4); before <= second; before++ {
			waited = max(waited, stalled("customer", before))
		}
		busy := 20 + 5*random.Float64()
		if stalled("customer", second) > 0 {
			busy += 60
		}
		put("mongo", reports.GaugeCPU, "%", busy)
		put("postgres", reports.GaugeCPU, "%", 20+5*random.Float64())
		for _, stage := range reports.PartStages[2:] {
			value := -1.0
			if second%5 == 4 {
				if value = 1 + random.Float64(); stage == reports.ConsumerToApplied {
					value += float64(waited) / 5e6
				}
			}
			put("consumer", reports.StageGauge(stage, reports.GaugeMean), "ms", value)
			put("consumer", reports.StageGauge(stage, reports.GaugeP99), "ms", 3*value)
		}
	}
	for _, g := range gauges {
		r.Looks.Gauges = append(r.Looks.Gauges, *g)
	}
	r.Conclude()
	return r
}

func text(all []Finding) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "%s: %s\n", f.Rule, f.Sentence)
		for _, figure := range f.Figures {
			fmt.Fprintf(&b, "- %s\n", figure)
		}
	}
	return b.String()
}

func TestFind(t *testing.T) {
	t.Parallel()
	checkpoint := func(second int) time.Duration {
		if second%60 == 53 {
			return time.Duration(100+second) * time.Millisecond
		}
		return 0
	}
	for name, c := range map[string]struct {
		stalled  func(entity string, second int) time.Duration
		want     []string
		findings int
	}{
		"clean": {func(string, int) time.Duration { return 0 }, nil, 0},
		"every minute": {func(_ string, second int) time.Duration { return checkpoint(second) },
			[]string{"Every 60 s the pipeline stalls in the stage consumer → applied: e2e p99 is 2",
				"growing", "5 of 5 beats, in seconds 53, 113, 173, 233, 293",
				"pipeline: ", "consumer → applied: p99 up to", "beside: mongo cpu 8",
				"slowest writes (from ", "seconds 113, 173, 233, 293"}, 2},
		"once": {func(_ string, second int) time.Duration {
			if second >= 100 && second < 104 {
				return 400 * time.Millisecond
			}
			return 0
		}, []string{"the tail: ", "were due in ",
			"of 300 s, and lost their time in the stage consumer → " +
				"applied.", "beside: mongo cpu"}, 1},
		"an entity": {func(entity string, second int) time.Duration {
			if entity == "order" && second%7 == 3 {
				return 90 * time.Millisecond
			}
			return 0
		}, []string{"order: 100 % of the slowest writes, and 2"}, -1},
	} {
		got := text(Find(made(c.stalled)))
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got\n%swant %q", name, got, want)
			}
		}
		if n := len(Find(made(c.stalled))); c.findings >= 0 && n != c.findings {
			t.Errorf("%s: %d findings\n%s", name, n, got)
		}
	}
}

// TestStallsOfFaultsAreTheirs: a fault on a clock is no stall of the pipeline's own, and the tail
// names the fault.
func TestStallsOfFaultsAreTheirs(t *testing.T) {
	t.Parallel()
	r := made(func(_ string, second int) time.Duration {
		if second%60 < 2 {
			return 500 * time.Millisecond
		}
		return 0
	})
	for at := 0; at < 300; at += 60 {
		r.Faults = append(r.Faults, reports.FaultWindow{Name: "kill consumer", Applied: true,
			StartSeconds: float64(at), EndSeconds: float64(at) + 1, RecoveredSeconds: 1})
	}
	got := text(Find(r))
	if strings.Contains(got, "periodic") || !strings.Contains(got, "the fault kill consumer") {
		t.Errorf("got\n%s", got)
	}
}

// TestLongRunsAreQuick: the search for a clock is bounded in the longest Run.
func TestLongRunsAreQuick(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 9))
	worst := noises["even"](random, histogram.MaxBlocks)
	for at := 77; at < len(worst); at += 240 {
		worst[at] += 300
	}
	began := time.Now()
	p := findPattern(worst, 16)
	if p.likely > chance || math.Abs(p.period-240) > 1 {
		t.Errorf("period %v, %v by chance", p.period, p.likely)
	}
	t.Logf("took %v", time.Since(began))
}

// TestCleanRunHasNone: the stored baselines, measured on a quiet machine, show nothing.
func TestCleanRunHasNone(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../../baselines/embedded/baseline/*/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%q, %v", paths, err)
	}
	for _, path := range paths {
		run, err := reports.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(run.Series) < 300 {
			t.Fatalf("%d seconds: %s is too short to show anything", len(run.Series), path)
		}
		if got := text(Find(run)); got != "" {
			t.Errorf("%s: got\n%s", path, got)
		}
	}
}
