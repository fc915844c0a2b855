package render

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/findings"
	"github.com/cdclab/cdclab/reports/unit"
	"github.com/cdclab/cdclab/shown"
)

// WriteMarkdown writes a Run as the comment on a pull request: the verdict, the numbers beside the
// base's, crossed limits and findings; the rest is folded. comparison may be nil.
func WriteMarkdown(w io.Writer, r *reports.Run, comparison *reports.Comparison) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "### %s %s\n\n%s\n\n", strings.ToUpper(string(r.Verdict.Status)),
		shown.Markdown(r.TestRun.Scenario), headline(r))
	markdownList(&b, r.Verdict.Reasons)
	if comparison == nil {
		markdownNumbers(&b, r)
	} else {
		markdownComparison(&b, comparison)
	}
	for _, f := range findings.Find(r) {
		fmt.Fprintf(&b, "**%s**\n\n", shown.Markdown(f.Sentence))
		markdownList(&b, f.Figures)
	}
	markdownFold(&b, "Limits", func() {
		fmt.Fprintf(&b, "| limit | wanted | measured | |\n|---|---|---|---|\n")
		for _, l := range r.Limits() {
			fmt.Fprintf(&b, "| %s | %s | %s%s | %s |\n", shown.Markdown(l.Name),
				shown.Markdown(l.Wanted), unit.Number(l.Value), l.Unit,
				map[bool]string{true: "✓", false: "✗"}[l.OK])
		}
	})
	markdownFold(&b, "Stages", func() {
		fmt.Fprintf(&b, "| ms | count | p50 | p95 | p99 | max |\n|---|---|---|---|---|---|\n")
		for _, s := range stageRows(r) {
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s |\n", reports.StageLabel(s.Stage.Stage),
				s.Count, unit.Ms(s.P50), unit.Ms(s.P95), unit.Ms(s.P99), unit.Ms(s.Max))
		}
	})
	fmt.Fprintf(&b, "%s\n", shown.Markdown(LastLine(r, "")))
	return deliver(w, &b, "Markdown")
}

func markdownNumbers(b *bytes.Buffer, r *reports.Run) {
	l, s := &r.Summary.Latency, &r.Summary
	fmt.Fprintf(b, "| e2e p50 | p95 | p99 | rate | errors |\n|---|---|---|---|---|\n"+
		"| %s ms | %s ms | %s ms | %.1f of %s/s | %d |\n\n", unit.Ms(l.P50), unit.Ms(l.P95),
		unit.Ms(l.P99), s.Throughput.Mean, unit.Number(s.Throughput.Offered), s.Errors.Total)
}

func markdownComparison(b *bytes.Buffer, c *reports.Comparison) {
	if !c.Comparable {
		fmt.Fprintf(b, "Not comparable with %s:\n\n", shown.Markdown(c.Base))
	} else {
		fmt.Fprintf(b, "Against %s:\n\n", shown.Markdown(c.Base))
	}
	markdownList(b, c.Verdict.Reasons)
	fmt.Fprintf(b, "| | base | head | change |\n|---|---|---|---|\n")
	for _, row := range diffRows(c) {
		fmt.Fprintf(b, "| %s (%s) | %s | %s | %s |\n", shown.Markdown(row.Name), row.Unit, row.Base,
			row.Head, row.Change)
	}
	fmt.Fprintln(b)
}

func markdownList(b *bytes.Buffer, items []string) {
	for _, item := range items {
		fmt.Fprintf(b, "- %s\n", shown.Markdown(item))
	}
	if len(items) > 0 {
		fmt.Fprintln(b)
	}
}

func markdownFold(b *bytes.Buffer, title string, content func()) {
	fmt.Fprintf(b, "<details><summary>%s</summary>\n\n", title)
	content()
	fmt.Fprintf(b, "\n</details>\n\n")
}
