package reports

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// WriteText writes the summary of a Run for a terminal. It ends with one line that says it all; path
// is where the HTML report lies and comes last on it. comparison may be nil.
func WriteText(w io.Writer, r *Run, comparison *Comparison, path string) error {
	var b bytes.Buffer
	textHead(&b, r)
	textStages(&b, r)
	textCounts(&b, r)
	textFaults(&b, r)
	textResources(&b, r)
	textList(&b, "Search for the breakpoint", r.Breakpoint.lines())
	if comparison != nil {
		fmt.Fprintln(&b)
		comparison.text(&b)
	}
	textList(&b, "Notes", r.Notes)
	textList(&b, "Warnings", r.Warnings)
	textList(&b, "Advice", Recommendations(r))
	textList(&b, "Why "+string(r.Verdict.Status), r.Verdict.Reasons)
	fmt.Fprintf(&b, "\n%s\n", LastLine(r, path))
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write text report: %w", err)
	}
	return nil
}

// LastLine is the Run on one line: verdict, e2e latency, rate, lost and stale rows, and path.
func LastLine(r *Run, path string) string {
	latency := "e2e not measured"
	if l := r.Summary.Latency; r.measured() {
		latency = fmt.Sprintf("e2e p50 %s ms  p95 %s ms  p99 %s ms", ms(l.P50), ms(l.P95), ms(l.P99))
	}
	lost, stale := "?", "?"
	if c := r.Consistency; c.Checked {
		lost, stale = fmt.Sprint(c.Counts[Lost]), fmt.Sprint(c.Counts[Stale])
	}
	line := fmt.Sprintf("%s  %s  |  %.1f/s of %s/s  |  lost %s  stale %s",
		strings.ToUpper(string(r.Verdict.Status)), latency, r.Summary.Throughput.Mean,
		number(r.Summary.Throughput.Offered), lost, stale)
	if path != "" {
		line += "  |  " + path
	}
	return line
}

func textHead(b *bytes.Buffer, r *Run) {
	p, h := &r.Provenance, &r.Provenance.Host
	fmt.Fprintf(b, "%s: %s on the %s stack, %s from %s\n", r.TestRun.ID, r.TestRun.Scenario, p.Stack,
		r.TestRun.Duration, r.TestRun.StartTime.UTC().Format("2006-01-02 15:04:05 UTC"))
	fmt.Fprintf(b, "commit %s, %s, %s/%s, %s, %s, %s, MongoDB: %s, seed %d\n\n", commitText(p),
		p.GoVersion, h.OS, h.Arch, orNothing(h.CPUModel), plural(int64(h.Cores), "core", "cores"),
		bytesText(h.MemoryBytes), p.MongoKind, p.Seed)
}

func commitText(p *Provenance) string {
	commit := orNothing(short(p.Commit))
	if p.Dirty {
		commit += " with changes"
	}
	return commit
}

func textStages(b *bytes.Buffer, r *Run) {
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
		row(indent+stageLabel(shown.stage), fmt.Sprint(s.Count),
			ms(s.P50), ms(s.P95), ms(s.P99), ms(s.Max))
	}
	if clocks := clocksText(r.Clock); clocks != "" {
		fmt.Fprintf(b, "  the stages below pipeline are by other clocks, ahead of the lab's by: %s\n", clocks)
	}
	if f := &r.Floor; f.Writes > 0 {
		row("  floor (direct write)", fmt.Sprint(f.Writes), ms(f.P50), ms(f.P95), ms(f.P99))
	}
}

// clocksText is "postgres 0.01 ms (+- 0.05), consumer -0.02 ms (+- 0.3); not measured: kafka, because ...".
func clocksText(clock Clock) string {
	var texts []string
	for _, o := range clock.Offsets {
		texts = append(texts, fmt.Sprintf("%s %s (± %s)", o.Component, amount(o.OffsetMs, "ms"), number(o.UncertaintyMs)))
	}
	text := strings.Join(texts, ", ")
	switch {
	case clock.NotMeasured == "":
		return text
	case text == "":
		return "not measured: " + clock.NotMeasured
	}
	return text + "; not measured: " + clock.NotMeasured
}

// padded is like %-30s, but counts characters and not bytes.
func padded(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-len([]rune(s))))
}

func textCounts(b *bytes.Buffer, r *Run) {
	s := &r.Summary
	fmt.Fprintf(b, "\nrate %.1f/s of %s/s offered, at most %s/s; %s, %s (%s %%)\n",
		s.Throughput.Mean, number(s.Throughput.Offered), number(s.Throughput.Max),
		plural(s.TotalOperations, "operation", "operations"),
		plural(s.Errors.Total, "error", "errors"), number(100*s.Errors.Rate))
	fmt.Fprintf(b, "dropped iterations %s, timeouts %d (%d seen later), indeterminate %d; "+
		"generator %s ms late at p99\n", droppedText(s.DroppedIterations), s.Timeouts, s.Late, s.Indeterminate,
		ms(r.Generator.LateTicksP99Ms))
	fmt.Fprintf(b, "generator waited %s ms for a processor at p99, its collector stopped it for %s ms at most\n",
		ms(r.Generator.SchedulerDelayP99Ms), ms(r.Generator.GCPauseMaxMs))
	t := &r.Tracker
	fmt.Fprintf(b, "tracker %s: %s %% of the writes, %d of MongoDB's %d operations", t.Kind, number(100*t.TrackedShare),
		t.Operations, t.ServerOperations)
	if t.MedianLookMs > 0 {
		fmt.Fprintf(b, "; looked every %s ms (median), at worst after %s ms", ms(t.MedianLookMs), ms(t.SlowestLookMs))
	}
	fmt.Fprintln(b)
	fmt.Fprintln(b, r.Consistency.Sentence())
	for _, e := range r.Consistency.Examples {
		fmt.Fprintf(b, "  %s %s %s: %s\n", e.Status, e.Entity, e.Key, e.Detail)
	}
}

// droppedText is a number of dropped iterations, or "?".
func droppedText(n int64) string {
	if n < 0 {
		return "?"
	}
	return fmt.Sprint(n)
}

func textFaults(b *bytes.Buffer, r *Run) {
	if len(r.Faults) == 0 {
		return
	}
	fmt.Fprintf(b, "\nFaults\n")
	for _, f := range r.Faults {
		fmt.Fprintf(b, "  %s on %s: %s to %s s, %s; %s\n", f.Name, f.Target, number(f.StartSeconds),
			number(f.EndSeconds), appliedText(f), recoveryText(f))
		if f.InsideP50 > 0 || f.OutsideP50 > 0 {
			fmt.Fprintf(b, "    e2e p50 inside %s ms, outside %s ms\n", ms(f.InsideP50), ms(f.OutsideP50))
		}
		if f.Detail != "" {
			fmt.Fprintf(b, "    %s\n", f.Detail)
		}
	}
}

func appliedText(f FaultWindow) string {
	switch {
	case !f.Applied:
		return "NOT applied"
	case f.Proxy != "":
		return fmt.Sprintf("applied, %s through %s", bytesText(f.ProxyBytes), f.Proxy)
	}
	return "applied"
}

func recoveryText(f FaultWindow) string {
	if f.RecoveredSeconds < 0 {
		return "recovery unknown"
	}
	return fmt.Sprintf("recovered after %s s", number(f.RecoveredSeconds))
}

func textResources(b *bytes.Buffer, r *Run) {
	fmt.Fprintf(b, "\n%s %10s %12s\n", padded("Resources", 30), "CPU s", "max memory")
	for _, c := range r.Resources {
		fmt.Fprintf(b, "  %s %10.1f %12s\n", padded(c.Component, 28), c.CPUSeconds, bytesText(c.MaxRSSBytes))
	}
	fmt.Fprintf(b, "  machine %s %% busy, %s %% stolen\n",
		number(r.Host.CPUBusyPercent), number(r.Host.CPUStealPercent))
	for _, line := range lagLines(r) {
		fmt.Fprintln(b, line)
	}
	if len(r.Trends) > 0 {
		fmt.Fprintf(b, "\n%s %12s %28s\n", padded("Growth an hour", 34), "estimate", "95 % sure between")
		if r.TestRun.DurationSeconds < minGrowthSeconds {
			fmt.Fprintln(b, "  not judged: it takes an hour to tell a leak from what is remembered up to a bound")
		}
	}
	for _, t := range r.Trends {
		fmt.Fprintf(b, "  %s %12s %28s\n", padded(t.Component+" "+t.Name, 32), amount(t.PerHour, t.Unit),
			amount(t.Low, t.Unit)+" and "+amount(t.High, t.Unit))
	}
}

// amount is a number with its unit, which may be negative.
func amount(v float64, unit string) string {
	switch {
	case v < 0 && v > -0.001:
		return amount(0, unit)
	case v < 0:
		return "-" + amount(-v, unit)
	case unit == "bytes":
		return bytesText(int64(v))
	}
	return strings.TrimSpace(number(v) + " " + unit)
}

func textList(b *bytes.Buffer, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, item := range items {
		fmt.Fprintf(b, "  - %s\n", item)
	}
}

// WriteText writes the comparison for a terminal.
func (c *Comparison) WriteText(w io.Writer) error {
	var b bytes.Buffer
	c.text(&b)
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	return nil
}

func (c *Comparison) text(b *bytes.Buffer) {
	fmt.Fprintf(b, "Compared with %s (base), this is %s (head)\n", c.Base, c.Head)
	fmt.Fprintf(b, "  %s %10s %10s %10s\n", padded("", 34), "base", "head", "change")
	for _, m := range c.Metrics {
		base, head, change := m.cells()
		fmt.Fprintf(b, "  %s %10s %10s %10s\n", padded(m.Name+" ("+m.Unit+")", 34), base, head, change)
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(b, "  note: %s\n", warning)
	}
	if len(c.Reasons) > 0 {
		fmt.Fprintln(b, "  NOT COMPARABLE: the numbers stand side by side, and say nothing about each other.")
	}
	for _, reason := range c.Verdict.Reasons {
		fmt.Fprintf(b, "  %s\n", reason)
	}
	fmt.Fprintf(b, "comparison %s%s\n", c.Verdict.Status, c.meaning())
}

// cells are the texts of a metric's base, head and change.
func (m *Metric) cells() (base, head, change string) {
	if !m.Known {
		return "-", "-", "-"
	}
	return ms(m.Base), ms(m.Head), fmt.Sprintf("%+.1f %%", m.DeltaPercent)
}

// meaning keeps a reader from taking a thin pass for more than it is.
func (c *Comparison) meaning() string {
	if c.Verdict.Status != Pass {
		return ""
	}
	return fmt.Sprintf(": no gross regression (both p50 and p95 more than %.0f %% and %.0f ms slower); "+
		"single runs cannot tell more", grossPercent, grossMs)
}
