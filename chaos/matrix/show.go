package matrix

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/impact"
	"github.com/cdclab/cdclab/reports/unit"
	"github.com/cdclab/cdclab/shown"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("matrix").Funcs(template.FuncMap{
	"seen": seen, "recovery": recovery, "ms": unit.Ms, "number": unit.Number,
	"verdict": verdict, "link": link,
}).Parse(pageText))

// line is a Cell on one line.
func (c *Cell) line() string {
	r := c.Result
	if r == nil {
		return c.title() + ": could not run: " + shown.Line(c.Failed)
	}
	text := fmt.Sprintf("%s: %s; steady after %s, p99 %s ms, %d again, %d not right (%s s)",
		c.title(), strings.ToUpper(string(r.Status)), recovery(r.SteadySeconds, r.SteadySeconds, 1),
		unit.Ms(r.WorstP99), r.Deliveries.Again, r.bad(), unit.Number(r.TookSeconds))
	if r.Status != reports.Pass && len(r.Reasons) > 0 {
		text += ": " + shown.Line(r.Reasons[0])
	}
	return text
}

// seen is the time until the numbers show a fault.
func seen(seconds float64) string { return unit.SecondsOr("never", seconds) }

// recovery is the median and the greatest recovery.
func recovery(p50, most float64, runs int) string {
	if p50 < 0 || runs < 2 {
		return unit.SecondsOr("not known", p50)
	}
	return unit.Number(p50) + " / " + unit.Number(most) + " s"
}

// verdict is the verdict of a Row.
func verdict(row Row) string {
	switch {
	case row.Status == "":
		return "not run"
	case row.Expected && row.Status == reports.Unknown:
		return "unknown, as expected"
	}
	return string(row.Status)
}

// link is the address of a Cell's report beside the page.
func link(c *Cell) string { return c.name() + "/report.html" }

// WriteText writes the table for a terminal.
func WriteText(w io.Writer, m *Matrix, cells []*Cell) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-46s %5s %10s %14s %10s %7s %6s %5s %5s %5s  %s\n",
		"fault of target on stack", "runs", "seen",
		"steady p50/max", "worst p99", "lag", "again", "lost", "stale", "wrong",
		"verdict")
	for _, row := range Rows(cells) {
		if row.Runs == 0 {
			continue
		}
		fmt.Fprintf(&b, "%-46s %5d %10s %14s %10s %7d %6d %5d %5d %5d  %s\n", row.title(),
			row.Runs, seen(row.Detect), recovery(row.Steady50, row.SteadyMax, row.Runs),
			unit.Ms(row.WorstP99)+" ms", row.MaxLag, row.Again, row.Lost, row.Stale, row.Wrong,
			verdict(row))
		if row.Status != reports.Pass {
			fmt.Fprintf(&b, "    %s\n", shown.Line(row.Reason))
		}
	}
	s := Summarize(cells)
	fmt.Fprintf(&b, "\n%s\n", s.sentence(m.Rate))
	for _, line := range s.notes(cells) {
		fmt.Fprintln(&b, shown.Line(line))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// sentence is the Summary in words.
func (s Summary) sentence(rate int) string {
	return fmt.Sprintf("matrix %s at %d/s: %d pass, %d fail, %d unknown, %d unknown as expected; "+
		"%d not run, %d cannot be applied", s.Status(), rate, s.Pass, s.Fail, s.Unknown, s.Expected,
		s.Missing, s.Impossible)
}

// mostUntried bounds the names of cells that nobody has tried yet.
const mostUntried = 5

// notes are lines about the cells that the table does not show.
func (s Summary) notes(cells []*Cell) (lines []string) {
	if len(s.Slow) > 0 {
		lines = append(lines, fmt.Sprintf("above the goal of %d s, or not steady for %d s before "+
			"the end: %s", impact.GoalSeconds, impact.SteadyFor, strings.Join(s.Slow, ", ")))
	}
	var missing []string
	untried := 0
	for _, c := range cells {
		switch {
		case c.Result != nil || c.Impossible != "":
		case c.Failed != "":
			missing = append(missing, c.title()+" ("+c.Failed+")")
		default:
			if untried++; untried <= mostUntried {
				missing = append(missing, c.title())
			}
		}
	}
	if more := untried - mostUntried; more > 0 {
		missing = append(missing, fmt.Sprintf("and %d more", more))
	}
	if len(missing) > 0 {
		lines = append(lines, "not run: "+strings.Join(missing, ", "))
	}
	return lines
}

// Verdict is the verdict about the cells.
func Verdict(cells []*Cell) reports.Status { return Summarize(cells).Status() }

// page is the whole Matrix as one HTML page, readable without scripts and without a network.
func (m *Matrix) page() ([]byte, error) {
	s := Summarize(m.Cells)
	view := struct {
		Sentence   string
		Status     reports.Status
		Notes      []string
		Rows       []group
		Commits    []string
		Impossible []group
	}{Sentence: s.sentence(m.Rate), Status: s.Status(), Notes: s.notes(m.Cells)}
	for _, c := range m.Cells {
		if c.Result != nil {
			view.Commits = append(view.Commits, reports.ShortHash(c.Result.Commit))
		}
	}
	slices.Sort(view.Commits)
	view.Commits = slices.Compact(view.Commits)
	for _, g := range groupsOf(m.Cells) {
		switch {
		case g.Runs > 0:
			view.Rows = append(view.Rows, g)
		case slices.ContainsFunc(g.Cells, func(c *Cell) bool { return c.Impossible != "" }):
			view.Impossible = append(view.Impossible, g)
		}
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, view); err != nil {
		return nil, fmt.Errorf("write the page of the matrix: %w", err)
	}
	return b.Bytes(), nil
}
