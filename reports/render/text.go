// Package render shows a Run: as text for a terminal, as an HTML file with charts, and two Runs
// side by side. The package judges nothing: numbers, verdicts and limits come from package reports.
// Start reading at WriteText and WriteHTML; a chart begins in chart.go, advice in advice.go.
package render

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/findings"
	"github.com/cdclab/cdclab/reports/unit"
	"github.com/cdclab/cdclab/shown"
)

// WriteText writes the summary of a Run for a terminal. The summary ends with LastLine; path is the
// place of the HTML report, shown at the end of LastLine. comparison may be nil.
func WriteText(w io.Writer, r *reports.Run, comparison *reports.Comparison, path string) error {
	var b bytes.Buffer
	textHead(&b, r)
	textStages(&b, r)
	textCounts(&b, r)
	textLoad(&b, r)
	textFaults(&b, r)
	textResources(&b, r)
	textList(&b, "Search for the breakpoint", breakpointLines(&r.Breakpoint))
	if comparison != nil {
		fmt.Fprintln(&b)
		textComparison(&b, comparison)
	}
	textFindings(&b, findings.Find(r))
	textList(&b, "Notes", r.Notes)
	textList(&b, "Warnings", r.Warnings)
	textList(&b, "Advice", Recommendations(r))
	textList(&b, "What the verdict rests on", r.Verdict.RestsOn)
	textList(&b, "Why "+string(r.Verdict.Status), r.Verdict.Reasons)
	fmt.Fprintf(&b, "\n%s\n", LastLine(r, path))
	return deliver(w, &b, "text report")
}

// LastLine is the Run on one line: verdict, e2e latency, rate, lost and stale rows, and path.
func LastLine(r *reports.Run, path string) string {
	latency := "e2e not measured"
	if l := r.Summary.Latency; r.Measured() {
		latency = fmt.Sprintf("e2e p50 %s ms  p95 %s ms  p99 %s ms", unit.Ms(l.P50), unit.Ms(l.P95),
			unit.Ms(l.P99))
	}
	lost, stale := "?", "?"
	if c := r.Consistency; c.Checked && c.Undrained == "" {
		lost, stale = fmt.Sprint(c.Counts[reports.Lost]), fmt.Sprint(c.Counts[reports.Stale])
	}
	line := fmt.Sprintf("%s  %s  |  %.1f/s of %s/s  |  lost %s  stale %s",
		strings.ToUpper(string(r.Verdict.Status)), latency, r.Summary.Throughput.Mean,
		unit.Number(r.Summary.Throughput.Offered), lost, stale)
	if path != "" {
		line += "  |  " + path
	}
	return line
}

func textHead(b *bytes.Buffer, r *reports.Run) {
	p, h := &r.Provenance, &r.Provenance.Host
	fmt.Fprintf(b, "%s: %s on the %s stack, %s from %s\n", r.TestRun.ID, r.TestRun.Scenario,
		p.Stack, r.TestRun.Duration, startText(r))
	fmt.Fprintf(b, "commit %s, %s, %s/%s, %s, %s, %s, MongoDB: %s, seed %d\n\n", commitText(p),
		p.GoVersion, h.OS, h.Arch, cmp.Or(h.CPUModel, "none"),
		unit.Plural(int64(h.Cores), "core", "cores"),
		unit.Bytes(h.MemoryBytes), p.MongoKind, p.Seed)
}

func textStages(b *bytes.Buffer, r *reports.Run) {
	row := func(name, count string, cells ...string) {
		fmt.Fprintf(b, "%s %8s", padded(name, 30), count)
		for _, cell := range cells {
			fmt.Fprintf(b, " %9s", cell)
		}
		b.WriteByte('\n')
	}
	row("Latency in ms", "count", "p50", "p95", "p99", "max")
	for _, shown := range shownStages {
		s, ok := r.StageOf(shown.stage, "", "")
		if !ok {
			continue
		}
		indent := "  "
		if shown.nested {
			indent = "    "
		}
		row(indent+reports.StageLabel(shown.stage), fmt.Sprint(s.Count),
			unit.Ms(s.P50), unit.Ms(s.P95), unit.Ms(s.P99), unit.Ms(s.Max))
	}
	if clocks := clocksText(r.Clock); clocks != "" {
		fmt.Fprintf(b, "  the stages below pipeline are by other clocks, ahead of the lab's by: "+
			"%s\n", clocks)
	}
	if f := &r.Floor; f.Writes > 0 {
		row("  floor (direct write)", fmt.Sprint(f.Writes), unit.Ms(f.P50), unit.Ms(f.P95),
			unit.Ms(f.P99))
	}
}

// padded is like %-30s, but counts characters and not bytes.
func padded(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-len([]rune(s))))
}

func textCounts(b *bytes.Buffer, r *reports.Run) {
	s := &r.Summary
	fmt.Fprintf(b, "\nrate %.1f/s of %s/s offered, at most %s/s; %s, %s (%s %%)\n",
		s.Throughput.Mean, unit.Number(s.Throughput.Offered), unit.Number(s.Throughput.Max),
		unit.Plural(s.TotalOperations, "operation", "operations"),
		unit.Plural(s.Errors.Total, "error", "errors"), unit.Number(100*s.Errors.Rate))
	fmt.Fprintf(b, "dropped iterations %s, timeouts %d (%d seen later), indeterminate %d; "+
		"generator %s ms late at p99\n", droppedText(s.DroppedIterations), s.Timeouts, s.Late,
		s.Indeterminate,
		unit.Ms(r.Generator.LateTicksP99Ms))
	fmt.Fprintf(b, "generator waited %s ms for a processor at p99, its collector stopped it for "+
		"%s ms at most\n",
		unit.Ms(r.Generator.SchedulerDelayP99Ms), unit.Ms(r.Generator.GCPauseMaxMs))
	t := &r.Tracker
	fmt.Fprintf(b, "tracker %s: %s %% of the writes, %d of MongoDB's %d operations", t.Kind,
		unit.Number(100*t.TrackedShare),
		t.Operations, t.ServerOperations)
	if t.MedianLookMs > 0 {
		fmt.Fprintf(b, "; looked every %s ms (median), at worst after %s ms",
			unit.Ms(t.MedianLookMs),
			unit.Ms(t.SlowestLookMs))
	}
	fmt.Fprintln(b)
	textConsistency(b, &r.Consistency)
}

// WriteConsistency writes the result of a table check for a terminal.
func WriteConsistency(w io.Writer, c *reports.Consistency) error {
	var b bytes.Buffer
	textConsistency(&b, c)
	return deliver(w, &b, "consistency")
}

// deliver writes the rendered bytes; what names them in an error.
func deliver(w io.Writer, b *bytes.Buffer, what string) error {
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}

func textConsistency(b *bytes.Buffer, c *reports.Consistency) {
	fmt.Fprintln(b, c.Sentence())
	for _, e := range c.Examples {
		fmt.Fprintf(b, "  %s %s %s: %s\n", e.Status, shown.Line(e.Entity),
			shown.Line(e.Key), shown.Line(e.Detail))
	}
}

func textResources(b *bytes.Buffer, r *reports.Run) {
	fmt.Fprintf(b, "\n%s %10s %12s\n", padded("Resources", 30), "CPU s", "max memory")
	for _, c := range r.Resources {
		fmt.Fprintf(b, "  %s %10.1f %12s\n", padded(c.Component, 28), c.CPUSeconds,
			unit.Bytes(c.MaxRSSBytes))
	}
	fmt.Fprintf(b, "  machine %s %% busy, %s %% stolen\n",
		unit.Number(r.Host.CPUBusyPercent), unit.Number(r.Host.CPUStealPercent))
	for _, line := range lagLines(r) {
		fmt.Fprintln(b, line)
	}
	if len(r.Growths) > 0 {
		fmt.Fprintf(b, "\n%s %12s %28s\n", padded("Growth an hour", 34), "estimate",
			"95 % sure between")
		if r.TestRun.DurationSeconds < reports.MinGrowthSeconds {
			fmt.Fprintln(b, "  not judged: it takes an hour to tell a leak from what is "+
				"remembered up to a bound")
		}
	}
	for _, t := range r.Growths {
		fmt.Fprintf(b, "  %s %12s %28s\n", padded(t.Component+" "+t.Name, 32),
			unit.Amount(t.PerHour, t.Unit),
			unit.Amount(t.Low, t.Unit)+" and "+unit.Amount(t.High, t.Unit))
	}
}

func textFindings(b *bytes.Buffer, all []findings.Finding) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\nFindings\n")
	for _, f := range all {
		fmt.Fprintf(b, "  - %s\n", f.Sentence)
		for _, figure := range f.Figures {
			fmt.Fprintf(b, "      %s\n", shown.Line(figure))
		}
	}
}

func textList(b *bytes.Buffer, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, item := range items {
		// A further line of an item must not look like a line of the report.
		fmt.Fprintf(b, "  - %s\n", strings.ReplaceAll(item, "\n", "\n    "))
	}
}
