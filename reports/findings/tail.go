package findings

import (
	"fmt"
	"math"
	"slices"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/histogram"
	"github.com/cdclab/cdclab/reports/unit"
)

// A tail deserves a look where the p99 is longTail times the p50 and leastMs more, and where
// leastTail writes lie in it.
const (
	longTail  = 5
	leastTail = 50
	// heldIn is the greatest share of the blocks that may hold mostOf a tail of stalls, with
	// leastInBlock writes of the tail each.
	heldIn       = 0.1
	mostOf       = 0.8
	leastInBlock = 4
	// An entity is named for tailShare of the tail, and timesItsShare of the share of all writes,
	// by entityZ standard scores.
	tailShare     = 0.4
	timesItsShare = 1.5
	entityZ       = 4.4
)

// tail finds what the slowest writes have in common: a few seconds, with their stage, or an entity.
func tail(e *evidence) *Finding {
	l := e.run.Summary.Latency
	if l.P50 == 0 || l.P99 < longTail*l.P50 || l.P99-l.P50 < leastMs {
		return nil
	}
	inBlock := make([]int64, len(e.e2e))
	var slow int64
	for block, counts := range e.e2e {
		inBlock[block] = counts.From(l.P99)
		slow += inBlock[block]
	}
	if slow < leastTail {
		return nil
	}
	f := &Finding{Rule: "the tail"}
	chosen, held := densest(inBlock, slow)
	least := slow
	for block := range chosen {
		least = min(least, inBlock[block])
	}
	if float64(len(chosen)) <= heldIn*float64(len(inBlock)) && least >= leastInBlock {
		cause, figures := e.blame(chosen)
		f.Sentence = fmt.Sprintf("%d of the %d slowest writes (from %s ms on) were due in %d of "+
			"%d s, and lost their time%s.", held, slow, unit.Ms(l.P99), len(chosen)*e.seconds,
			len(inBlock)*e.seconds, orTogether(cause))
		f.Figures = append([]string{"seconds " + e.ranges(chosen)}, e.faultsIn(chosen)...)
		f.Figures = append(f.Figures, figures...)
	}
	if figure := e.slowEntity(l.P99, slow); figure != "" {
		if f.Sentence == "" {
			f.Sentence = "The slowest writes are mostly of one entity."
		}
		f.Figures = append(f.Figures, figure)
	}
	if f.Sentence == "" {
		return nil
	}
	return f
}

func orTogether(cause string) string {
	if cause == "" {
		return " in several stages together"
	}
	return cause
}

// densest returns the fewest blocks that hold mostOf all slow writes, and how many these hold.
func densest(inBlock []int64, slow int64) (chosen map[int]bool, held int64) {
	order := make([]int, len(inBlock))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(inBlock[b] - inBlock[a]) })
	chosen = map[int]bool{}
	for _, block := range order {
		if float64(held) >= mostOf*float64(slow) {
			break
		}
		chosen[block], held = true, held+inBlock[block]
	}
	return chosen, held
}

// ranges is "53, 213-219, 234", in seconds.
func (e *evidence) ranges(chosen map[int]bool) string {
	var texts []string
	for block := range e.e2e {
		if !chosen[block] || chosen[block-1] {
			continue
		}
		end := block
		for chosen[end+1] {
			end++
		}
		from, to := block*e.seconds, (end+1)*e.seconds-1
		if text := fmt.Sprint(from); from == to {
			texts = append(texts, text)
		} else {
			texts = append(texts, fmt.Sprintf("%s-%d", text, to))
		}
	}
	return listed(texts)
}

// faultsIn names the faults in the chosen blocks, with how many of the blocks were within.
func (e *evidence) faultsIn(chosen map[int]bool) (figures []string) {
	within := map[string]int{}
	for block := range chosen {
		if name := e.faults[block]; name != "" {
			within[name]++
		}
	}
	for _, f := range e.run.Faults {
		if n := within[f.Name]; n > 0 {
			figures = append(figures, fmt.Sprintf("the fault %s, or its recovery, in %d of these "+
				"%d s", f.Name, n*e.seconds, len(chosen)*e.seconds))
			delete(within, f.Name)
		}
	}
	return figures
}

// slowEntity names the entity that the tail is made of, "" where each has its share.
func (e *evidence) slowEntity(ms float64, slow int64) string {
	writes, over := map[string]int64{}, map[string]int64{}
	var all int64
	_ = e.run.Histograms.Read(func(key histogram.Key, _ int, counts histogram.Counts) {
		if key.Stage == reports.E2E {
			writes[key.Entity] += counts.Samples()
			over[key.Entity] += counts.From(ms)
			all += counts.Samples()
		}
	})
	for _, s := range e.run.Stages { // in their order
		if s.Stage != reports.E2E || s.Entity == "" || s.Operation != "" {
			continue
		}
		share := float64(writes[s.Entity]) / float64(all)
		n := float64(over[s.Entity])
		z := (n - share*float64(slow)) / math.Sqrt(share*(1-share)*float64(slow))
		if n >= tailShare*float64(slow) && n >= timesItsShare*share*float64(slow) && z >= entityZ {
			return fmt.Sprintf("%s: %.0f %% of the slowest writes, and %.0f %% of all", s.Entity,
				100*n/float64(slow), 100*share)
		}
	}
	return ""
}
