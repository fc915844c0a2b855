package trend

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/archive"
	"github.com/cdclab/cdclab/reports/gate"
	"github.com/cdclab/cdclab/reports/unit"
)

// Nights is how many of the newest values a trend looks at.
const Nights = 50

// Line is the history of a metric under one key.
type Line struct {
	Metric string    `json:"metric"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	// Runs are the Runs of the values, in the order of time.
	Runs    []Point  `json:"runs"`
	Changes []Change `json:"changes"`
}

// TimeLayout is the form of a Point's time, in UTC.
const TimeLayout = "2006-01-02 15:04"

// Point says of which Run a value is.
type Point struct {
	ID     string `json:"id"`
	Commit string `json:"commit"`
	Time   string `json:"time"`
}

// Trend is the history of every metric that decides, of the Runs of one key.
type Trend struct {
	Key   archive.Key `json:"key"`
	Runs  int         `json:"runs"`
	Lines []Line      `json:"lines"`
	// Alarms are a sentence for each change for the worse, with the range of commits.
	Alarms []string `json:"alarms"`
	// Better are the same of changes for the better.
	Better []string `json:"better"`
}

// Find looks for changes in each metric of a group. Only sound Runs count: what failed or is in
// doubt has told so already.
func Find(group archive.Group, o Options) Trend {
	t := Trend{Key: group.Key, Alarms: []string{}, Better: []string{}}
	for _, m := range gate.Primary {
		line := Line{Metric: m.Name, Unit: m.Unit}
		for _, run := range group.Runs() {
			value, known := m.Read(run)
			if !known || run.Verdict.Status != reports.Pass {
				continue
			}
			line.Values = append(line.Values, value)
			line.Runs = append(line.Runs, Point{run.TestRun.ID, run.Provenance.Commit,
				run.TestRun.StartTime.UTC().Format(TimeLayout)})
		}
		from := max(0, len(line.Values)-Nights)
		line.Values, line.Runs = line.Values[from:], line.Runs[from:]
		line.Changes = ChangePoints(line.Values, o)
		t.Runs = max(t.Runs, len(line.Values))
		for _, change := range line.Changes {
			text := line.Words(change)
			if change.Percent > 0 {
				t.Alarms = append(t.Alarms, text)
			} else {
				t.Better = append(t.Better, text)
			}
		}
		t.Lines = append(t.Lines, line)
	}
	return t
}

// Words names the change and the commits between the last good and the first bad Run.
func (l *Line) Words(c Change) string {
	good, bad := l.Runs[c.Index-1], l.Runs[c.Index]
	commits := "the commit is the same, so the machine or the servers changed"
	if good.Commit != bad.Commit {
		commits = fmt.Sprintf("first commits %s..%s", short(good.Commit), short(bad.Commit))
	}
	return fmt.Sprintf("%s changed by %+.1f %%, from %s to %s %s (%s), with run %s of %s: %s",
		l.Metric, c.Percent, unit.Number(c.Before), unit.Number(c.After), l.Unit, likelihood(c.P),
		bad.ID, bad.Time, commits)
}

// leastP is the least probability that a sentence claims: no model of noise holds further out.
const leastP = 1e-9

func likelihood(p float64) string {
	if p < leastP {
		return "p < 1e-9"
	}
	return fmt.Sprintf("p = %.2g", p)
}

func short(commit string) string { return cmp.Or(reports.ShortHash(commit), "unknown") }

// WriteText writes the trends for a terminal.
func WriteText(w io.Writer, trends []Trend) error {
	var b bytes.Buffer
	for _, t := range trends {
		writeHeading(&b, t.Key, t.Runs)
		for _, line := range t.Lines {
			writeLine(&b, line)
		}
		for _, alarm := range t.Alarms {
			fmt.Fprintf(&b, "  WORSE: %s\n", alarm)
		}
		for _, better := range t.Better {
			fmt.Fprintf(&b, "  better: %s\n", better)
		}
		switch {
		case t.Runs < 2*leastSegment:
			fmt.Fprintf(&b, "  %s: a change is found among %d or more\n",
				unit.Plural(int64(t.Runs), "sound run", "sound runs"), 2*leastSegment)
		case len(t.Alarms)+len(t.Better) == 0:
			fmt.Fprintln(&b, "  no change")
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteHistory writes a line for each metric of each group: how many Runs, the last value, and the
// course.
func WriteHistory(w io.Writer, groups []archive.Group) error {
	var b bytes.Buffer
	for _, group := range groups {
		t := Find(group, Options{})
		writeHeading(&b, group.Key, len(group.Entries))
		for _, line := range t.Lines {
			writeLine(&b, line)
		}
	}
	if len(groups) == 0 {
		fmt.Fprintln(&b, "no runs")
	}
	_, err := w.Write(b.Bytes())
	return err
}

func writeHeading(b *bytes.Buffer, key archive.Key, runs int) {
	fmt.Fprintf(b, "%s on %s, %s, machine %s, conditions %s, schema %d: %s\n", key.Scenario,
		key.Stack, key.Mongo, key.Machine, key.Conditions, key.Schema,
		unit.Plural(int64(runs), "run", "runs"))
}

func writeLine(b *bytes.Buffer, line Line) {
	if len(line.Values) == 0 {
		fmt.Fprintf(b, "  %-30s no sound run\n", line.Metric+" ("+line.Unit+")")
		return
	}
	last := len(line.Values) - 1
	fmt.Fprintf(b, "  %-30s %s  median %s, last %s (%s)\n", line.Metric+" ("+line.Unit+")",
		Sparkline(line.Values), unit.Ms(gate.Median(line.Values)), unit.Ms(line.Values[last]),
		line.Runs[last].Time[:len("2006-01-02")])
}

// Sparkline draws values as a line of small columns, from the least to the greatest.
func Sparkline(values []float64) string {
	if len(values) == 0 {
		return ""
	}
	columns := []rune("▁▂▃▄▅▆▇█")
	least, most := slices.Min(values), slices.Max(values)
	var line strings.Builder
	for _, v := range values {
		height := 0
		if most > least {
			height = int((v - least) / (most - least) * float64(len(columns)-1))
		}
		line.WriteRune(columns[height])
	}
	return line.String()
}

// IsWorse returns true if a metric's newest change is for the worse: nobody has mended the change.
func (t *Trend) IsWorse() bool {
	return slices.ContainsFunc(t.Lines, func(l Line) bool {
		n := len(l.Changes)
		return n > 0 && l.Changes[n-1].Percent > 0
	})
}
