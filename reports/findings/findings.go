// Package findings names what the numbers of a Run show beside the verdict, where the evidence is
// strong enough: stalls on a clock, and the seconds, the stage and the entity of the slowest
// writes. Each Finding names its figures; a Run without evidence has none. The package judges
// nothing. Start reading at Find, then at the rules stalls and tail.
package findings

import (
	"math"
	"slices"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/histogram"
)

// Finding is an observation with its evidence.
type Finding struct {
	// Rule is the name of the rule, for example "periodic stalls".
	Rule string
	// Sentence is the observation, Figures are the evidence, a phrase each.
	Sentence string
	Figures  []string
}

// Find returns the findings about a Run, the most telling first.
func Find(r *reports.Run) []Finding {
	e := readEvidence(r)
	all := []Finding{}
	for _, rule := range []func(*evidence) *Finding{stalls, tail} {
		if found := rule(e); found != nil {
			all = append(all, *found)
		}
	}
	return all
}

// evidence is a Run by block of its histograms: by second, or by a few in a long Run.
type evidence struct {
	run *reports.Run
	// seconds is the length of a block.
	seconds int
	// stages has the mean of each stage in each block in milliseconds, NaN where nothing was
	// recorded, and counts the samples.
	stages map[string][]float64
	e2e    []histogram.Counts
	// worst is the highest e2e p99 of each block in milliseconds, 0 where nothing was seen.
	worst []float64
	// faults names the fault or recovery in each block, "" for none.
	faults []string
}

func readEvidence(r *reports.Run) *evidence {
	e := &evidence{run: r, seconds: r.Histograms.BlockSeconds, stages: map[string][]float64{}}
	if n := len(r.Series); e.seconds == 0 && n > 0 { // of an older lab
		e.seconds = r.Series[n-1].Second/histogram.MaxBlocks + 1
	}
	timelines := r.Histograms.Timelines()
	for stage, blocks := range timelines {
		means := make([]float64, len(blocks))
		for i, block := range blocks {
			means[i] = math.NaN()
			if n := block.Samples(); n > 0 {
				means[i] = block.TotalMs() / float64(n)
			}
		}
		e.stages[stage] = means
	}
	e.e2e = timelines[reports.E2E]
	for _, s := range r.Series {
		block := s.Second / e.seconds
		// Writes due at the very end belong to no whole second.
		if float64(s.Second) >= r.TestRun.DurationSeconds || block >= histogram.MaxBlocks {
			break
		}
		if missing := block + 1 - len(e.worst); missing > 0 {
			e.worst = append(e.worst, make([]float64, missing)...)
		}
		e.worst[block] = max(e.worst[block], s.P99)
	}
	e.readFaults()
	return e
}

// mean is the mean of a stage in the chosen blocks, and in all others; ok is false where either has
// none.
func (e *evidence) mean(stage string, chosen map[int]bool) (in, out float64, ok bool) {
	var sums, counts [2]float64
	for block, ms := range e.stages[stage] {
		if math.IsNaN(ms) {
			continue
		}
		side := 0
		if chosen[block] {
			side = 1
		}
		sums[side], counts[side] = sums[side]+ms, counts[side]+1
	}
	return sums[1] / counts[1], sums[0] / counts[0], counts[0] > 0 && counts[1] > 0
}

// readFaults names the fault in each block in which a fault or a recovery was going on.
func (e *evidence) readFaults() {
	e.faults = make([]string, max(len(e.worst), len(e.e2e)))
	for _, f := range e.run.Faults {
		end := f.EndSeconds + max(0, f.RecoveredSeconds)
		if f.RecoveredSeconds < 0 { // never seen to recover
			end = math.Inf(1)
		}
		last := int(min(end/float64(e.seconds), float64(len(e.faults)-1)))
		for block := int(min(f.StartSeconds, 1e9)) / e.seconds; block <= last; block++ {
			e.faults[block] = f.Name
		}
	}
}

// median returns the middle of the values above 0; 0 without any.
func median(values []float64) float64 {
	above := slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return !(v > 0) })
	if len(above) == 0 {
		return 0
	}
	return reports.Middle(above)
}
