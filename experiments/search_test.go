package experiments

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdclab/cdclab/reports"
)

// searched runs a search on a pipeline made up by the test.
func searched(start float64, holds func(rate float64) bool) bracket {
	var b bracket
	for len(b) < mostProbes-1 && !b.over() {
		rate := b.next(start)
		b = append(b, tried{rate, holds(rate)})
	}
	return b
}

// TestSearchFindsTheBreakpoint: a search succeeds from any start given by the ramp, also far off
// and at very low rates.
func TestSearchFindsTheBreakpoint(t *testing.T) {
	t.Parallel()
	for _, breaks := range []float64{3, 11, 97, 640, 5000} {
		for _, off := range []float64{0.4, 0.8, 1, 1.3, 2.5} {
			start := max(1, float64(int(off*breaks)))
			b := searched(start, func(rate float64) bool { return rate <= breaks })
			held, broke := b.sides()
			if held > breaks || broke <= breaks || broke > max(searchEnds*held, held+1) ||
				!b.over() {
				t.Errorf("from %g: %g held, %g did not, it is %g; tried %v", start, held, broke,
					breaks, b)
			}
		}
	}
}

// TestSearchWithNoise: within 4 % of the breakpoint a probe comes out either way, and one in six
// probes below breaks by accident. The found rate is within 10 % in nearly all searches, and never
// a rate that cannot hold.
func TestSearchWithNoise(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	const breaks, searches = 800.0, 2000
	good := 0
	for range searches {
		b := searched(breaks*(0.6+0.6*random.Float64()), func(rate float64) bool {
			if rate > 0.96*breaks && rate < 1.04*breaks {
				return random.IntN(2) == 0
			}
			return rate < breaks && random.IntN(6) > 0
		})
		held, broke := b.sides()
		if held > 1.04*breaks || broke > 0 && broke <= held {
			t.Fatalf("%g held, %g did not: %v", held, broke, b)
		}
		if held > 0.9*breaks {
			good++
		}
	}
	if good < searches*95/100 {
		t.Errorf("%d of %d searches came within 10 %%", good, searches)
	}
	t.Logf("%d of %d searches came within 10 %%", good, searches)
}

// TestSearchTakesBack: an accident far below the breakpoint does not end the search there.
func TestSearchTakesBack(t *testing.T) {
	t.Parallel()
	first := true
	b := searched(500, func(rate float64) bool {
		accident := first
		first = false
		return !accident && rate <= 640
	})
	if held, broke := b.sides(); held < 615 || held > 640 || broke <= 640 || b[0].held {
		t.Errorf("%g held, %g did not: %v", held, broke, b)
	}
}

// TestSearchWithoutEnd: a pipeline that never breaks, or never holds, leaves a side open.
func TestSearchWithoutEnd(t *testing.T) {
	t.Parallel()
	up := searched(100, func(float64) bool { return true })
	if held, broke := up.sides(); held < 1000 || broke != 0 || len(up) != mostProbes-1 {
		t.Errorf("%g held, %g did not: %v", held, broke, up)
	}
	down := searched(10, func(float64) bool { return false })
	if held, broke := down.sides(); held != 0 || broke != 1 || !down.over() {
		t.Errorf("%g held, %g did not: %v", held, broke, down)
	}
}

// TestInterruptedSearch: a search keeps the best rate so far after each probe, and also where the
// next probe fails.
func TestInterruptedSearch(t *testing.T) {
	t.Parallel()
	folder := prepareOut(t, t.TempDir(), Breakpoint)
	e := &environment{out: folder, config: Config{Say: func(string) {}}}
	loadOf := func(name string, operations int64) *load {
		dir := filepath.Join(folder.Path, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		run := storable()
		run.Summary.TotalOperations = operations
		l := &load{environment: e, k6: &generator{dir: dir}, run: run, wasRead: true}
		writeFile(t, l.k6.startedPath(), "1")
		return l
	}
	whole := loadOf(".", 0)
	whole.run.Notes = []string{"of the stack"}
	s := &search{whole: whole, ramped: loadOf("ramp", 1)}
	for i, rate := range []tried{{100, true}, {200, true}, {300, false}} {
		s.conclude().keep()
		stored, err := reports.Load(filepath.Join(folder.Path, runName))
		if err != nil || stored.Breakpoint.Rate != 100*float64(i) ||
			stored.Summary.TotalOperations != int64(i+1) {
			t.Errorf("after %d probes: %+v, %v", i, stored.Breakpoint, err)
		}
		s.rates, s.loads = append(s.rates, rate), append(s.loads, loadOf(fmt.Sprintf("probe-%d", i),
			int64(i+2)))
	}
	best := s.conclude()
	if err := best.interrupted(t.Context(), errors.New("no room\nfor a probe")); err != nil {
		t.Fatal(err)
	}
	run := best.run
	if run.Breakpoint.Rate != 200 || run.Breakpoint.Broke != 300 || !run.TestRun.Partial ||
		run.TestRun.EndedBy != "no room; for a probe" || run.Summary.TotalOperations != 3 ||
		run.Ledger.Path != filepath.Join("probe-1", "ledger.jsonl") || len(run.Notes) != 1 {
		t.Errorf("%+v, %+v, %d operations, ledger %s, notes %q", run.Breakpoint, run.TestRun,
			run.Summary.TotalOperations, run.Ledger.Path, run.Notes)
	}
	nothing := &load{environment: e, k6: &generator{dir: t.TempDir()}, run: storable()}
	if err := nothing.interrupted(t.Context(), errors.New("k6 is missing")); err == nil {
		t.Error("a load that never began counts as measured")
	}
}
