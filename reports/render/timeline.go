package render

import (
	"fmt"
	"math"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// moment is a place on the charts over time: a single second, or several in a long Run.
type moment struct {
	from, seconds               float64
	offered, committed, visible float64
	p50, p95, p99, max          float64
	outstanding                 float64
}

// moments thins the series to at most so many points: rates are averaged; latencies and the
// outstanding writes come from the worst second, because percentiles have no average.
func moments(series []reports.Second, most int) []moment {
	if len(series) == 0 {
		return nil
	}
	width := series[len(series)-1].Second/most + 1
	var all []moment
	for _, s := range series {
		from := float64(s.Second / width * width)
		if len(all) == 0 || all[len(all)-1].from != from {
			all = append(all, moment{from: from, seconds: float64(width)})
		}
		m := &all[len(all)-1]
		m.offered += float64(s.Offered) / m.seconds
		m.committed += float64(s.Committed) / m.seconds
		m.visible += float64(s.Visible) / m.seconds
		m.p50, m.p95 = math.Max(m.p50, s.P50), math.Max(m.p95, s.P95)
		m.p99, m.max = math.Max(m.p99, s.P99), math.Max(m.max, s.Max)
		m.outstanding = math.Max(m.outstanding, float64(s.Outstanding))
	}
	return all
}

// timeline is a chart over the seconds of the Run with the faults shaded.
func timeline(r *reports.Run, s size, label string) (c *chart, x axis, all []moment) {
	c = newChart(s, label, "since the start of the measured load")
	all = moments(r.Series, s.points)
	last := 1.0
	if len(all) > 0 {
		last = all[len(all)-1].from + all[len(all)-1].seconds
	}
	x = c.timeX(last)
	for _, f := range r.Faults {
		c.shade(x, f)
	}
	c.stagger()
	return c, x, all
}

// shade marks a fault and, more lightly, the time until the pipeline had recovered.
func (c *chart) shade(x axis, f reports.FaultWindow) {
	add := func(class, text string, from, to float64) {
		from, to = math.Min(math.Max(from, x.low), x.high), math.Min(to, x.high)
		if to <= from {
			to = from
		}
		c.Bands = append(c.Bands, band{X: x.at(from),
			Width: math.Max(2, round(x.at(to)-x.at(from))),
			Class: class, Text: text, TextY: c.Top - 6})
	}
	if f.Applied {
		add("fault", f.Name, f.StartSeconds, f.EndSeconds)
	} else {
		add("missed", f.Name+" (not applied)", f.StartSeconds, f.EndSeconds)
	}
	if f.RecoveredSeconds > 0 {
		add("recovery", "", f.EndSeconds, f.EndSeconds+f.RecoveredSeconds)
	}
}

// stagger keeps the texts of the bands within the chart, and lowers a text that would be written
// over the text before.
func (c *chart) stagger() {
	const characterWidth = 6.8
	var end, lowered float64
	for i := range c.Bands {
		b := &c.Bands[i]
		if b.Text == "" {
			continue
		}
		width := characterWidth * float64(len([]rune(b.Text)))
		b.TextX = max(c.Left, min(b.X, round(c.Right-width)))
		if b.TextX < end {
			lowered += 14
		} else {
			lowered = 0
		}
		b.TextY += lowered
		end = max(end, b.TextX+width)
	}
}

// draw adds a line for a number of the moments; moments with a false show leave a gap.
func (c *chart) draw(class string, x, y axis, all []moment, of func(moment) float64,
	show func(moment) bool) {
	drawn := path(len(all), func(i int) (float64, float64, bool) {
		m := all[i]
		return x.at(m.from + m.seconds/2), y.at(of(m)), show(m)
	})
	c.Lines = append(c.Lines, line{class, drawn})
}

func always(moment) bool { return true }

// hover adds the texts of at most so many moments; none for 0.
func (c *chart) hover(x axis, r *reports.Run, most int, text func(moment) string) {
	if most == 0 {
		return
	}
	for _, m := range moments(r.Series, most) {
		when := fmt.Sprintf("second %.0f", m.from)
		if m.seconds > 1 {
			when = fmt.Sprintf("seconds %.0f to %.0f", m.from, m.from+m.seconds-1)
		}
		left, right := x.at(m.from), x.at(m.from+m.seconds)
		c.Hovers = append(c.Hovers, hover{left, round(right - left), when + "\n" + text(m)})
	}
}

func latencyChart(r *reports.Run, s size) *chart {
	c, x, all := timeline(r, s, "Latency from the intended time until seen, per second")
	least, most := math.Inf(1), 0.0
	seen := func(m moment) bool { return m.max > 0 }
	for _, m := range all {
		if seen(m) {
			least, most = math.Min(least, m.p50), math.Max(most, m.max)
		}
	}
	if most == 0 {
		return nil
	}
	if r.Floor.Writes > 0 {
		least, most = math.Min(least, r.Floor.P50), math.Max(most, r.Floor.P50)
	}
	y := c.logY(least, most)
	if r.Floor.Writes > 0 {
		c.Marks = append(c.Marks, mark{y.at(r.Floor.P50), "floor p50 " + unit.Ms(r.Floor.P50) +
			" ms"})
	}
	c.draw("max", x, y, all, func(m moment) float64 { return m.max }, seen)
	c.draw("p99", x, y, all, func(m moment) float64 { return m.p99 }, seen)
	c.draw("p95", x, y, all, func(m moment) float64 { return m.p95 }, seen)
	c.draw("p50", x, y, all, func(m moment) float64 { return m.p50 }, seen)
	c.hover(x, r, s.hovers, func(m moment) string {
		if !seen(m) {
			return "nothing intended here was seen"
		}
		return fmt.Sprintf("p50 %s ms, p95 %s ms, p99 %s ms, max %s ms",
			unit.Ms(m.p50), unit.Ms(m.p95), unit.Ms(m.p99), unit.Ms(m.max))
	})
	return c
}

func rateChart(r *reports.Run, s size) *chart {
	c, x, all := timeline(r, s, "Writes per second: offered, committed, visible")
	most := 0.0
	for _, m := range all {
		most = math.Max(most, math.Max(m.offered, math.Max(m.committed, m.visible)))
	}
	if most == 0 {
		return nil
	}
	y := c.linearY(1.08 * most)
	c.draw("offered", x, y, all, func(m moment) float64 { return m.offered }, always)
	c.draw("committed", x, y, all, func(m moment) float64 { return m.committed }, always)
	c.draw("visible", x, y, all, func(m moment) float64 { return m.visible }, always)
	c.hover(x, r, s.hovers, func(m moment) string {
		return fmt.Sprintf("offered %s/s, committed %s/s, visible %s/s",
			unit.Number(m.offered), unit.Number(m.committed), unit.Number(m.visible))
	})
	return c
}

func outstandingChart(r *reports.Run, s size) *chart {
	s = s.small()
	c, x, all := timeline(r, s, "Writes committed and not yet visible")
	most := 0.0
	for _, m := range all {
		most = math.Max(most, m.outstanding)
	}
	if most == 0 {
		return nil
	}
	y := c.linearY(most)
	c.draw("outstanding", x, y, all, func(m moment) float64 { return m.outstanding }, always)
	c.hover(x, r, s.hovers, func(m moment) string {
		return unit.Number(m.outstanding) + " outstanding"
	})
	return c
}
