package gate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
	"github.com/cdclab/cdclab/shown"
)

// marks stand before the verdict in a pull request's comment.
var marks = map[reports.Status]string{reports.Pass: "✅", reports.Fail: "❌", reports.Unknown: "⚠️"}

// WriteMarkdown writes the gate as a pull request's comment: the verdict, the table, and the Runs
// behind a fold.
func (r *Result) WriteMarkdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## %s Gate: %s\n\n", marks[r.Verdict.Status], r.Verdict.Status)
	fmt.Fprintf(&b, "Consumer of %s (head) against %s (base): %s.\n\n",
		shown.Markdown(r.Head.words()), shown.Markdown(r.Base.words()), r.cost())
	for _, reason := range r.Verdict.Reasons {
		fmt.Fprintf(&b, "- %s\n", shown.Markdown(reason))
	}
	fmt.Fprintln(&b, "\n| metric | base | head | change | 95 % interval | p | effect |")
	fmt.Fprintln(&b, "|---|---:|---:|---:|---:|---:|---:|")
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "| %s (%s) | %s | %s | %+.1f %% | %+.1f to %+.1f %% | %.2g | %.2f |\n",
			f.Metric, f.Unit, unit.Ms(f.BaseMedian), unit.Ms(f.HeadMedian), f.Percent, f.Low,
			f.High, f.AdjustedP, f.Superiority)
	}
	fmt.Fprintf(&b, "\n%s\n\n<details><summary>%s</summary>\n\n", r.errorRates(),
		unit.Plural(int64(len(r.Attempts)), "run", "runs"))
	fmt.Fprintln(&b, "| side | run | verdict | seconds |\n|---|---|---|---:|")
	for _, a := range r.Attempts {
		fmt.Fprintf(&b, "| %s | %s | %s %s | %.0f |\n", a.Side, shown.Markdown(a.Path),
			a.Verdict.Status, shown.Markdown(strings.Join(a.Verdict.Reasons, " ")), a.Seconds)
	}
	fmt.Fprintf(&b, "\nMachine %s, %s.\n</details>\n", shown.Markdown(r.Host.Fingerprint),
		shown.Markdown(r.Conditions))
	_, err := w.Write(b.Bytes())
	return err
}

// WriteJSON writes the gate as gate.json.
func (r *Result) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteJSON writes the comparison.
func (c *Comparison) WriteJSON(w io.Writer) error { return writeJSON(w, c) }

// WriteJSON writes the calibration as calibration.json.
func (c *Calibration) WriteJSON(w io.Writer) error { return writeJSON(w, c) }

func writeJSON(w io.Writer, content any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(content)
}
