package render

import (
	"bytes"
	"fmt"
	"io"
	"math"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// WriteComparison writes a comparison of two Runs for a terminal.
func WriteComparison(w io.Writer, c *reports.Comparison) error {
	var b bytes.Buffer
	textComparison(&b, c)
	return deliver(w, &b, "comparison")
}

func textComparison(b *bytes.Buffer, c *reports.Comparison) {
	fmt.Fprintf(b, "Compared with %s (base), this is %s (head)\n", c.Base, c.Head)
	fmt.Fprintf(b, "  %s %10s %10s %10s\n", padded("", 34), "base", "head", "change")
	for _, m := range c.Metrics {
		base, head, change := metricCells(&m)
		fmt.Fprintf(b, "  %s %10s %10s %10s\n", padded(m.Name+" ("+m.Unit+")", 34),
			base, head, change)
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(b, "  note: %s\n", warning)
	}
	if len(c.Reasons) > 0 {
		fmt.Fprintln(b, "  NOT COMPARABLE: the numbers stand side by side, and say nothing about "+
			"each other.")
	}
	for _, reason := range c.Verdict.Reasons {
		fmt.Fprintf(b, "  %s\n", reason)
	}
	fmt.Fprintf(b, "comparison %s%s\n", c.Verdict.Status, c.Meaning())
}

// metricCells returns the texts of a metric's base, head and change.
func metricCells(m *reports.Metric) (base, head, change string) {
	if !m.Known {
		return "-", "-", "-"
	}
	return unit.Ms(m.Base), unit.Ms(m.Head), fmt.Sprintf("%+.1f %%", m.DeltaPercent)
}

// diffRow is a metric of a comparison for a page; X and Width are the bar of the change, on a scale
// from -100 to +100 per cent around 50.
type diffRow struct {
	Name, Unit, Base, Head, Change, Class string
	X, Width                              float64
}

// leastChange is the smallest change with a word and a bar, in per cent.
const leastChange = 1.0

func diffRows(c *reports.Comparison) (rows []diffRow) {
	for _, m := range c.Metrics {
		row := diffRow{Name: m.Name, Unit: m.Unit, Class: "soft"}
		row.Base, row.Head, row.Change = metricCells(&m)
		if m.Known && math.Abs(m.DeltaPercent) >= leastChange {
			row.Width = round(min(50, math.Abs(m.DeltaPercent)/2))
			if row.X = 50; m.DeltaPercent < 0 {
				row.X = round(50 - row.Width)
			}
			if c.Comparable {
				row.Class = "worse"
				if m.Better {
					row.Class = "good"
				}
				row.Change += map[string]string{"good": " better", "worse": " worse"}[row.Class]
			}
		}
		rows = append(rows, row)
	}
	return rows
}
