package experiments

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// Breakpoint is the scenario that searches: an open ramp first, then rates that are held.
const Breakpoint = "breakpoint"

// holdFor is how long a rate must keep the limits, where --duration says nothing else.
const holdFor = 20 * time.Second

// search is a breakpoint that is being looked for. Each probe is a k6 of its own on the same stack, in a
// folder of its own.
type search struct {
	session *session
	hold    time.Duration
	found   reports.Breakpoint
	// rates are those that were held, in their order, and runs what became of each.
	rates bracket
	runs  []*session
}

// search looks for the highest rate that holds. The Run is that of the highest rate that held.
func (s *session) search(ctx context.Context) error {
	b := &search{session: s, hold: s.config.Duration}
	if b.hold == 0 {
		b.hold = holdFor
	}
	b.found.HoldSeconds = b.hold.Seconds()
	start, err := b.ramp(ctx)
	if err != nil {
		return err
	}
	for len(b.found.Probes) < mostProbes && !b.rates.over() {
		if err := b.probe(ctx, b.rates.next(start)); err != nil {
			return err
		}
	}
	b.conclude()
	return nil
}

// ramp raises the rate until k6's threshold ends it, and returns the rate at which writes began to wait
// for longer than the limit, from where the search starts.
func (b *search) ramp(ctx context.Context) (float64, error) {
	child, err := b.child(ctx, "ramp", nil)
	if err != nil {
		return 0, err
	}
	if err := child.step(ctx); err != nil {
		return 0, err
	}
	run := child.run
	p := reports.NewProbe(run.Summary.Throughput.Max, run)
	rate := run.Summary.Throughput.Max
	for _, second := range run.Series {
		if second.P95 > rampLimitMs {
			rate = float64(second.Offered)
			p.Reason = fmt.Sprintf("p95 above %g ms from %d/s on", float64(rampLimitMs), second.Offered)
			break
		}
	}
	p.Rate = rate
	b.found.Probes = append(b.found.Probes, p)
	b.session.config.Say(fmt.Sprintf("ramp: %s", p.Reason))
	return math.Max(1, math.Round(rate*0.8)), nil
}

// rampLimitMs is when a second of the ramp has begun to break: the latency runs away from there.
const rampLimitMs = 500

// probe holds one rate.
func (b *search) probe(ctx context.Context, rate float64) error {
	n := len(b.found.Probes)
	child, err := b.child(ctx, fmt.Sprintf("probe-%d", n), map[string]string{
		"HOLD": "1", "RATE": fmt.Sprint(int(rate)), "DURATION": b.hold.String(),
		// The rows of each k6 follow from its seed.
		"SEED": fmt.Sprint(b.session.config.Seed + int64(n)),
	})
	if err != nil {
		return err
	}
	if err := child.step(ctx); err != nil {
		return err
	}
	p := reports.NewProbe(rate, child.run)
	b.found.Probes = append(b.found.Probes, p)
	b.rates, b.runs = append(b.rates, tried{rate, p.Held}), append(b.runs, child)
	result := "held"
	if !p.Held {
		result = p.Reason
	}
	b.session.config.Say(fmt.Sprintf("%.0f/s: p95 %.1f ms, %s", rate, p.P95, result))
	return nil
}

// child is a session on the same stack with a k6, a ledger and a Run of its own.
func (b *search) child(ctx context.Context, name string, env map[string]string) (*session, error) {
	s := b.session
	dir := filepath.Join(s.out, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("search for the breakpoint: %w", err)
	}
	merged := maps.Clone(s.k6.env)
	if env == nil {
		delete(merged, "DURATION") // that is how long a rate is held
	}
	maps.Copy(merged, env)
	run := *s.run
	run.Notes, run.Warnings = nil, nil
	child := &session{
		config: s.config, root: s.root, out: dir, scenario: s.scenario, stack: s.stack, run: &run, death: s.death,
		k6: &generator{program: s.k6.program, scenario: s.scenario, dir: dir, env: merged, flags: s.k6.flags},
	}
	scenarios, err := child.k6.inspect(ctx)
	child.length = longest(scenarios)
	return child, err
}

// step runs a child's k6 and reads what it measured.
func (s *session) step(ctx context.Context) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	s.drain(ctx)
	s.collectStack(ctx)
	s.read()
	s.run.Conclude()
	return nil
}

// conclude makes the Run that of the highest rate that held, or of the last one where none did.
func (b *search) conclude() {
	b.found.Rate, b.found.Broke = b.rates.sides()
	s, held, broke := b.session, b.last(tried{b.found.Rate, true}), b.last(tried{b.found.Broke, false})
	best := b.runs[len(b.runs)-1]
	if held != nil {
		best = held
	}
	if held != nil && broke != nil {
		b.found.Part, b.found.Why = reports.Limiting(held.run, broke.run)
	}
	notes, warnings := s.run.Notes, s.run.Warnings
	*s.run = *best.run
	s.run.Breakpoint = b.found
	s.run.Notes, s.run.Warnings = append(notes, best.run.Notes...), append(warnings, best.run.Warnings...)
	s.k6, s.looker, s.wasRead = best.k6, best.looker, true
	if path, err := filepath.Rel(s.out, s.k6.ledgerPath()); err == nil {
		s.run.Ledger.Path = path
	}
}

// last is the last run of a rate with that result, nil for none.
func (b *search) last(one tried) (found *session) {
	for i, other := range b.rates {
		if other == one {
			found = b.runs[i]
		}
	}
	return found
}
