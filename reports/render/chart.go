package render

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cdclab/cdclab/reports/unit"
)

// chart is the geometry of an SVG; the markup is in report.html.tmpl, so that html/template escapes
// every text. Coordinates are in user units, equal to CSS pixels at the chart's own width.
type chart struct {
	Class                    string
	Width, Height            float64
	Left, Right, Top, Bottom float64
	Label                    string
	XTicks, YTicks           []tick
	Bands                    []band
	Areas, Lines             []line
	Marks                    []mark
	Hovers                   []hover
	XTitle                   string
}

type tick struct {
	At   float64
	Text string
}

// band is a shaded stretch of the x axis; Class tells a fault from its recovery and from a fault
// that was not applied.
type band struct {
	X, Width    float64
	Class, Text string
	// TextX and TextY keep the texts of neighbouring bands apart.
	TextX, TextY float64
}

type line struct{ Class, Path string }

// mark is a dashed horizontal line with a text.
type mark struct {
	Y    float64
	Text string
}

// hover is an invisible column whose text the browser shows under the pointer.
type hover struct {
	X, Width float64
	Text     string
}

// size is a form that every chart is made in: CSS shows the form that fits the screen. A narrow
// screen has no pointer that hovers.
type size struct {
	class          string
	width, height  float64
	points, hovers int
}

var sizes = []size{{"wide", 1040, 250, 360, 150}, {"narrow", 380, 210, 100, 0}}

// small is the form of a chart beside many others.
func (s size) small() size {
	s.height, s.points, s.hovers = 0.65*s.height, s.points/2, s.hovers*2/5
	return s
}

func newChart(s size, label, xTitle string) *chart {
	return &chart{Class: s.class, Width: s.width, Height: s.height, Left: 46, Right: s.width - 8,
		Top: 20, Bottom: s.height - 34, Label: label, XTitle: xTitle}
}

// axis maps a value to a coordinate.
type axis struct {
	low, high float64
	from, to  float64
	log       bool
}

func (a axis) at(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		low, high, v = math.Log10(low), math.Log10(high), math.Log10(math.Max(v, a.low))
	}
	return round(a.from + (v-low)/(high-low)*(a.to-a.from))
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

// nice are the steps of an axis within a decade.
var nice = []float64{1, 2, 5, 10}

// linearY sets a y axis from 0 to a round number at or above most.
func (c *chart) linearY(most float64) axis {
	step := niceStep(most / 4)
	a := axis{low: 0, high: step * math.Ceil(math.Max(most, step)/step), from: c.Bottom, to: c.Top}
	for v := 0.0; v <= a.high+step/2; v += step {
		c.YTicks = append(c.YTicks, tick{a.at(v), unit.Number(v)})
	}
	return a
}

func niceStep(least float64) float64 {
	if least <= 1 {
		return 1
	}
	decade := math.Pow(10, math.Floor(math.Log10(least)))
	for _, n := range nice {
		if n*decade >= least {
			return n * decade
		}
	}
	return 10 * decade
}

// shortestMs keeps a logarithmic axis finite; no latency below 1 µs is resolved.
const shortestMs = 0.001

// logY sets a logarithmic y axis in milliseconds around [least, most], with ends at 1, 2 or 5.
func (c *chart) logY(least, most float64) axis {
	least, most = math.Max(least, shortestMs), math.Max(most, 2*shortestMs)
	var steps []float64
	for decade := math.Pow(10, math.Floor(math.Log10(least))); decade <= most*10; decade *= 10 {
		for _, n := range nice[:3] {
			steps = append(steps, n*decade)
		}
	}
	low, high := 0, len(steps)-1
	for low+1 < len(steps) && steps[low+1] <= least {
		low++
	}
	for high-1 > low && steps[high-1] >= most {
		high--
	}
	a := axis{low: steps[low], high: steps[high], from: c.Bottom, to: c.Top, log: true}
	decadesOnly := high-low > 7
	for _, v := range steps[low : high+1] {
		mantissa := v / math.Pow(10, math.Floor(math.Log10(v)+1e-9))
		if decadesOnly && math.Abs(mantissa-1) > 0.01 {
			continue
		}
		c.YTicks = append(c.YTicks, tick{a.at(v), unit.Duration(v)})
	}
	return a
}

// timeX sets the x axis of the seconds from 0 to last.
func (c *chart) timeX(last float64) axis {
	a := axis{low: 0, high: math.Max(last, 1), from: c.Left, to: c.Right}
	room := (c.Right - c.Left) / 60
	step := 86400.0
	for _, s := range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600} {
		if a.high/s <= room {
			step = s
			break
		}
	}
	for v := 0.0; v <= a.high; v += step {
		c.XTicks = append(c.XTicks, tick{a.at(v), clockText(v, step)})
	}
	return a
}

func clockText(seconds, step float64) string {
	whole := int(seconds)
	switch {
	case step < 60:
		return fmt.Sprintf("%d s", whole)
	case step < 3600:
		return fmt.Sprintf("%d min", whole/60)
	}
	return fmt.Sprintf("%d h", whole/3600)
}

// path draws y over x and leaves a gap wherever ok is false. A lone point becomes a dot. Steps are
// relative, and a level stretch is one step, because most of a page is paths.
func path(n int, point func(i int) (x, y float64, ok bool)) string {
	var b strings.Builder
	var penX, penY, level float64 // level is where a level stretch ends
	drawing := false
	flush := func() {
		if drawing && level != penX {
			b.WriteString("h" + short(level-penX))
			penX = level
		}
	}
	for i := range n {
		x, y, ok := point(i)
		x, y = round(x), round(y)
		switch {
		case !ok:
			flush()
			drawing = false
			continue
		case !drawing:
			fmt.Fprintf(&b, "M%g %gh.01", x, y)
			penX, penY = x, y
		case y != penY:
			flush()
			down := short(y - penY)
			if down[0] != '-' {
				down = " " + down
			}
			b.WriteString("l" + short(x-penX) + down)
			penX, penY = x, y
		}
		drawing, level = true, x
	}
	flush()
	return b.String()
}

// short prints a coordinate with one decimal and no zero before the point.
func short(v float64) string {
	text := strconv.FormatFloat(round(v), 'f', -1, 64)
	text = strings.Replace(text, "-0.", "-.", 1)
	if strings.HasPrefix(text, "0.") {
		return text[1:]
	}
	return text
}

// The places of texts around the box of a chart.

func (c *chart) BoxHeight() float64 { return c.Bottom - c.Top }
func (c *chart) YTextX() float64    { return c.Left - 6 }
func (c *chart) XTextY() float64    { return c.Bottom + 15 }
func (c *chart) TitleY() float64    { return c.Bottom + 30 }
