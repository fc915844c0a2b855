package findings

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports/unit"
)

// A stall is a second whose e2e p99 stands out: leastTimes the usual second's, and leastMs more.
const (
	leastTimes = 3
	leastMs    = 20.0
	// leastBeats is how often a stall must come back, missedBeats the share of beats that may be
	// missing or hidden.
	leastBeats  = 4
	missedBeats = 0.25
	// shortest is the shortest period, in blocks: below, nearly every block is near a beat.
	shortest = 5
	// chance is how likely chance alone may make such a pattern somewhere in a Run.
	chance = 0.01
)

// roundPeriods are the seconds of the timers in programs. A pattern of a round period needs less
// evidence than a pattern of any period, because far fewer of these were tried.
var roundPeriods = []float64{5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600}

// pattern is a stall that comes back.
type pattern struct {
	// period and first are in blocks.
	period, first float64
	// blocks are the found beats, of all beats due.
	blocks []int
	due    int
	// likely is the probability of such a pattern by chance.
	likely float64
}

// stalls finds seconds with a high e2e p99 that come back on a clock. For each period and phase
// a beat is ranked among the blocks of its own period, so that stalls may grow with the data, and
// the pattern counts where chance would hardly rank so many beats so high.
func stalls(e *evidence) *Finding {
	worst := slices.Clone(e.worst)
	for block := range worst {
		if e.faults[block] != "" {
			worst[block] = 0
		}
	}
	usual := median(worst)
	best := findPattern(worst, e.seconds)
	if usual == 0 || best.likely > chance {
		return nil
	}
	var sizes []float64
	for _, block := range best.blocks {
		sizes = append(sizes, worst[block])
	}
	if size := median(sizes); size < leastTimes*usual || size-usual < leastMs {
		return nil
	}
	return e.stallFinding(best, sizes, usual)
}

// findPattern returns the least likely pattern of blocks of so many seconds.
func findPattern(worst []float64, seconds int) pattern {
	best, n := pattern{likely: 1}, float64(len(worst))
	var round []float64
	for _, timer := range roundPeriods {
		if period := timer / float64(seconds); period >= shortest && period <= n/leastBeats {
			round = append(round, period)
		}
	}
	highest := highestOf(worst)
	for _, period := range round {
		best = better(best, bestPhase(worst, highest, period, sumOf(round)))
	}
	highest = highest[:min(len(highest), anchors/3)]
	for period := float64(shortest); period <= n/leastBeats; period += max(0.05, period/n) {
		best = better(best, bestPhase(worst, highest, period, n*n/leastBeats))
	}
	return best
}

func better(a, b pattern) pattern {
	if b.likely < a.likely {
		return b
	}
	return a
}

func sumOf(values []float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return sum
}

// anchors is how many of the highest blocks are tried as a beat of a pattern: a third of these
// where the period may be any.
const anchors = 12

// highestOf returns the highest blocks, the highest first.
func highestOf(worst []float64) []int {
	order := make([]int, len(worst))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(worst[b], worst[a]) })
	return order[:min(anchors, len(order))]
}

// bestPhase returns the least likely pattern of a period with one of the highest blocks as a beat;
// trials is how many periods and phases are tried in all.
func bestPhase(worst []float64, highest []int, period, trials float64) pattern {
	best := pattern{likely: 1}
	for _, anchor := range highest {
		first := math.Mod(float64(anchor)+0.5, period)
		best = better(best, patternOf(worst, period, first, trials))
	}
	return best
}

// hopeless is the rank from which on a beat shows nothing.
const hopeless = 0.5

// beat is the highest block beside a moment, and the share of blocks of its period that are as
// high.
type beat struct {
	block int
	rank  float64
}

func patternOf(worst []float64, period, first, trials float64) pattern {
	p := pattern{period: period, first: first, likely: 1}
	p.due = int(math.Ceil((float64(len(worst)) - first) / period))
	missable, missed := int(missedBeats*float64(p.due)), 0
	beats := make([]beat, 0, p.due)
	for at := first; at < float64(len(worst)); at += period {
		block := int(at)
		for _, near := range []int{int(at) - 1, int(at) + 1} {
			if near >= 0 && near < len(worst) && worst[near] > worst[block] {
				block = near
			}
		}
		from := max(0, int(min(at-period/2, float64(len(worst))-period)))
		to := min(len(worst), from+int(math.Ceil(period)))
		as := 0
		for _, v := range worst[from:to] {
			if v >= worst[block] {
				as++
			}
		}
		// Each of three neighbours had the chance to be the highest.
		rank := min(1, 3*float64(as)/float64(to-from))
		if worst[block] == 0 {
			rank = 1
		}
		if rank > hopeless {
			missed++
		}
		if missed > missable { // which saves most of the time
			return p
		}
		beats = append(beats, beat{block, rank})
	}
	if len(beats) < leastBeats {
		return p
	}
	slices.SortFunc(beats, func(a, b beat) int { return cmp.Compare(a.rank, b.rank) })
	for found := len(beats); found >= max(leastBeats, len(beats)-missable); found-- {
		tries := trials * float64(missable+1)
		likely := tries * atLeast(len(beats), found, beats[found-1].rank)
		if likely < p.likely {
			p.likely, p.blocks = likely, nil
			for _, b := range beats[:found] {
				p.blocks = append(p.blocks, b.block)
			}
		}
	}
	slices.Sort(p.blocks)
	return p
}

// atLeast is the probability of k or more hits in n tries of this chance.
func atLeast(n, k int, of float64) (sum float64) {
	choose, _ := math.Lgamma(float64(n + 1))
	for i := k; i <= n; i++ {
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(n - i + 1))
		logged := choose - a - b + float64(i)*math.Log(of)
		if i < n {
			logged += float64(n-i) * math.Log1p(-of)
		}
		sum += math.Exp(logged)
	}
	return min(1, sum)
}

func (e *evidence) stallFinding(p pattern, sizes []float64, usual float64) *Finding {
	chosen := map[int]bool{}
	var when, texts []string
	for i, block := range p.blocks {
		chosen[block] = true
		when = append(when, fmt.Sprint(block*e.seconds))
		texts = append(texts, unit.Ms(sizes[i]))
	}
	for block := range chosen { // what belongs to the same stall
		for next := block + 1; next < len(e.worst) && e.worst[next] > e.worst[block]/2; next++ {
			chosen[next] = true
		}
	}
	period := unit.Number(math.Round(p.period*float64(e.seconds)*10) / 10)
	f := &Finding{Rule: "periodic stalls"}
	cause, figures := e.blame(chosen)
	growing := ""
	if grows(sizes) {
		growing = ", growing over the run"
	}
	f.Sentence = fmt.Sprintf("Every %s s the pipeline stalls%s: e2e p99 is %s ms there (median), "+
		"and %s ms in the usual second%s.", period, cause, unit.Ms(median(sizes)), unit.Ms(usual),
		growing)
	f.Figures = append([]string{
		fmt.Sprintf("%d of %d beats, in seconds %s", len(p.blocks), p.due,
			listed(when)),
		"e2e p99 there: " + listed(texts) + " ms",
		fmt.Sprintf("by chance in fewer than 1 of %s such runs", rounded(1/p.likely)),
	}, figures...)
	return f
}

// mostListed is how many items a figure lists.
const mostListed = 12

// listed returns the first items, and how many more there are.
func listed(items []string) string {
	if more := len(items) - mostListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(items[:mostListed], ", "), more)
	}
	return strings.Join(items, ", ")
}

// rounded returns a great number with one digit, "2000" of 2345.
func rounded(v float64) string {
	v = min(v, 1e6)
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	return fmt.Sprintf("%.0f", math.Floor(v/decade)*decade)
}

// grows is true if the sizes rise over time: Spearman's rank correlation is at least 0.8.
func grows(sizes []float64) bool {
	n := float64(len(sizes))
	var squares float64
	for i, size := range sizes {
		rank := 0
		for j, other := range sizes {
			if other < size || other == size && j < i {
				rank++
			}
		}
		squares += float64((rank - i) * (rank - i))
	}
	return n >= leastBeats && 1-6*squares/(n*(n*n-1)) >= 0.8
}
