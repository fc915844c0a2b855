package render

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/reports"
)

// TestGrowthBeforeAnHour: the reader of a short soak learns that the growth was not judged.
func TestGrowthBeforeAnHour(t *testing.T) {
	t.Parallel()
	for seconds, judged := range map[float64]bool{1200: false, 3600: true} {
		r := example(t, "good")
		r.TestRun.DurationSeconds = seconds
		r.Growths = []reports.Growth{{Component: "consumer", Name: reports.GaugeHeap, Unit: "bytes",
			PerHour: 3e6, Low: 2e6, High: 4e6, Mean: 30e6}}
		var text strings.Builder
		if err := WriteText(&text, r, nil, "run.json"); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), "consumer heap") ||
			strings.Contains(text.String(), "not judged") == judged {
			t.Errorf("after %v s:\n%s", seconds, text.String())
		}
	}
}

func TestBreakpointLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		search reports.Breakpoint
		want   string
	}{
		{reports.Breakpoint{Rate: 800, HoldSeconds: 20, Broke: 830, Part: "mongo", Why: "x",
			Probes: []reports.Probe{{Rate: 900}, {Rate: 800, Held: true}}},
			"breakpoint 800/s held for 20 s, 830/s did not; first to break: mongo (x)"},
		{reports.Breakpoint{Broke: 400, Probes: make([]reports.Probe, 3)}, "no rate"},
		{reports.Breakpoint{Rate: 800, Probes: make([]reports.Probe, 2)}, "no rate"},
	} {
		lines := strings.Join(breakpointLines(&test.search), "\n")
		if !strings.Contains(lines, test.want) || strings.Contains(lines, "()") {
			t.Errorf("%q, want %q", lines, test.want)
		}
	}
}

// TestNotDrainedIsNotLost: what may still be on its way is neither lost nor stale.
func TestNotDrainedIsNotLost(t *testing.T) {
	t.Parallel()
	run := example(t, "good")
	run.Consistency.Counts[reports.Lost] = 7655
	run.Consistency.NotDrained("the consumer is 16040 records behind")
	run.Conclude()
	var text, html bytes.Buffer
	if err := errors.Join(WriteText(&text, run, nil, ""), WriteHTML(&html, run, nil)); err != nil {
		t.Fatal(err)
	}
	if line := LastLine(run, ""); !strings.HasPrefix(line, "UNKNOWN") ||
		!strings.HasSuffix(line, "|  lost ?  stale ?") {
		t.Error(line)
	}
	for _, shown := range []string{text.String(), html.String()} {
		if !strings.Contains(shown, "the consumer is 16040 records behind") ||
			!strings.Contains(shown, "7655") || strings.Contains(shown, "lost 7655") {
			t.Error(shown)
		}
	}
}

// TestStandInIsNamed: a run on a stand-in says how to get MongoDB itself, where a fetch helps, and
// a run on MongoDB says nothing of the kind.
func TestStandInIsNamed(t *testing.T) {
	t.Parallel()
	const hint = "`./just fetch mongod`"
	for _, c := range []struct {
		stack, kind      string
		standIn, hinting bool
	}{
		{"embedded", "secantusd-rs", true, true}, {"native", "secantusd-py", true, true},
		{"compose", "secantusd-rs", true, false}, {"native", "mongod", false, false},
		{"external", "given", false, false},
	} {
		run := example(t, "good")
		run.Provenance.Stack, run.Provenance.MongoKind = c.stack, c.kind
		text := strings.Join(Recommendations(run), "\n")
		if strings.Contains(text, "stand-in") != c.standIn ||
			strings.Contains(text, hint) != c.hinting || strings.Count(text, hint) > 1 {
			t.Errorf("%+v: %s", c, text)
		}
	}
}
