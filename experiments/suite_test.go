package experiments

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

func TestSuitesOfTheLab(t *testing.T) {
	root, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(root, "experiments", "suites", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no suites: %v", err)
	}
	for _, path := range paths {
		suite, err := LoadSuite(path)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, run := range suite.Runs {
			c := run.Apply(DefaultConfig())
			if _, err := c.scenarioPath(root); err != nil || c.Validate() != nil {
				t.Errorf("%s: %v, %v", path, err, c.Validate())
			}
		}
	}
}

func TestSuiteMistakes(t *testing.T) {
	for text, says := range map[string]string{
		"name: x\n":              "no runs",
		"runs:\n  - {rate: 5}\n": "run 1 has no scenario",
		"runs:\n  - {scenario: smoke, raet: 5}\n": "[2:",
		"runs: [": "suite.yaml",
		"runs:\n  - {scenario: smoke, rate: 0}\n":      "run 1, smoke: rate 0: want a positive",
		"runs:\n  - {scenario: smoke, rate: 10.7}\n":   "run 1, smoke: rate 10.7 is not a whole",
		"runs:\n  - {scenario: smoke, duration: 0s}\n": "run 1, smoke: duration 0s: want a posi",
		"runs:\n  - {scenario: smoke, mix: 1/1/1}\n":   `run 1, smoke: mix "1/1/1": want`,
	} {
		path := filepath.Join(t.TempDir(), "suite.yaml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSuite(path); err == nil || !strings.Contains(err.Error(), says) ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func TestSuiteEntryOverridesTheCommandLine(t *testing.T) {
	c := DefaultConfig()
	c.Rate, c.Duration, c.Mix = new(7), new(time.Minute), "80/10/10"
	got := SuiteEntry{Scenario: "spike", Duration: new(time.Second)}.Apply(c)
	if got.Scenario != "spike" || *got.Rate != 7 || *got.Duration != time.Second ||
		got.Mix != "80/10/10" {
		t.Errorf("%+v", got)
	}
}

func TestSegments(t *testing.T) {
	c := DefaultConfig()
	for _, kind := range []string{stack.Embedded, stack.Native} {
		c.Segment, c.Stack.Kind = "1/2", kind
		if err := c.Validate(); err == nil ||
			!strings.Contains(err.Error(), "with --stack external") {
			t.Errorf("a segment on the %s stack: %v", kind, err)
		}
	}
	c.Stack.Kind = stack.External
	for segment, want := range map[string]string{
		"":    "",
		"1/2": "--execution-segment 0:1/2 --execution-segment-sequence 0,1/2,1",
		"3/3": "--execution-segment 2/3:1 --execution-segment-sequence 0,1/3,2/3,1",
	} {
		c.Segment = segment
		if got := strings.Join(c.segmentFlags(), " "); got != want || c.Validate() != nil {
			t.Errorf("%q: %q, %v; want %q", segment, got, c.Validate(), want)
		}
	}
	for _, segment := range []string{"1", "0/2", "3/2", "1/1", "a/b", "1/2/3"} {
		c.Segment = segment
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), segment) {
			t.Errorf("%q: %v", segment, err)
		}
	}
	scenarios := SuiteOf([]string{"smoke", "spike"})
	if n := slices.IndexFunc(scenarios.Runs, func(e SuiteEntry) bool {
		return e.Scenario == "spike"
	}); n != 1 {
		t.Errorf("%+v", scenarios)
	}
}

// TestInterruptedSuite: a scenario that was not run is in the suite's result, and the suite cannot
// pass without.
func TestInterruptedSuite(t *testing.T) {
	t.Parallel()
	passed := &Result{Run: &reports.Run{Verdict: reports.Verdict{Status: reports.Pass}}}
	for _, c := range []struct {
		scenarios   string
		interruptAt int
		status      string
		lines       []string
	}{
		{"smoke spike", 3, "PASS", []string{"smoke       fine", "spike       fine"}},
		{"smoke spike", 2, "PASS", []string{"smoke       fine", "spike       fine"}},
		{"smoke spike", 1, "UNKNOWN", []string{"smoke       fine",
			"spike       NOT RUN  the suite was interrupted before"}},
		{"smoke", 0, "UNKNOWN", []string{"smoke       NOT RUN  the suite was interrupted before"}},
		{"broken spike", 1, "COULD NOT RUN", []string{"broken      COULD NOT RUN  broken",
			"spike       NOT RUN  the suite was interrupted before"}},
		{"", 1, "UNKNOWN", nil},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		runs := 0
		finish := func() {
			if runs++; runs == c.interruptAt {
				interrupt()
			}
		}
		if c.interruptAt == 0 {
			interrupt()
		}
		got, err := SuiteOf(strings.Fields(c.scenarios)).runEach(ctx, Config{},
			func(_ context.Context, one Config) (*Result, error) {
				defer finish()
				if one.Scenario == "broken" {
					return nil, errors.New("broken")
				}
				return passed, nil
			}, func(*Result) (string, error) { return "fine", nil })
		interrupt()
		if err != nil || got.Status != c.status || !slices.Equal(got.Runs, c.lines) {
			t.Errorf("%q interrupted after %d: %v, %+v, want %s %q", c.scenarios,
				c.interruptAt, err, got, c.status, c.lines)
		}
		if pass := got.Verdict.Status == reports.Pass; pass && c.status == "UNKNOWN" {
			t.Errorf("%q: verdict %+v decides the exit code", c.scenarios, got.Verdict)
		}
	}
}
