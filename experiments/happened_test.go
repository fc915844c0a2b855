package experiments

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/experiments/schedule"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
)

// happening is a load as the ledger and k6's summary tell.
type happening struct {
	// script is k6's reading of the script.
	script string
	change func(*Config)
	header ledger.Header
	writes []ledger.Write
	end    ledger.End
	// summary has k6's counts of iterations.
	finished, dropped int64
	// cut leaves the ledger's end out.
	cut bool
}

// read returns the Run of the happening.
func (h happening) read(t *testing.T, faults ...reports.FaultWindow) *reports.Run {
	t.Helper()
	test, err := schedule.Read([]byte(h.script))
	if err != nil {
		t.Fatal(err)
	}
	e := &environment{asked: DefaultConfig(), test: test}
	if h.change != nil {
		h.change(&e.asked)
	}
	e.config = e.asked
	l := &load{environment: e, test: test, k6: &generator{dir: t.TempDir()}, run: &reports.Run{
		Faults: faults, Load: e.plannedLoad(test),
		Provenance: reports.Provenance{Seed: e.config.seed(), Config: e.settings()},
	}}
	w, err := ledger.Create(l.k6.ledgerPath(), h.header)
	if err != nil {
		t.Fatal(err)
	}
	for i := range h.writes {
		w.Append(&h.writes[i])
	}
	if h.cut {
		err = w.Break()
	} else {
		err = w.Close(h.end)
	}
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, l.k6.summaryPath(), fmt.Sprintf(`{"metrics": {"iterations": {"count": %d}, `+
		`"dropped_iterations": {"count": %d}}}`, h.finished, h.dropped))
	if err := l.readLedger(); err != nil {
		t.Fatal(err)
	}
	return l.run
}

// arriving is a script with one scenario of a constant rate.
func arriving(name string, rate, seconds int) string {
	return fmt.Sprintf(`{"scenarios": {%q: {"executor": "constant-arrival-rate", "rate": %d, `+
		`"duration": "%ds"}}}`, name, rate, seconds)
}

// dueAt returns writes at the times, as many as each in one iteration.
func dueAt(each int, seconds ...float64) (all []ledger.Write) {
	for _, at := range seconds {
		for range each {
			all = append(all, due(int64(len(all)+1), int64(at*float64(second))))
		}
	}
	return all
}

// every returns n times, so far apart.
func every(apart float64, n int) (seconds []float64) {
	for i := range n {
		seconds = append(seconds, 10+apart*float64(i))
	}
	return seconds
}

// told is an end of one scenario that began at second 10.
func told(name string, iterations int64, drainedAt float64) ledger.End {
	return ledger.End{
		Scenarios: []ledger.Scenario{{Name: name, StartNs: 10 * second, Iterations: iterations}},
		DrainNs:   int64(drainedAt * float64(second)),
	}
}

// TestHappened: rates and lengths follow from the schedule, whatever the gaps between the writes,
// and a missing part of the load is told.
func TestHappened(t *testing.T) {
	t.Parallel()
	closed := `{"scenarios": {"load": {"executor": "shared-iterations", "vus": 50, ` +
		`"iterations": 50}}}`
	for name, c := range map[string]struct {
		happening
		offered, seconds float64
		model, differs   string // the sentence; "" for none
	}{
		"as planned": {happening{script: arriving("load", 4, 5),
			writes: dueAt(1, every(0.25, 20)...),
			end:    told("load", 20, 15.1), finished: 20}, 4, 5, "open", ""},
		"five writes an iteration": {happening{script: arriving("load", 4, 3),
			writes: dueAt(5, every(0.25, 12)...), end: told("load", 12, 13.1), finished: 12},
			20, 3, "open", ""},
		"sixty a minute": {happening{script: strings.Replace(arriving("load", 60, 5),
			`"rate"`, `"timeUnit": "1m", "rate"`, 1), writes: dueAt(1, every(1, 5)...),
			end: told("load", 5, 15.1), finished: 5}, 1, 5, "open", ""},
		"one more at the very end": {happening{script: arriving("load", 2, 2),
			writes: dueAt(1, every(0.5, 5)...), end: told("load", 5, 12.1), finished: 5},
			2, 2.5, "open", ""},
		"all at one instant": {happening{script: closed, writes: dueAt(50, 10),
			end: told("load", 50, 10.2), finished: 50}, 50, 1, "closed", ""},
		"half of the iterations throw": {happening{script: arriving("load", 4, 10),
			writes: dueAt(1, every(0.5, 20)...), end: told("load", 20, 20.1), finished: 40},
			4, 10, "open", "20 finished iterations of k6 asked for no write"},
		"virtual users that throw": {happening{script: closed, writes: dueAt(1, every(0.1, 30)...),
			end: told("load", 30, 20), finished: 50}, 5, 10, "closed",
			"20 finished iterations of k6 asked for no write"},
		"dropped": {happening{script: arriving("load", 4, 10), writes: dueAt(1, every(0.5, 20)...),
			end: told("load", 20, 20.1), finished: 20, dropped: 20}, 4, 10, "open", ""},
		"iterations that never ended": {happening{script: arriving("load", 4, 10),
			writes: dueAt(1, every(0.5, 20)...), end: told("load", 20, 20.1), finished: 20},
			2, 10, "open", "k6 planned 40 iterations, and 20 asked for a write."},
		"ended before its time": {happening{script: arriving("load", 4, 10),
			writes: dueAt(1, every(0.25, 20)...), end: told("load", 20, 15), finished: 20},
			4, 5, "open", "The load lasted 5 s of 10 s."},
		"a part of it": {happening{script: arriving("load", 4, 10),
			change: func(c *Config) { c.Segment = "2/2" },
			writes: dueAt(1, every(0.5, 20)...), end: told("load", 20, 20.1), finished: 20},
			2, 10, "open", ""},
		"without an end": {happening{script: arriving("load", 4, 5), finished: 20,
			writes: dueAt(1, every(0.25, 20)...), cut: true}, 4, 5, "open", ""},
		"one write without an end": {happening{script: arriving("load", 4, 5), finished: 1,
			writes: dueAt(1, 10), cut: true}, 1, 1, "open", ""},
	} {
		run := c.read(t)
		got, all := run.Summary.Throughput.Offered, strings.Join(run.Load.Differences, "\n")
		if math.Abs(got-c.offered) > 0.001 ||
			math.Abs(run.TestRun.DurationSeconds-c.seconds) > 0.001 {
			t.Errorf("%s: %v/s offered in %v s, want %v/s in %v s", name, got,
				run.TestRun.DurationSeconds, c.offered, c.seconds)
		}
		if run.Load.Model != c.model || !strings.Contains(all, c.differs) ||
			(c.differs == "") != (all == "") {
			t.Errorf("%s: model %q, differences %q, want %q", name, run.Load.Model, all, c.differs)
		}
		if c.cut && run.Ledger.Writes != int64(len(c.writes)) {
			t.Errorf("%s: %d writes of %d", name, run.Ledger.Writes, len(c.writes))
		}
		run.Conclude()
		if unknown := strings.Contains(strings.Join(run.Verdict.Reasons, "\n"), all); !unknown ||
			all != "" && run.Verdict.Status == reports.Pass {
			t.Errorf("%s: verdict %+v, want the differences in it", name, run.Verdict)
		}
	}
}

// TestHappenedMix: the mix is the written one, and a mix for which there are no rows is said.
func TestHappenedMix(t *testing.T) {
	t.Parallel()
	mixed := func(inserts, updates, becameInserts int) (all []ledger.Write) {
		all = dueAt(1, every(0.01, inserts+updates+becameInserts)...)
		for i := range updates {
			all[i].Op = ledger.Update
		}
		for i := range becameInserts {
			all[updates+i].AskedOp = ledger.Delete
		}
		return all
	}
	of := func(mix string) func(*Config) { return func(c *Config) { c.Mix = mix } }
	seed := func(c *Config) { c.Seed = new(int64(7)) }
	for name, c := range map[string]struct {
		change  func(*Config)
		header  ledger.Header
		writes  []ledger.Write
		differs string
	}{
		"as asked": {of("50/50/0"), ledger.Header{}, mixed(52, 48, 0), ""},
		"no rows": {nil, ledger.Header{}, mixed(1, 0, 99), "99 writes of 100 became another, " +
			"because no row was free: the mix is 100/0/0 instead of 1/0/99."},
		"few rows": {of("50/50/0"), ledger.Header{}, mixed(50, 49, 1), ""},
		"another": {of("20/80/0"), ledger.Header{}, mixed(80, 20, 0),
			"The script asked for a mix of 80/20/0 instead of 20/80/0."},
		"own seed": {seed, ledger.Header{Seed: 5, Overridden: []string{"seed"}}, mixed(100, 0, 0),
			"The script itself sets seed: the run is not of what was asked for."},
		"seed of nobody": {nil, ledger.Header{Seed: 5, Overridden: []string{"seed"}},
			mixed(100, 0, 0), ""},
		"own options": {func(c *Config) { c.Options = `{"tracker": "poll"}` },
			ledger.Header{Overridden: []string{"postgres", "tracker"}}, mixed(100, 0, 0),
			"The script itself sets postgres, tracker"},
	} {
		run := happening{script: arriving("load", 100, 1), change: c.change, header: c.header,
			writes: c.writes, end: told("load", 100, 11.1), finished: 100}.read(t)
		all := strings.Join(run.Load.Differences, "\n")
		if !strings.Contains(all, c.differs) || (c.differs == "") != (all == "") {
			t.Errorf("%s: %q, want %q", name, all, c.differs)
		}
		if got := run.Load.Operations; got.Insert+got.Update+got.Delete != 100 {
			t.Errorf("%s: %+v", name, got)
		}
		if len(c.header.Overridden) > 0 && c.header.Seed > 0 && run.Provenance.Seed != 5 {
			t.Errorf("%s: the run is of seed %d", name, run.Provenance.Seed)
		}
		if _, kept := run.Provenance.Config["option tracker"]; kept {
			t.Errorf("%s: the run keeps an option that was not in force", name)
		}
	}
}

// TestHappenedScenarios: each scenario has its own numbers; the offsets of faults count from the
// beginning of the load, though another scenario wrote first.
func TestHappenedScenarios(t *testing.T) {
	t.Parallel()
	warm := due(100, 5*second)
	warm.Scenario = ledger.Warmup
	late := due(101, 13*second)
	late.Scenario = "late"
	run := happening{
		script: `{"scenarios": {"warmup": {"executor": "constant-vus", "duration": "5s"},
			"load": {"executor": "constant-arrival-rate", "rate": 2, "duration": "5s",
				"startTime": "5s"},
			"late": {"executor": "constant-vus", "vus": 2, "duration": "5s", "startTime": "7s"}}}`,
		change: func(c *Config) { c.Rate = new(2) },
		writes: append(dueAt(1, every(0.5, 10)...), warm, late),
		end: ledger.End{DrainNs: 18 * second, Scenarios: []ledger.Scenario{
			{Name: "warmup", StartNs: 5 * second, Iterations: 1},
			{Name: "late", StartNs: 12 * second, Iterations: 1},
			{Name: "load", StartNs: 10 * second, Iterations: 10},
		}},
		finished: 12,
	}.read(t, reports.FaultWindow{StartSeconds: 1, EndSeconds: 2})
	want := reports.Workload{
		Model: "mixed", PlannedSeconds: 7, Asked: map[string]string{"rate": "2"},
		Scenarios: []reports.ScenarioLoad{
			{Name: "warmup", Schedule: "constant-vus 1 VU 5s", PlannedSeconds: 5, Planned: -1,
				Iterations: 1, Writes: 1},
			{Name: "load", Schedule: "constant-arrival-rate 2/s 5s after 5s", Measured: true,
				Open: true, PlannedSeconds: 5, Planned: 10, Iterations: 10, Writes: 10},
			{Name: "late", Schedule: "constant-vus 2 VUs 5s after 7s", Measured: true,
				PlannedSeconds: 5, Planned: -1, Iterations: 1, Writes: 1},
		},
		Operations:      reports.Operations{Insert: 11},
		AskedOperations: reports.Operations{Insert: 11},
	}
	if diff := cmp.Diff(want, run.Load); diff != "" {
		t.Error(diff)
	}
	if f := run.Faults[0]; f.StartSeconds != 3 || f.EndSeconds != 4 {
		t.Errorf("the fault was from second %v to %v, want 3 to 4: its clock began with %q",
			f.StartSeconds, f.EndSeconds, "late")
	}
	if run.TestRun.DurationSeconds != 7 {
		t.Errorf("%v s, want 7", run.TestRun.DurationSeconds)
	}
}

// TestNoLedger: a script that never started the generator was not ended before its time, and
// measured nothing.
func TestNoLedger(t *testing.T) {
	t.Parallel()
	run := storable()
	l := &load{environment: &environment{}, k6: &generator{dir: t.TempDir()}, run: run}
	l.read()
	run.Conclude()
	if reasons := strings.Join(run.Verdict.Reasons, "\n"); run.TestRun.Partial ||
		run.Verdict.Status != reports.Unknown ||
		!strings.Contains(reasons, "There is no ledger: the script never called start()") {
		t.Errorf("partial %v, %+v", run.TestRun.Partial, run.Verdict)
	}
}
