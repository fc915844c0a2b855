package experiments

import (
	"math"
	"slices"
)

const (
	// searchEnds when the lowest rate that broke is so much above the highest that held, and
	// mostProbes bounds the search, the open ramp included.
	searchEnds = 1.04
	mostProbes = 16
	// firstStep is the ratio of two rates while only one side of the breakpoint is known.
	firstStep = 1.35
)

// tried is a rate, per second, and whether it held.
type tried struct {
	rate float64
	held bool
}

// bracket are the rates that a search has tried so far.
type bracket []tried

// sides are the highest rate that held, and the lowest above it that broke; 0 for none. What broke below a rate
// that held did so by accident: the machine has noise.
func (b bracket) sides() (held, broke float64) {
	for _, one := range b {
		if one.held {
			held = max(held, one.rate)
		}
	}
	for _, one := range b {
		if one.rate > held && (broke == 0 || one.rate < broke) {
			broke = one.rate
		}
	}
	return held, broke
}

// close: both sides are known, and there is nothing worth trying between them.
func (b bracket) close() bool {
	held, broke := b.sides()
	return held > 0 && broke > 0 && (broke/held <= searchEnds || broke-held <= 1)
}

// over: both sides are close, or not even one write a second held.
func (b bracket) over() bool {
	held, broke := b.sides()
	return !b.doubtful() && (b.close() || held == 0 && broke == 1)
}

// doubtful: the last rate broke for the first time. Accidents only break, so that it is tried again.
func (b bracket) doubtful() bool {
	before := len(b) - 1
	return before >= 0 && !b[before].held && !slices.Contains(b[:before], b[before])
}

// next is the rate to try: from start up or down while one side is not known, then the middle of both. What
// breaks is tried twice.
func (b bracket) next(start float64) float64 {
	held, broke := b.sides()
	switch {
	case b.doubtful():
		return b[len(b)-1].rate
	case held == 0 && broke == 0:
		return start
	case broke == 0:
		return max(held+1, math.Round(held*firstStep))
	case held == 0:
		return max(1, math.Round(broke/firstStep))
	}
	return math.Round(math.Sqrt(held * broke))
}
