package experiments

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// Breakpoint is the lab's scenario that searches: first an open ramp, then held rates. A script of
// one's own may have the name, too, and is a load like any other.
const Breakpoint = "breakpoint"

// searches returns true if the script is the lab's own Breakpoint, by name or by path.
func (e *environment) searches() bool { return e.is(Breakpoint) }

// is returns true if the script is the lab's own scenario of the name.
func (e *environment) is(scenario string) bool {
	own, err := os.Stat(filepath.Join(scenarioFolder(e.root), scenario+".js"))
	if err != nil {
		return false
	}
	script, err := os.Stat(e.scenario)
	return err == nil && os.SameFile(own, script)
}

// holdFor is how long a rate must keep the limits, where --duration says nothing else.
const holdFor = 20 * time.Second

// search is the search for a breakpoint. Each probe is a separate load on the same stack, in a
// separate folder.
type search struct {
	// whole is the load that the search stands for: its Run has the floor and the clocks.
	whole *load
	hold  time.Duration
	found reports.Breakpoint
	// rates are the rates tried, in their order, and loads the load of each.
	rates bracket
	loads []*load
	// ramped is the load of the open ramp.
	ramped *load
}

// search looks for the highest rate that holds and returns the load with the rate. With an error
// the load is the best so far, or l where nothing was measured.
func (l *load) search(ctx context.Context) (*load, error) {
	s := &search{whole: l, hold: holdFor}
	if l.config.Duration != nil {
		s.hold = *l.config.Duration
	}
	s.found.HoldSeconds = s.hold.Seconds()
	start, err := s.ramp(ctx)
	for err == nil && len(s.found.Probes) < mostProbes && !s.rates.over() {
		s.conclude().keep()
		err = s.probe(ctx, s.rates.next(start))
	}
	if s.ramped == nil {
		return l, err
	}
	return s.conclude(), err
}

// rampLimitMs is when a second of the ramp has begun to break: the latency runs away from there.
const rampLimitMs = 500

// ramp raises the rate until k6's threshold ends the load, and returns the rate to start the search
// from: 0.8 of the rate at which writes began to wait for longer than the limit.
func (s *search) ramp(ctx context.Context) (float64, error) {
	child, err := s.load(ctx, "ramp", nil)
	s.ramped = child
	if err != nil {
		return 0, err
	}
	run := child.run
	p := reports.NewProbe(run.Summary.Throughput.Max, run)
	rate := run.Summary.Throughput.Max
	for _, second := range run.Series {
		if second.P95 > rampLimitMs {
			rate = float64(second.Offered)
			p.Reason = fmt.Sprintf("p95 above %g ms from %d/s on",
				float64(rampLimitMs), second.Offered)
			break
		}
	}
	p.Rate = rate
	s.found.Probes = append(s.found.Probes, p)
	s.whole.config.Say(fmt.Sprintf("ramp: %s", p.Reason))
	return math.Max(1, math.Round(rate*0.8)), nil
}

// probe holds one rate.
func (s *search) probe(ctx context.Context, rate float64) error {
	n := len(s.found.Probes)
	// The rows of each k6 follow from its seed.
	seed := fmt.Sprint(s.whole.config.seed() + int64(n))
	child, err := s.load(ctx, fmt.Sprintf("probe-%d", n), map[string]string{
		"HOLD": "1", "RATE": fmt.Sprint(int(rate)), "DURATION": s.hold.String(),
		"SEED": seed, "CDC_SEED": seed,
	})
	if err != nil {
		return err
	}
	p := reports.NewProbe(rate, child.run)
	s.found.Probes = append(s.found.Probes, p)
	s.rates, s.loads = append(s.rates, tried{rate, p.Held}), append(s.loads, child)
	result := "held"
	if !p.Held {
		result = p.Reason
	}
	s.whole.config.Say(fmt.Sprintf("%.0f/s: p95 %.1f ms, %s", rate, p.P95, result))
	return nil
}

// load runs a load of the search.
func (s *search) load(ctx context.Context, name string, changed map[string]string) (*load, error) {
	env := maps.Clone(s.whole.k6.env)
	if changed == nil {
		delete(env, "DURATION") // DURATION is how long a rate is held
	}
	maps.Copy(env, changed)
	return s.whole.runAnother(ctx, name, env, func(child *load) {
		if s.ramped == nil {
			early := *s.whole // with the notes of the stack
			early.k6, early.run.Load = child.k6, child.run.Load
			early.keepBeforeLoad()
		}
	})
}

// conclude returns the load with the highest held rate so far, or the last load where no rate held,
// with a Run that tells of the whole search.
func (s *search) conclude() *load {
	found := s.found
	found.Rate, found.Broke = s.rates.sides()
	best := *s.ramped
	if n := len(s.loads); n > 0 {
		best = *s.loads[n-1]
	}
	held, broke := s.last(tried{found.Rate, true}), s.last(tried{found.Broke, false})
	if held != nil {
		best = *held
	}
	if held != nil && broke != nil {
		found.Part, found.Why = reports.Limiting(held.run, broke.run)
	}
	run, whole := *best.run, s.whole.run
	run.Breakpoint = found
	run.Notes = slices.Concat(whole.Notes, run.Notes)
	run.Warnings = slices.Concat(whole.Warnings, run.Warnings)
	run.Ledger.Path = best.ledgerInFolder()
	best.run = &run
	return &best
}

// last returns the last load of a rate with the same result, nil for none.
func (s *search) last(one tried) (found *load) {
	for i, other := range s.rates {
		if other == one {
			found = s.loads[i]
		}
	}
	return found
}

const (
	// searchEnds when the lowest broken rate is so much above the highest held rate, and mostProbes
	// bounds the search, the open ramp included.
	searchEnds = 1.04
	mostProbes = 16
	// firstStep is the ratio of two rates while only one side of the breakpoint is known.
	firstStep = 1.35
)

// tried is a rate, per second; held is true if the rate held.
type tried struct {
	rate float64
	held bool
}

// bracket are the rates tried so far by a search.
type bracket []tried

// sides returns the highest held rate, and the lowest broken rate above; 0 for none. A rate broke
// below a held rate by accident, because the machine has noise.
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

// close returns true if both sides are known, with no rate worth trying between them.
func (b bracket) close() bool {
	held, broke := b.sides()
	return held > 0 && broke > 0 && (broke/held <= searchEnds || broke-held <= 1)
}

// over returns true if both sides are close, or not even one write a second held.
func (b bracket) over() bool {
	held, broke := b.sides()
	return !b.doubtful() && (b.close() || held == 0 && broke == 1)
}

// doubtful returns true if the last rate broke for the first time. Accidents only break, so that a
// broken rate is tried again.
func (b bracket) doubtful() bool {
	before := len(b) - 1
	return before >= 0 && !b[before].held && !slices.Contains(b[:before], b[before])
}

// next returns the rate to try: from start up or down while a side is not known, then the middle of
// both. A broken rate is tried twice.
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
