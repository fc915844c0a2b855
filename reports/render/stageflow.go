package render

import (
	"fmt"
	"math"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// flow is how long each stage took on average in a stretch of the Run, in the order of flowStages.
type flow struct {
	from, to float64
	ms       []float64
}

// flowStages are the stages of a flow, the first at the bottom of the chart. Pipeline stands for
// the stages within, where these were not seen over time.
var flowStages = append(append([]string{}, reports.PartStages...), reports.Pipeline,
	reports.Visibility)

// flows are the stretches between two looks at the consumer's stages, else of equal length.
func flows(r *reports.Run, most int) (all []flow) {
	timelines, block := r.Histograms.Timelines(), float64(max(1, r.Histograms.BlockSeconds))
	mean := func(stage string, from, to float64) float64 {
		var total float64
		var n int64
		line := timelines[stage]
		for i := int(from / block); i < len(line) && float64(i)*block < to; i++ {
			total, n = total+line[i].TotalMs(), n+line[i].Samples()
		}
		return total / float64(max(1, n))
	}
	for _, ends := range stretches(r, most) {
		f := flow{ends[0], ends[1], make([]float64, len(flowStages))}
		var within, pipeline float64
		for i, stage := range flowStages {
			switch stage {
			case reports.ScheduleDelay, reports.Commit:
				f.ms[i] = mean(stage, f.from, f.to)
			case reports.Pipeline:
				pipeline = mean(stage, f.from, f.to)
				if within == 0 {
					f.ms[i] = pipeline
				}
			case reports.Visibility:
				if within > 0 {
					f.ms[i] = max(0, pipeline-within)
				}
			default:
				f.ms[i] = r.GaugeBetween(reports.StageGauge(stage, reports.GaugeMean), f.from, f.to)
				within += f.ms[i]
			}
		}
		all = append(all, f)
	}
	return all
}

// stretches divides the load: at most so many, of five seconds at least.
func stretches(r *reports.Run, most int) (all [][2]float64) {
	length := min(r.TestRun.DurationSeconds, reports.MaxSecond)
	block := float64(max(1, r.Histograms.BlockSeconds))
	step := block * math.Ceil(max(5, length/float64(most))/block)
	for from := 0.0; from < length; from += step {
		all = append(all, [2]float64{from, min(from+step, length)})
	}
	return all
}

// flowChart stacks the mean time of the stages over the Run; nil where nothing was recorded.
func flowChart(r *reports.Run, s size) *chart {
	if len(r.Histograms.Series) == 0 {
		return nil
	}
	c, x, _ := timeline(r, s, "Mean time of each stage, stacked")
	all := flows(r, s.points/4)
	most := 0.0
	for _, f := range all {
		most = max(most, sum(f.ms))
	}
	if most == 0 {
		return nil
	}
	y := c.linearY(most)
	areas := make([]strings.Builder, len(flowStages))
	for _, f := range all {
		var under float64
		left, right := x.at(f.from), x.at(f.to)
		for i, ms := range f.ms {
			if low, high := y.at(under), y.at(under+ms); high < low {
				fmt.Fprintf(&areas[i], "M%g %gH%gV%gH%gz", left, low, right, high, left)
			}
			under += ms
		}
	}
	for i, stage := range flowStages {
		if drawn := areas[i].String(); drawn != "" {
			c.Areas = append(c.Areas, line{stage, drawn})
		}
	}
	if s.hovers == 0 {
		return c
	}
	for _, f := range all {
		text := fmt.Sprintf("seconds %.0f to %.0f\nin all %s ms", f.from, f.to, unit.Ms(sum(f.ms)))
		for i, ms := range f.ms {
			if ms > 0 {
				text += ", " + reports.StageLabel(flowStages[i]) + " " + unit.Ms(ms)
			}
		}
		left := x.at(f.from)
		c.Hovers = append(c.Hovers, hover{left, round(x.at(f.to) - left), text})
	}
	return c
}

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}
