package gate

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"golang.org/x/perf/benchmath"
)

// Confidence is the level of every interval, and resamples the number of draws behind one.
const (
	Confidence = 0.95
	resamples  = 2000
)

// Difference holds a number of two groups of Runs against each other, a value a Run. All changes
// are of the head, in per cent of the base.
type Difference struct {
	BaseRuns   int     `json:"baseRuns"`
	HeadRuns   int     `json:"headRuns"`
	BaseMedian float64 `json:"baseMedian"`
	HeadMedian float64 `json:"headMedian"`
	// Percent is the change of the median; Low and High bound the change with Confidence.
	Percent float64 `json:"percent"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	// P is Mann-Whitney's, of both directions. Superiority is the effect size: the share of all
	// pairs in which the head's Run has the greater value, half a pair for equal values.
	P           float64 `json:"p"`
	Superiority float64 `json:"superiority"`
}

// Differ compares two groups, each with a value or more. The interval comes from resampling whole
// Runs, because the rows of one Run share its accidents.
func Differ(base, head []float64) Difference {
	d := differWithoutInterval(base, head)
	random := rand.New(rand.NewPCG(1, 2)) // the same Runs have the same interval
	changes := make([]float64, resamples)
	b, h := make([]float64, len(base)), make([]float64, len(head))
	for i := range changes {
		drawInto(b, base, random)
		drawInto(h, head, random)
		changes[i] = percentOf(medianInPlace(b), medianInPlace(h))
	}
	slices.Sort(changes)
	tail := int((1 - Confidence) / 2 * resamples)
	d.Low, d.High = changes[tail], changes[resamples-1-tail]
	return d
}

// differWithoutInterval is Differ for many groups, such as a simulation's.
func differWithoutInterval(base, head []float64) Difference {
	d := Difference{BaseRuns: len(base), HeadRuns: len(head),
		BaseMedian: Median(base), HeadMedian: Median(head),
		P: mannWhitney(base, head), Superiority: superiority(base, head)}
	d.Percent = percentOf(d.BaseMedian, d.HeadMedian)
	d.Low, d.High = d.Percent, d.Percent
	return d
}

func drawInto(drawn, from []float64, random *rand.Rand) {
	for i := range drawn {
		drawn[i] = from[random.IntN(len(from))]
	}
}

// percentOf is the change from base to head in per cent, 0 between two zeros.
func percentOf(base, head float64) float64 {
	if base == head {
		return 0
	}
	return 100 * (head - base) / math.Max(math.Abs(base), math.SmallestNonzeroFloat32)
}

// Median returns the middle of some values, of an even number the mean of both in the middle, and 0
// for none.
func Median(values []float64) float64 { return medianInPlace(slices.Clone(values)) }

// medianInPlace is Median, and sorts the values.
func medianInPlace(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	slices.Sort(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// mannWhitney is the probability of a difference as large between two groups of one distribution.
// With equal values the library looks at one end of the distribution, and the result depends on the
// order of the groups: 4/3 for 1 and (1, 1.5), but 2/3 for (1, 1.5) and 1. The larger is safe.
func mannWhitney(base, head []float64) float64 {
	sample := func(values []float64) *benchmath.Sample {
		return benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
	}
	p := func(first, second []float64) float64 {
		return benchmath.AssumeNothing.Compare(sample(first), sample(second)).P
	}
	return min(1, max(p(base, head), p(head, base)))
}

func superiority(base, head []float64) float64 {
	sum := 0.0
	for _, b := range base {
		for _, h := range head {
			sum += float64(1+cmp.Compare(h, b)) / 2
		}
	}
	return sum / float64(max(1, len(base)*len(head)))
}

// adjustHolm returns the p of several tests at once: an adjusted p below alpha is wrong in at most
// alpha of all families of tests without a difference.
func adjustHolm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	adjusted, highest := make([]float64, len(p)), 0.0
	for rank, i := range order {
		highest = max(highest, float64(len(p)-rank)*p[i])
		adjusted[i] = min(1, highest)
	}
	return adjusted
}

// LeastRuns is how many Runs each side needs before any difference, however large, has a p below
// alpha among so many tests.
func LeastRuns(alpha float64, tests int) int {
	smallest := 1.0 // of n against n: 2 / (2n over n)
	for n := 1; ; n++ {
		smallest *= float64(n) / float64(2*(2*n-1))
		if 2*smallest*float64(tests) < alpha*(1-1e-9) {
			return n
		}
	}
}

// RunsFor is how many Runs each side needs to find a change of so many per cent with a power of 80
// %, by Noether's formula, where single Runs scatter by a standard deviation of noisePercent.
func RunsFor(percent, noisePercent, alpha float64, tests int) int {
	least := LeastRuns(alpha, tests)
	if noisePercent <= 0 || percent == 0 {
		return least
	}
	normal := func(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }
	wins := 0.5 * math.Erfc(-math.Abs(percent)/noisePercent/2) // of a head's Run over a base's
	z := normal(1-alpha/float64(2*tests)) + normal(0.8)
	return max(least, int(math.Ceil(z*z/(6*(wins-0.5)*(wins-0.5)))))
}

// noisePercent estimates the standard deviation of a group's values in per cent of the median, from
// the median absolute deviation: a single stall among the Runs is no noise.
func noisePercent(values []float64) float64 {
	middle := Median(values)
	if middle == 0 || len(values) < 2 {
		return 0
	}
	away := make([]float64, len(values))
	for i, v := range values {
		away[i] = math.Abs(v - middle)
	}
	const normal = 1.4826 // a normal distribution's deviation by its median deviation
	return 100 * normal * Median(away) / math.Abs(middle)
}
