package trend

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports/gate"
	"github.com/cdclab/cdclab/reports/unit"
)

// The drawing area of a chart, in its own units.
const (
	chartWidth, chartHeight = 720, 150
	chartMargin             = 12
)

// dot is a value in a chart.
type dot struct {
	X, Y  float64
	Title string
}

// rule is the moment of a change, and level the mean of the values between two changes.
type rule struct {
	X     float64
	Worse bool
	Title string
}
type level struct{ X1, X2, Y float64 }

// chart is a Line as drawn.
type chart struct {
	Line
	Path      string
	Dots      []dot
	Rules     []rule
	Levels    []level
	Low, High string
	Summary   string
}

// WritePage writes one HTML page with the history of every metric: readable without scripts and
// without a network.
func WritePage(w io.Writer, trends []Trend) error {
	type section struct {
		Trend
		Charts []chart
	}
	var sections []section
	for _, t := range trends {
		s := section{Trend: t}
		for _, line := range t.Lines {
			if len(line.Values) > 0 {
				s.Charts = append(s.Charts, draw(line))
			}
		}
		sections = append(sections, s)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, sections); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func draw(line Line) chart {
	least, most := min(0, slices.Min(line.Values)), slices.Max(line.Values)
	x := func(i float64) float64 {
		return chartMargin + i*(chartWidth-2*chartMargin)/float64(max(1, len(line.Values)-1))
	}
	y := func(v float64) float64 {
		if most == least {
			return chartHeight - chartMargin
		}
		return chartHeight - chartMargin - (v-least)*(chartHeight-2*chartMargin)/(most-least)
	}
	c := chart{Line: line, Low: unit.Number(least), High: unit.Number(most)}
	var path strings.Builder
	for i, v := range line.Values {
		fmt.Fprintf(&path, "%.1f,%.1f ", x(float64(i)), y(v))
		c.Dots = append(c.Dots, dot{x(float64(i)), y(v), fmt.Sprintf("%s, %s: %s %s, commit %s",
			line.Runs[i].Time, line.Runs[i].ID, unit.Number(v), line.Unit,
			short(line.Runs[i].Commit))})
	}
	c.Path = path.String()
	from := 0
	for _, change := range append(slices.Clone(line.Changes), Change{Index: len(line.Values)}) {
		mean := 0.0
		for _, v := range line.Values[from:change.Index] {
			mean += v / float64(change.Index-from)
		}
		c.Levels = append(c.Levels, level{x(float64(from)), x(float64(change.Index - 1)), y(mean)})
		if from = change.Index; from < len(line.Values) {
			c.Rules = append(c.Rules, rule{x(float64(from) - 0.5), change.Percent > 0,
				line.words(change)})
		}
	}
	last := len(line.Values) - 1
	c.Summary = fmt.Sprintf("median %s, last %s %s", unit.Number(gate.Median(line.Values)),
		unit.Number(line.Values[last]), line.Unit)
	return c
}

var page = template.Must(template.New("trend").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cdclab: trend</title>
<style>
:root{color-scheme:light dark;
 --line:#2457a8;--worse:#b3261e;--better:#1e6b3a;--faint:#6b6b6b}
@media(prefers-color-scheme:dark){:root{
 --line:#8ab4f8;--worse:#f2a9a4;--better:#8fd3a6;--faint:#a8a8a8}}
body{font:16px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:50rem;padding:0 1rem}
h2{font-size:1.1rem;margin-top:2.5rem}h3{font-size:1rem;margin:1.2rem 0 .2rem}
svg{width:100%;height:auto}.faint{color:var(--faint);font-size:.85rem}
.worse{color:var(--worse)}.better{color:var(--better)}
</style></head><body><main>
<h1>Trend</h1>
{{range .}}<section><h2>{{.Key.Scenario}} on {{.Key.Stack}}</h2>
<p class="faint">{{.Key.Mongo}}, machine {{.Key.Machine}}, conditions {{.Key.Conditions}},
schema {{.Key.Schema}}; {{.Runs}} runs</p>
{{range .Alarms}}<p class="worse"><strong>Worse:</strong> {{.}}</p>
{{end}}{{range .Better}}<p class="better"><strong>Better:</strong> {{.}}</p>
{{end}}{{range .Charts}}<h3>{{.Metric}} ({{.Unit}})</h3>
<p class="faint">{{.Summary}}; from {{.Low}} to {{.High}}</p>
<svg viewBox="0 0 720 150" role="img" aria-label="{{.Metric}}: {{.Summary}}">
<polyline points="{{.Path}}" fill="none" stroke="var(--faint)" stroke-width="1"/>
{{range .Levels}}<line x1="{{.X1}}" x2="{{.X2}}" y1="{{.Y}}" y2="{{.Y}}"
 stroke="var(--line)" stroke-width="2"/>
{{end}}{{range .Rules}}<line x1="{{.X}}" x2="{{.X}}" y1="0" y2="150" stroke-dasharray="4 3"
 stroke="var({{if .Worse}}--worse{{else}}--better{{end}})"><title>{{.Title}}</title></line>
{{end}}{{range .Dots}}<circle cx="{{.X}}" cy="{{.Y}}" r="3" fill="var(--line)">
<title>{{.Title}}</title></circle>
{{end}}</svg>
{{else}}<p>No sound run.</p>
{{end}}</section>
{{else}}<p>No runs.</p>
{{end}}</main></body></html>
`))
