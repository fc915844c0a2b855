package gate

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// WriteText writes a comparison for a terminal.
func (c *Comparison) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Compared: %s of the base with %s of the head\n",
		unit.Plural(int64(len(c.Base)), "run", "runs"),
		unit.Plural(int64(len(c.Head)), "run", "runs"))
	writeFindings(&b, c.Findings)
	if len(c.Stages) > 0 {
		fmt.Fprintln(&b, "  stages, at the median of a run")
		writeFindings(&b, c.Stages)
	}
	lines := slices.Concat([]string{c.Moved}, prefixed("note: ", c.Differences),
		prefixed("warning: ", c.Warnings), c.Verdict.Reasons, []string{c.Needs})
	for _, line := range lines {
		if line != "" {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	fmt.Fprintf(&b, "comparison %s%s\n", c.Verdict.Status, foundNothing(c.Verdict.Status))
	_, err := w.Write(b.Bytes())
	return err
}

func prefixed(prefix string, lines []string) []string {
	all := make([]string, len(lines))
	for i, line := range lines {
		all[i] = prefix + line
	}
	return all
}

// foundNothing keeps a reader from taking a pass for a proof of equality.
func foundNothing(status reports.Status) string {
	if status != reports.Pass {
		return ""
	}
	return ": no change beyond noise; the intervals say how large a change could hide"
}

func writeFindings(b *bytes.Buffer, findings []Finding) {
	const row = "  %s %10s %10s %10s   %-22s %-8s %s\n"
	fmt.Fprintf(b, row, padded(""), "base", "head", "change", "95 % interval", "p", "effect")
	for _, f := range findings {
		fmt.Fprintf(b, row, padded(f.Metric+" ("+f.Unit+")"), unit.Ms(f.BaseMedian),
			unit.Ms(f.HeadMedian), fmt.Sprintf("%+.1f %%", f.Percent),
			fmt.Sprintf("%+.1f to %+.1f %%", f.Low, f.High), fmt.Sprintf("%.2g", f.AdjustedP),
			fmt.Sprintf("%.2f", f.Superiority))
	}
}

// padded is a name in a column; an arrow is one letter.
func padded(name string) string {
	return name + strings.Repeat(" ", max(0, 28-len([]rune(name))))
}

// WriteText writes the gate for a terminal.
func (r *Result) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Gate: %s (base) with %s (head)\n", r.Base.words(), r.Head.words())
	fmt.Fprintf(&b, "  %s\n", r.cost())
	writeFindings(&b, r.Findings)
	for _, reason := range r.Verdict.Reasons {
		fmt.Fprintf(&b, "  %s\n", reason)
	}
	fmt.Fprintf(&b, "  %s\n", r.errorRates())
	fmt.Fprintf(&b, "gate %s%s\n", r.Verdict.Status, foundNothing(r.Verdict.Status))
	_, err := w.Write(b.Bytes())
	return err
}

func (b Build) words() string {
	if b.Commit == "" && b.SHA256 != "" { // a program that somebody gave
		return b.Revision + " " + reports.ShortHash(b.SHA256)
	}
	if b.Commit == "" || strings.HasPrefix(b.Commit, b.Revision) {
		return reports.ShortHash(b.Revision)
	}
	return b.Revision + " " + reports.ShortHash(b.Commit)
}

func (r *Result) cost() string {
	extended := ""
	if len(r.Suspicious) > 0 {
		extended = ", more on suspicion of " + strings.Join(r.Suspicious, ", ")
	}
	void := ""
	if n := r.Void(); n > 0 {
		void = fmt.Sprintf(", %d of them in doubt and not counted", n)
	}
	return fmt.Sprintf("%s in %.1f of %.0f minutes%s%s",
		unit.Plural(int64(len(r.Attempts)), "run", "runs"), r.Minutes, r.Budget, void, extended)
}

// errorRates is the sentence about how often the rule is wrong here.
func (r *Result) errorRates() string {
	if r.Rates == nil {
		return "The error rates of this gate are not measured on this machine " +
			"(cdclab gate --calibrate 20)."
	}
	text := "On this machine"
	for _, source := range []Source{Real, Drawn} {
		if row := r.Rates.Find(SameBuild, source); row != nil {
			text += fmt.Sprintf(" %d of %d gates of the same build failed (%s),",
				row.Failed, row.Gates, source)
		}
	}
	var smallest []string
	for _, m := range Primary {
		if percent := r.Rates.Smallest[m.Name]; percent > 0 {
			smallest = append(smallest, fmt.Sprintf("%+.0f %% of %s", percent, m.Name))
		}
	}
	return fmt.Sprintf("%s and 4 of 5 gates catch %s.", text, strings.Join(smallest, ", "))
}

// WriteText writes the rates as a table in Markdown, which a terminal shows as well.
func (c *Calibration) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Error rates of the gate on machine %s\n\n", c.Host.Fingerprint)
	fmt.Fprintf(&b, "%s, %d cores, %s; %s; commit %s, %s; %.0f minutes.\n",
		c.Host.CPUModel, c.Host.Cores, unit.Bytes(c.Host.MemoryBytes), c.Conditions,
		reports.ShortHash(c.Commit), c.StartTime.Format("2006-01-02"), c.Minutes)
	fmt.Fprintf(&b, "Rule: %d + %d runs, on suspicion (p < %g, %g %%) %d + %d; fails at p < %g "+
		"after Holm for %d metrics.\n\n", c.Rule.Runs, c.Rule.Runs, c.Rule.Suspicion,
		c.Rule.LeastPercent, c.Rule.MoreRuns, c.Rule.MoreRuns, c.Rule.Alpha, len(c.Metrics))
	fmt.Fprintln(&b, "| what is true | gates | failed | extended | from |")
	fmt.Fprintln(&b, "|---|---:|---:|---:|---|")
	for _, row := range c.Rates.Rows {
		fmt.Fprintf(&b, "| %s | %d | %d (%.1f %%) | %d (%.1f %%) | %s |\n", row.Truth, row.Gates,
			row.Failed, share(row.Failed, row.Gates), row.Extended,
			share(row.Extended, row.Gates), row.Source)
	}
	fmt.Fprintf(&b, "\n| metric | noise of single runs | smallest change caught in 80 %% |\n")
	fmt.Fprintln(&b, "|---|---:|---:|")
	for _, metric := range c.Metrics {
		smallest := "more than 200 %"
		noise, measured := c.Rates.Noise[metric]
		if !measured {
			fmt.Fprintf(&b, "| %s | not measured | not measured |\n", metric)
			continue
		}
		if percent := c.Rates.Smallest[metric]; percent > 0 {
			smallest = fmt.Sprintf("%+.0f %%", percent)
		}
		fmt.Fprintf(&b, "| %s | %.1f %% | %s |\n", metric, noise, smallest)
	}
	if c.Missing != "" {
		fmt.Fprintf(&b, "\nNOT WHOLE: %s.\n", strings.TrimSuffix(c.Missing, "."))
	}
	for _, trial := range c.Trials {
		if trial.Planted != "" {
			fmt.Fprintf(&b, "\n%s: %s.", trial.Planted, c.changes(trial))
		}
	}
	fmt.Fprintf(&b, "\n\n%d runs of the same build lie behind the drawn and the scaled gates.\n",
		c.Rates.Runs)
	_, err := w.Write(b.Bytes())
	return err
}

func share(part, whole int) float64 { return 100 * float64(part) / float64(max(1, whole)) }

// changes says what a planted slowdown really changed.
func (c *Calibration) changes(trial Trial) string {
	if len(trial.Pairs) == 0 {
		return "not measured"
	}
	var all []string
	for i, metric := range c.Metrics {
		var base, head []float64
		for _, pair := range trial.Pairs {
			base, head = append(base, pair.Base[i]), append(head, pair.Head[i])
		}
		d := differWithoutInterval(base, head)
		all = append(all, fmt.Sprintf("%s %+.1f %%", metric, d.Percent))
	}
	return strings.Join(all, ", ")
}
