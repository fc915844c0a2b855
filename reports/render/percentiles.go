package render

import (
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/cdclab/cdclab/reports"
)

// distributed are the stages of the chart of percentiles, drawn in this order.
var distributed = []string{reports.ScheduleDelay, reports.Commit, reports.Pipeline, reports.E2E}

// steps is the number of points of a curve in the chart of percentiles.
const steps = 160

// drawnCurve is a histogram with the class of its line.
type drawnCurve struct {
	class string
	*hdrhistogram.PackedHistogram
}

// curvesOf are the curves of a Run that has histograms; besides is the class of all.
func curvesOf(r *reports.Run, besides string) (all []drawnCurve) {
	for _, stage := range distributed {
		row, ok := r.StageOf(stage, "", "")
		if !ok || row.Histogram == "" {
			continue
		}
		h, err := reports.DecodeHistogram(row.Histogram)
		if err != nil {
			continue // Validate refuses such a Run; without the row a curve is missing
		}
		all = append(all, drawnCurve{stage + besides, h})
	}
	return all
}

// distributionChart shows latency over the percentile, of the base in dashes, where there is a
// base. The x axis counts nines, so that the tail has as much room as the rest; a curve ends where
// fewer than one sample is left.
func distributionChart(r, base *reports.Run, s size) *chart {
	c := newChart(s, "Latency by percentile", "percentile")
	least, most, nines := math.Inf(1), 0.0, 1.0
	curves := curvesOf(r, "")
	if base != nil {
		curves = append(curvesOf(base, " base"), curves...)
	}
	for _, h := range curves {
		least = math.Min(least, math.Max(float64(h.ValueAtPercentile(1))/1e3, 10*shortestMs))
		most = math.Max(most, float64(h.Max())/1e3)
		nines = math.Max(nines, math.Log10(float64(h.TotalCount())))
	}
	if len(curves) == 0 {
		return nil
	}
	if r.Floor.Writes > 0 {
		least, most = math.Min(least, r.Floor.P50), math.Max(most, r.Floor.P99)
	}
	x := axis{low: 0, high: nines, from: c.Left, to: c.Right}
	y := c.logY(least, most)
	for _, p := range []float64{0, 50, 90, 99, 99.9, 99.99, 99.999} {
		if at := ninesOf(p); at <= nines {
			c.XTicks = append(c.XTicks, tick{x.at(at), fmt.Sprintf("%g", p)})
		}
	}
	for _, h := range curves {
		c.Lines = append(c.Lines, line{h.class, curve(h.PackedHistogram, x, y, nines)})
	}
	if f := &r.Floor; f.Writes > 0 {
		points := []struct{ percentile, ms float64 }{{50, f.P50}, {95, f.P95}, {99, f.P99}}
		c.Lines = append(c.Lines, line{"floor",
			path(len(points), func(i int) (float64, float64, bool) {
				return x.at(ninesOf(points[i].percentile)), y.at(points[i].ms),
					ninesOf(points[i].percentile) <= nines
			})})
	}
	return c
}

// ninesOf is 0 for the smallest value, 1 for the 90th percentile, 2 for the 99th.
func ninesOf(percentile float64) float64 { return -math.Log10(1 - percentile/100) }

func curve(h *hdrhistogram.PackedHistogram, x, y axis, nines float64) string {
	last := math.Log10(float64(h.TotalCount()))
	return path(steps+1, func(i int) (float64, float64, bool) {
		at := nines * float64(i) / steps
		percentile := 100 * (1 - math.Pow(10, -at))
		return x.at(at), y.at(float64(h.ValueAtPercentile(percentile)) / 1e3), at <= last+1e-9
	})
}
