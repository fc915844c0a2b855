// Package trend finds the nights on which a number changed for good, and shows the history of every
// metric that decides. The package runs nothing and reads no files. Start reading at ChangePoints,
// then at Find, which takes the stored Runs.
package trend

import (
	"math"

	"github.com/aclements/go-moremath/stats"
)

// Options say when a change counts.
type Options struct {
	// Alpha is the p below which a change is no accident; LeastPercent is the least change worth a
	// word, in per cent of the mean before.
	Alpha, LeastPercent float64
}

// DefaultOptions keep the false alarms of clean nights below one a year for all metrics together,
// and find a step of 10 % with the third value after the step.
var DefaultOptions = Options{Alpha: 0.0001, LeastPercent: 3}

// leastSegment is the least number of values on each side of a change: two values of a side have no
// deviation to speak of.
const leastSegment = 3

// Change is a change point of a series.
type Change struct {
	// Index is the first value after the change.
	Index int `json:"index"`
	// Before and After are the means of the values between the neighbouring changes.
	Before  float64 `json:"before"`
	After   float64 `json:"after"`
	Percent float64 `json:"percent"`
	P       float64 `json:"p"`
}

// ChangePoints returns the changes of a series, the earliest first: E-divisive means. The split
// with the greatest energy distance between both sides divides the series, each part is divided
// again. Afterwards every change is tested between the neighbouring changes, and dropped where a
// change found later explains the series better.
func ChangePoints(series []float64, o Options) []Change {
	points := divide(series, 0, len(series), o)
	for {
		changes, weakest := test(series, points), -1
		for i, c := range changes {
			if (c.P >= o.Alpha || math.Abs(c.Percent) < o.LeastPercent) &&
				(weakest < 0 || c.P > changes[weakest].P) {
				weakest = i
			}
		}
		if weakest < 0 {
			return changes
		}
		points = append(points[:weakest:weakest], points[weakest+1:]...)
	}
}

// divide returns the indexes that divide series[from:to], in their order.
func divide(series []float64, from, to int, o Options) []int {
	at := bestSplit(series[from:to])
	if at < 0 {
		return nil
	}
	at += from
	// The merge at the end is strict. Here a weaker split may make room for a strong one beside.
	const lenient = 100
	if p := tTest(series[from:at], series[at:to]); p >= lenient*o.Alpha {
		return nil
	}
	return append(append(divide(series, from, at, o), at), divide(series, at, to, o)...)
}

// bestSplit returns the index with the greatest energy distance between the values before and from
// there on, -1 for a series too short or without any difference.
func bestSplit(x []float64) int {
	n, best, at := len(x), 0.0, -1
	if n < 2*leastSegment {
		return -1
	}
	// left, right and across are the sums of the distances of pairs before the split, after the
	// split, and of both sides.
	left, right, across := 0.0, 0.0, 0.0
	for i := range n {
		for j := range i {
			right += math.Abs(x[i] - x[j])
		}
	}
	for split := 1; split < n; split++ { // x[split-1] goes from the right to the left
		toLeft, toRight := 0.0, 0.0
		for j, v := range x {
			if d := math.Abs(v - x[split-1]); j < split {
				toLeft += d
			} else {
				toRight += d
			}
		}
		left, right, across = left+toLeft, right-toRight, across+toRight-toLeft
		if split < leastSegment || n-split < leastSegment {
			continue
		}
		a, b := float64(split), float64(n-split)
		q := a * b / (a + b) *
			(2*across/(a*b) - 2*left/(a*(a-1)) - 2*right/(b*(b-1)))
		if q > best {
			best, at = q, split
		}
	}
	return at
}

// test returns the changes at the points, each between its neighbours.
func test(series []float64, points []int) []Change {
	changes := make([]Change, len(points))
	for i, at := range points {
		from, to := 0, len(series)
		if i > 0 {
			from = points[i-1]
		}
		if i+1 < len(points) {
			to = points[i+1]
		}
		before, after := stats.Mean(series[from:at]), stats.Mean(series[at:to])
		changes[i] = Change{Index: at, Before: before, After: after,
			P: tTest(series[from:at], series[at:to])}
		if before != 0 {
			changes[i].Percent = 100 * (after - before) / math.Abs(before)
		}
	}
	return changes
}

// tTest is Student's, of both directions, with the deviations of samples (n-1).
func tTest(before, after []float64) float64 {
	spread := func(values []float64) bool {
		for _, v := range values {
			if v != values[0] {
				return true
			}
		}
		return false
	}
	if !spread(before) && !spread(after) {
		if before[0] == after[0] {
			return 1
		}
		return 0
	}
	result, err := stats.TwoSampleTTest(stats.Sample{Xs: before}, stats.Sample{Xs: after},
		stats.LocationDiffers)
	if err != nil {
		return 1
	}
	return result.P
}
