package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cdclab/cdclab/reports"
)

// oddRuns is how many runs get a part of the odd variables each; a run takes some 10 s.
const oddRuns = 5

// noise begins the reasons that a busy machine may give in one run, and not in the other.
var noise = []string{"The machine was too busy", "Other machines took", "The generator was",
	"The generator dropped", "The lab itself stood still", "The tracker was starved", "E2e ",
	"The pipeline had not drained", "Achieved rate", "Processor use", "Memory use"}

// outcome is what two equal runs share, whatever the machine does meanwhile.
func outcome(run *reports.Run) *reports.Run {
	p := run.Provenance
	p.Command = nil // the folder
	load := run.Load
	load.Operations, load.AskedOperations = reports.Operations{}, reports.Operations{}
	load.Scenarios = slices.Clone(load.Scenarios)
	for i := range load.Scenarios { // k6 may start the iteration that is due at the very end
		load.Scenarios[i].Iterations, load.Scenarios[i].Writes = 0, 0
	}
	reasons := slices.DeleteFunc(slices.Clone(run.Verdict.Reasons), func(reason string) bool {
		return slices.ContainsFunc(noise, func(begin string) bool {
			return strings.HasPrefix(reason, begin)
		})
	})
	c := run.Consistency
	return &reports.Run{
		Provenance: p, Load: load, Notes: run.Notes,
		Verdict: reports.Verdict{Reasons: reasons},
		Tracker: reports.Tracker{Kind: run.Tracker.Kind, AskedShare: run.Tracker.AskedShare},
		Consistency: reports.Consistency{Checked: c.Checked, Error: c.Error,
			Rows: c.Rows - c.Counts[reports.OK]},
	}
}

// TestOddRuns: whole runs with parts of the odd variables have the settings, the load and the
// reasons of a run without.
func TestOddRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the lab several times; left out by -short")
	}
	text, err := os.ReadFile(filepath.Join("stack", "process", "testdata", "odd.txt"))
	if err != nil {
		t.Fatal(err)
	}
	odd, random, cache := strings.Fields(string(text)), rand.New(rand.NewPCG(17, 1)), ownCache(t)
	var plain *reports.Run
	for n := range 1 + oddRuns {
		var these []string
		for _, setting := range odd {
			if n > 0 && random.IntN(3) == 0 {
				these = append(these, setting)
			}
		}
		out := t.TempDir()
		l := startLabWith(t, cache, these, "bench", "smoke", "--rate", "20", "--duration", "2s",
			"--warmup", "1s", "--quiet", "--out", out)
		<-l.ended
		run, err := reports.Load(filepath.Join(out, "run.json"))
		if err != nil {
			t.Fatalf("with %q: %v\n%s", these, err, &l.text)
		}
		if n == 0 {
			plain = run
			continue
		}
		if n := run.Summary.TotalOperations; n < 38 || n > 42 {
			t.Errorf("with %q: %d operations, want 40", these, n)
		}
		if diff := cmp.Diff(outcome(plain), outcome(run), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("run %d with %q: %s\n%s", n, these, diff, fmt.Sprint(run.Warnings))
		}
	}
}
