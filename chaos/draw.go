package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/stack"
)

// Draft is how Draw draws a plan. The same Draft gives the same plan with the same table of faults.
type Draft struct {
	Seed uint64
	// Length is of the measured load, at least ShortestDraw.
	Length time.Duration
	// Stack is the kind of stack, such as stack.Embedded.
	Stack string
	// Consumers share the group; at least 1.
	Consumers int
	// Rate is the load in operations a second; 0 leaves the choice to the scenario.
	Rate int
}

// ShortestDraw is the shortest load with a place for faults and for the recovery.
const ShortestDraw = time.Minute

// Bounds of a drawn plan: the first fault comes after some steady seconds, the last leaves time to
// recover, and the gaps between two begins are shorter than most faults, so that faults overlap.
const (
	drawFrom  = 10 * time.Second
	drawRest  = 25 * time.Second
	drawGap   = 6 * time.Second
	drawFault = 5 * time.Second
	drawPause = 3 * time.Second
	// drawTries is how often a fault is drawn for a place before the place stays empty.
	drawTries = 20
)

// Draw draws a plan of overlapping faults from the table. Faults that lose data by themselves are
// left out: whatever a drawn plan loses, the pipeline lost.
func Draw(d Draft) (*Plan, error) {
	if d.Length < ShortestDraw {
		return nil, fmt.Errorf("draw a plan: a load of %v is too short, want %v", d.Length,
			ShortestDraw)
	}
	p := &Plan{
		Name: fmt.Sprintf("random-%d", d.Seed),
		Description: fmt.Sprintf("Drawn with seed %d for %v on the %s stack.", d.Seed, d.Length,
			d.Stack),
		SteadyState: SteadyState{Recovery: time.Minute}, Consumers: d.Consumers,
		Load: Traffic{Rate: d.Rate, Duration: d.Length},
	}
	draw := &drawing{rand.New(rand.NewPCG(d.Seed, 1)), d, candidates(d)}
	if len(draw.from) == 0 {
		return nil, fmt.Errorf("draw a plan: no fault can be applied to the %s stack", d.Stack)
	}
	for at := drawFrom; at < d.Length-drawRest; at += draw.upTo(drawGap) {
		for range drawTries {
			f := draw.fault(at)
			p.Method = append(p.Method, f)
			clash, _ := p.overlapping()
			if f.end() < d.Length-drawRest && clash == nil {
				break
			}
			p.Method = p.Method[:len(p.Method)-1]
		}
	}
	if len(p.Method) == 0 {
		return nil, errors.New("draw a plan: no fault found a place")
	}
	return p, nil
}

// Bounds of a plan of a single fault. The steady seconds tell what is steady, and the rest has room
// for a recovery beside the seconds that prove the steady state.
const (
	singleFrom = 5 * time.Second
	singleMore = 2 * time.Second
	singleRest = 20 * time.Second
	// slowRest is for stacks whose parts take long to come back.
	slowRest = 50 * time.Second
)

// DrawSingle draws a plan of a single fault of the Kind on the target: the time, the length and the
// parameters. The load's length follows from the fault, and not from the Draft.
func DrawSingle(d Draft, kind faults.Kind, target string) *Plan {
	draw := &drawing{rand.New(rand.NewPCG(d.Seed, 2)), d, nil}
	f := draw.on(candidate{kind, target}, singleFrom+draw.upTo(singleMore))
	rest := singleRest
	if d.Stack != stack.Embedded {
		rest = slowRest
	}
	const second = time.Second
	return &Plan{
		Name: fmt.Sprintf("%s-%s-%d", kind.Name, target, d.Seed),
		Description: fmt.Sprintf("%s of %s, drawn with seed %d for the %s stack.", kind.Name,
			target, d.Seed, d.Stack),
		SteadyState: SteadyState{Recovery: time.Minute}, Consumers: d.Consumers,
		Load:   Traffic{Rate: d.Rate, Duration: (f.end() + rest + second - 1).Truncate(second)},
		Method: []Fault{f},
	}
}

// candidate is a Kind with a target.
type candidate struct {
	kind   faults.Kind
	target string
}

// candidates are the faults that the stack can have.
func candidates(d Draft) (all []candidate) {
	for _, k := range faults.Table() {
		if k.Loses != "" {
			continue
		}
		for _, target := range k.TargetsOn(d.Stack, max(1, d.Consumers)) {
			all = append(all, candidate{k, target})
		}
	}
	return all
}

type drawing struct {
	*rand.Rand
	draft Draft
	from  []candidate
}

// upTo draws a length of at least a second, in tenths of a second.
func (d *drawing) upTo(most time.Duration) time.Duration {
	const step = 100 * time.Millisecond
	return time.Second + step*time.Duration(d.Int64N(int64((most-time.Second)/step)+1))
}

// fault draws a fault. The Kind is drawn first, so that a Kind with many targets comes no more
// often than others.
func (d *drawing) fault(at time.Duration) Fault {
	kinds := map[string][]candidate{}
	var names []string
	for _, c := range d.from {
		if kinds[c.kind.Name] == nil {
			names = append(names, c.kind.Name)
		}
		kinds[c.kind.Name] = append(kinds[c.kind.Name], c)
	}
	of := kinds[names[d.IntN(len(names))]]
	return d.on(of[d.IntN(len(of))], at)
}

// on draws the length and the parameters of a candidate.
func (d *drawing) on(c candidate, at time.Duration) Fault {
	f := Fault{At: at, Kind: c.kind.Name, Target: c.target, With: faults.Values{}}
	switch c.kind.Ends {
	case faults.Lasts:
		f.For = c.kind.LeastFor + d.upTo(drawFault)
	case faults.Restarts:
		f.RestartAfter = d.upTo(drawPause)
	}
	for _, p := range c.kind.Parameters {
		if value := d.value(p); value != "" {
			f.With[p.Name] = value
		}
	}
	f.With = f.With.WithDefaults(c.kind)
	return f
}

// value draws the values that have no default, and words: of a length 10 to 200 ms, of a number 20
// to 500.
func (d *drawing) value(p faults.Parameter) string {
	switch {
	case len(p.Words) > 0:
		return p.Words[d.IntN(len(p.Words))]
	case p.Default != "":
		return ""
	case p.Most > 0:
		return strconv.Itoa(20 + d.IntN(481))
	}
	return strconv.Itoa(10+d.IntN(191)) + "ms"
}
