package trend

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/archive"
)

// nights is a group of Runs, a night each, with the e2e latency times a factor of the night, and
// commits that change every other night.
func nights(t *testing.T, n int, factor func(night int) float64) archive.Group {
	t.Helper()
	stored, err := reports.Load("../testdata/good.json")
	if err != nil {
		t.Fatal(err)
	}
	group := archive.Group{Key: archive.KeyOf(stored)}
	for i := range n {
		run := *stored
		run.TestRun.ID = fmt.Sprintf("nightly-%d", i)
		run.TestRun.StartTime = time.Date(2026, 9, 1+i, 3, 0, 0, 0, time.UTC)
		run.Provenance.Commit = fmt.Sprintf("%040x", 1000+i/2)
		run.Stages = nil
		for _, stage := range stored.Stages {
			if stage.Stage == reports.E2E {
				stage.P50 *= factor(i) * (1 + 0.01*float64(i%3))
			}
			run.Stages = append(run.Stages, stage)
		}
		group.Entries = append(group.Entries, archive.Entry{Path: run.TestRun.ID, Run: &run})
	}
	return group
}

// TestFind: one step of 10 % in 50 nights is an alarm with the range of commits; Runs that failed
// do not count; a step down is no alarm.
func TestFind(t *testing.T) {
	t.Parallel()
	step := func(night int) float64 {
		if night >= 31 {
			return 1.1
		}
		return 1
	}
	group := nights(t, 50, step)
	got := Find(group, DefaultOptions)
	want := "with run nightly-31 of 2026-10-02 03:00: the commit is the same, so the machine"
	if len(got.Alarms) != 1 || !strings.Contains(got.Alarms[0], want) ||
		!strings.Contains(got.Alarms[0], "e2e p50 changed by +10.") || len(got.Better) != 0 ||
		!got.IsWorse() {
		t.Errorf("%q, %q", got.Alarms, got.Better)
	}
	got = Find(nights(t, 50, func(n int) float64 { return step(n + 1) }), DefaultOptions)
	if len(got.Alarms) != 1 || !strings.Contains(got.Alarms[0],
		fmt.Sprintf("first commits %s..%s", fmt.Sprintf("%040x", 1014)[:12],
			fmt.Sprintf("%040x", 1015)[:12])) {
		t.Errorf("%q", got.Alarms)
	}
	if got := Find(nights(t, 50, func(n int) float64 { return 2 - step(n) }),
		DefaultOptions); len(got.Alarms) != 0 || len(got.Better) != 1 || got.IsWorse() {
		t.Errorf("a step down: %q, %q", got.Alarms, got.Better)
	}
	failed := nights(t, 50, func(n int) float64 { return 1 + 20*float64(n/45) })
	for _, entry := range failed.Entries[45:] {
		entry.Run.Verdict = reports.Verdict{Status: reports.Fail, Reasons: []string{"lost"}}
	}
	if got := Find(failed, DefaultOptions); len(got.Alarms) != 0 || got.Runs != 45 {
		t.Errorf("of failed runs: %d runs, %q", got.Runs, got.Alarms)
	}
	long := Find(nights(t, 80, func(n int) float64 { return step(n - 29) }), DefaultOptions)
	if long.Runs != Nights || len(long.Alarms) != 1 {
		t.Errorf("%d runs, %q", long.Runs, long.Alarms)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	group := nights(t, 20, func(n int) float64 { return 1 + float64(n/12) })
	group.Key.Machine = "<script>alert(1)</script>"
	few := nights(t, 2, func(int) float64 { return 1 })
	trends := []Trend{Find(group, DefaultOptions), Find(few, DefaultOptions)}
	var text, html, history bytes.Buffer
	if err := WriteText(&text, trends); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"WORSE: e2e p50 changed by +", "▁▁▁", "█",
		"2 sound runs: a change is found among 6 or more"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &text)
		}
	}
	if err := WritePage(&html, trends); err != nil || strings.Contains(html.String(), "<script") ||
		strings.Contains(html.String(), "NaN") || strings.Count(html.String(), "<svg") != 6 ||
		!strings.Contains(html.String(), "<strong>Worse:</strong> e2e p50") {
		t.Errorf("%v\n%s", err, &html)
	}
	if err := WriteHistory(&history, []archive.Group{group}); err != nil ||
		!strings.Contains(history.String(), "20 runs\n  e2e p50 (ms)") {
		t.Errorf("%v\n%s", err, &history)
	}
}

func TestSparkline(t *testing.T) {
	t.Parallel()
	for want, values := range map[string][]float64{
		"": nil, "▁": {5}, "▁▁▁": {0, 0, 0}, "▁█": {-1, 1}, "▁▄█": {10, 15, 20},
	} {
		if got := Sparkline(values); got != want {
			t.Errorf("%v is %q, want %q", values, got, want)
		}
	}
}
