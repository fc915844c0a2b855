package trend

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports/gate"
	"github.com/cdclab/cdclab/reports/unit"
)

// The drawing area of a chart, in its own units.
const (
	chartWidth, chartHeight = 640, 170
	chartMargin             = 10
)

// dot is a value in a chart.
type dot struct {
	X, Y  float64
	Title string
}

// rule is the moment of a change, and level the mean of the values between two changes. Left is the
// place of the rule's label, in per cent of the width: text in the drawing would shrink on a phone.
type rule struct {
	X, Left     float64
	Worse       bool
	Title, Text string
}
type level struct{ X1, X2, Y float64 }

// chart is a Line as drawn.
type chart struct {
	Line
	Path        string
	Dots        []dot
	Rules       []rule
	Levels      []level
	Low, High   string
	First, Last string
	Summary     string
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
	least, most := axis(line.Values)
	x := func(i float64) float64 {
		return chartMargin + i*(chartWidth-2*chartMargin)/float64(max(1, len(line.Values)-1))
	}
	y := func(v float64) float64 {
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
			at := x(float64(from) - 0.5)
			c.Rules = append(c.Rules, rule{at, 100 * at / chartWidth, change.Percent > 0,
				line.Words(change), fmt.Sprintf("%+.0f %%", change.Percent)})
		}
	}
	last := len(line.Values) - 1
	c.First, c.Last = line.Runs[0].Time, line.Runs[last].Time
	c.Summary = fmt.Sprintf("median %s, last %s %s", unit.Number(gate.Median(line.Values)),
		unit.Number(line.Values[last]), line.Unit)
	return c
}

// leastSpan is the least height of a chart in shares of the greatest value, so that the noise of a
// quiet machine stays flat and a change of 5 % is visible.
const leastSpan = 0.3

// axis returns the ends of a vertical axis, around the values and never below 0 for times.
func axis(values []float64) (low, high float64) {
	least, most := slices.Min(values), slices.Max(values)
	span := max(most-least, leastSpan*math.Abs(most))
	if span == 0 {
		span = 1
	}
	middle := (least + most) / 2
	if low = middle - span/2; least >= 0 {
		low = max(0, low)
	}
	return low, low + span
}

var page = template.Must(template.New("trend").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cdclab: trend</title>
<style>
:root{color-scheme:light dark;--back:#fff;--text:#1c1c1c;--panel:#f6f7f9;
 --line:#2457a8;--worse:#b3261e;--better:#1e6b3a;--faint:#5f6368}
@media(prefers-color-scheme:dark){:root{--back:#16181c;--text:#e6e6e6;--panel:#1f2228;
 --line:#8ab4f8;--worse:#f2a9a4;--better:#8fd3a6;--faint:#a8adb5}}
body{font:16px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:56rem;padding:0 1rem;
 background:var(--back);color:var(--text)}
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.2rem;margin:0}
h3{font-size:1rem;margin:1.6rem 0 0}
section{margin-top:2.5rem}p{margin:.4rem 0;overflow-wrap:anywhere}
.faint,.axis{color:var(--faint);font-size:.85rem}
.worse{color:var(--worse)}.better{color:var(--better)}
.note{border-left:4px solid;padding-left:.7rem}
.chart{position:relative;background:var(--panel);border-radius:6px;margin-top:1.6rem}
svg{display:block;width:100%;height:auto}
.mark{position:absolute;top:-1.35rem;transform:translateX(-50%);font-size:.8rem;
 font-weight:600;white-space:nowrap}
.axis{display:flex;justify-content:space-between;gap:1rem}
@media print{.chart{break-inside:avoid}}
</style></head><body><main>
<h1>Trend</h1>
<p class="faint">Each point is a run. The bar is the mean between two changes for good, a dashed
line the first run of a change. Less is better.</p>
{{range .}}<section><h2>{{.Key.Scenario}} on {{.Key.Stack}}</h2>
<p class="faint">{{.Runs}} runs with {{.Key.Mongo}}, machine {{.Key.Machine}}, conditions
{{.Key.Conditions}}, schema {{.Key.Schema}}</p>
{{range .Alarms}}<p class="worse note"><strong>Worse:</strong> {{.}}</p>
{{end}}{{range .Better}}<p class="better note"><strong>Better:</strong> {{.}}</p>
{{end}}{{if not (or .Alarms .Better)}}<p>No change.</p>
{{end}}{{range .Charts}}<h3>{{.Metric}} ({{.Unit}})</h3>
<p class="faint">{{.Summary}}; the chart is from {{.Low}} to {{.High}}</p>
<div class="chart">
{{range .Rules}}<span class="mark {{if .Worse}}worse{{else}}better{{end}}"
 style="left:{{printf "%.1f" .Left}}%">{{.Text}}</span>
{{end}}<svg viewBox="0 0 640 170" role="img" aria-label="{{.Metric}}: {{.Summary}}">
<polyline points="{{.Path}}" fill="none" stroke="var(--faint)" stroke-opacity=".5"/>
{{range .Levels}}<line x1="{{.X1}}" x2="{{.X2}}" y1="{{.Y}}" y2="{{.Y}}"
 stroke="var(--line)" stroke-width="2" stroke-opacity=".6"/>
{{end}}{{range .Rules}}<line x1="{{.X}}" x2="{{.X}}" y1="0" y2="170" stroke-dasharray="4 3"
 stroke-width="1.5" stroke="var({{if .Worse}}--worse{{else}}--better{{end}})">
<title>{{.Title}}</title></line>
{{end}}{{range .Dots}}<circle cx="{{.X}}" cy="{{.Y}}" r="3" fill="var(--line)">
<title>{{.Title}}</title></circle>
{{end}}</svg></div>
<p class="axis"><span>{{.First}}</span><span>{{.Last}}</span></p>
{{else}}<p>No sound run.</p>
{{end}}</section>
{{else}}<p>No runs.</p>
{{end}}</main></body></html>
`))
