package experiments

import (
	"context"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cdclab/cdclab/experiments/schedule"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
	"github.com/cdclab/cdclab/stack"
)

// scriptName is the name of a script without its folder and extension, fit for any screen.
func scriptName(path string) string {
	name := filepath.Base(path)
	extension := filepath.Ext(name)
	if slices.Contains(scriptExtensions, extension) && name != extension {
		name = strings.TrimSuffix(name, extension)
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
}

// checkPlan refuses a plan that the stack or the scenario cannot have, before anything is started.
func (e *environment) checkPlan() error {
	c := &e.config
	switch {
	case e.searches() && e.plan != nil:
		return fmt.Errorf("%s: it searches without faults; hold a rate with another scenario "+
			"under the plan", Breakpoint)
	case e.searches() && c.Segment != "":
		return fmt.Errorf("%s: it searches with all of the load; each segment would find a rate "+
			"of its own", Breakpoint)
	case e.plan == nil:
		return nil
	case c.Stack.Kind == stack.External:
		if err := e.plan.CheckExternal(c.Stack.External.MayBreak); err != nil {
			return err
		}
	case c.Stack.MongoURI != "":
		if err := e.plan.CheckGiven(stack.Mongo); err != nil {
			return err
		}
	}
	for _, impossible := range e.plan.On(c.Stack.Kind) {
		c.Say(impossible)
	}
	return e.plan.CheckConsumers(max(1, c.Stack.Consumers))
}

// specPoll is the lab's scenario of the specification's own way to measure.
const specPoll = "spec-poll"

const polledNote = specPoll + " looks for each row in the script, every 100 ms: a latency is a " +
	"multiple of that, more or less, and a write waits for the one before"

// longestLoad is the length of the longest Series.
const longestLoad = reports.MaxSecond * time.Second

// checkAsked refuses, with k6's reading of the script before any stack is up, what was asked for
// and changes nothing, a load too short for the plan, and a load too long for a Run.
func (e *environment) checkAsked(ctx context.Context) error {
	load := e.test.Only(ledger.Measured)
	if load.HasFixedLength() && load.Length() > longestLoad {
		return fmt.Errorf("the load lasts %v, at most %v have a place in a run, second by second",
			load.Length(), longestLoad)
	}
	if e.searches() {
		return nil
	}
	if e.plan != nil && load.HasFixedLength() {
		if err := e.plan.CheckLength(load.Length()); err != nil {
			return err
		}
	}
	if e.plan != nil && e.plan.Load.Rate > 0 && e.asked.Rate == nil &&
		!slices.Contains(load.Rates(), float64(e.plan.Load.Rate)) {
		e.warnings = append(e.warnings, fmt.Sprintf(
			"the plan %s is made for %d/s, and the load is %s", e.plan.Name, e.plan.Load.Rate,
			load))
	}
	for _, asked := range e.asked.askedOfScript() {
		if asked.happens(load, e.test) {
			continue
		}
		env := maps.Clone(e.config.variables())
		env[asked.variable] = asked.other
		other, err := e.generator(e.out.Path, env).inspect(ctx)
		if err == nil && reflect.DeepEqual(other, e.test) {
			return fmt.Errorf("%s %s changes nothing: %s does not read __ENV.%s; the load is %s",
				asked.flag, asked.value, filepath.Base(e.scenario), asked.variable, load)
		}
	}
	return nil
}

// askedOfScript is a flag that only the script can obey.
type askedOfScript struct {
	flag, variable, value string
	// other is another value for the variable.
	other string
	// happens returns true if the load is as asked.
	happens func(load, test schedule.Test) bool
}

// askedOfScript returns the flags given for the script.
func (c *Config) askedOfScript() (all []askedOfScript) {
	if c.Rate != nil {
		all = append(all, askedOfScript{"rate", "RATE", fmt.Sprint(*c.Rate),
			fmt.Sprint(*c.Rate + 1),
			func(load, _ schedule.Test) bool {
				return slices.Contains(load.Rates(), float64(*c.Rate))
			}})
	}
	if c.Duration != nil {
		all = append(all, askedOfScript{"duration", "DURATION", c.Duration.String(),
			(*c.Duration + time.Second).String(),
			func(load, _ schedule.Test) bool { return load.Length() == *c.Duration }})
	}
	if c.Warmup != nil {
		all = append(all, askedOfScript{"warmup", "WARMUP", c.Warmup.String(),
			(*c.Warmup + time.Second).String(),
			func(load, test schedule.Test) bool {
				return test.Length()-load.Length() == *c.Warmup
			}})
	}
	return all
}

// countOperation counts a measured write, as made and as asked for.
func (t *tally) countOperation(w *ledger.Write) {
	count := func(into *reports.Operations, op ledger.Op) {
		switch op {
		case ledger.Insert:
			into.Insert++
		case ledger.Update:
			into.Update++
		case ledger.Delete:
			into.Delete++
		}
	}
	asked := w.Op
	if w.AskedOp != "" {
		asked = w.AskedOp
		t.substituted++
	}
	count(&t.run.Load.Operations, w.Op)
	count(&t.run.Load.AskedOperations, asked)
}

// plannedLoad returns the load as k6 reads the script, before anything of it has happened.
func (e *environment) plannedLoad(test schedule.Test) reports.Workload {
	measured := test.Only(ledger.Measured)
	load := reports.Workload{
		Model: measured.Model(), Asked: e.asked.settings(), SilentIterations: -1,
	}
	if measured.HasFixedLength() {
		load.PlannedSeconds = measured.Length().Seconds()
	}
	part, parts, _ := e.config.segment() // Validate has read the segment
	for i := range test.Scenarios {
		s := &test.Scenarios[i]
		planned, known := s.Planned()
		switch {
		case !known:
			planned = -1
		case parts > 0:
			planned = planned*int64(part)/int64(parts) - planned*int64(part-1)/int64(parts)
		}
		load.Scenarios = append(load.Scenarios, reports.ScenarioLoad{
			Name: s.Name, Schedule: s.String(), Measured: ledger.Measured(s.Name), Open: s.Open(),
			PlannedSeconds: s.Length().Seconds(), Planned: planned,
		})
	}
	return load
}

// settings returns the load that was asked for.
func (c *Config) settings() map[string]string {
	asked := map[string]string{}
	for _, one := range c.askedOfScript() {
		asked[one.flag] = one.value
	}
	if c.Mix != "" {
		asked["mix"] = c.Mix
	}
	if c.Seed != nil {
		asked["seed"] = fmt.Sprint(*c.Seed)
	}
	return asked
}

const (
	// mostMissing is the share of the iterations, of the writes or of the length that may differ
	// from the plan: k6 may leave out an iteration at the very end.
	mostMissing = 0.01
	// mostMixed is by how much a share of the mix may differ from the request, beside four standard
	// deviations of chance.
	mostMixed = 0.02
)

// compareLoad completes the Load of the Run with what happened, and says how the load differs from
// the request. iterations is the number of all iterations finished by k6, -1 while not known.
func (t *tally) compareLoad(header ledger.Header, end ledger.End, iterations int64) {
	load := &t.run.Load
	var writing int64
	told := map[string]int64{}
	for _, s := range end.Scenarios {
		told[s.Name], writing = s.Iterations, writing+s.Iterations
	}
	for i := range load.Scenarios {
		s := &load.Scenarios[i]
		s.Iterations, s.Writes = told[s.Name], t.writes[s.Name]
	}
	if load.SilentIterations = -1; end.DrainNs > 0 && iterations >= 0 {
		load.SilentIterations = max(0, iterations-writing)
	}
	load.Differences = slices.Concat(t.overridden(header), t.missing(), t.mixed())
}

// missing says what of the planned load did not come.
func (t *tally) missing() (all []string) {
	load := &t.run.Load
	var planned, iterations, open int64
	for _, s := range load.Scenarios {
		if s.Open && s.Measured {
			planned, iterations, open = planned+s.Planned, iterations+s.Iterations, open+1
		}
	}
	missing := planned - iterations - max(0, t.run.Summary.DroppedIterations)
	switch silent := load.SilentIterations; {
	case silent > 0:
		all = append(all, fmt.Sprintf("%s of k6 asked for no write: less load was offered than "+
			"the script plans.", unit.Plural(silent, "finished iteration", "finished iterations")))
	case silent == 0 && missing > max(2*open, int64(mostMissing*float64(planned))):
		all = append(all, fmt.Sprintf("k6 planned %s, and %d asked for a write.",
			unit.Plural(planned, "iteration", "iterations"), iterations))
	}
	if load.SilentIterations >= 0 && t.seconds > 1 &&
		t.seconds < (1-mostMissing)*load.PlannedSeconds {
		all = append(all, fmt.Sprintf("The load lasted %s s of %s s.", unit.Number(t.seconds),
			unit.Number(load.PlannedSeconds)))
	}
	return all
}

// mixed says what was written instead of the mix.
func (t *tally) mixed() (all []string) {
	load, n := &t.run.Load, t.run.Summary.TotalOperations
	if float64(t.substituted) > mostMissing*float64(n) {
		all = append(all, fmt.Sprintf("%s of %d became another, because no row was free: the mix "+
			"is %s instead of %s.", unit.Plural(t.substituted, "write", "writes"), n,
			mixText(load.Operations), mixText(load.AskedOperations)))
	}
	if mix, ok := readMix(load.Asked["mix"]); ok && !mixedAs(mix, load.AskedOperations) {
		all = append(all, fmt.Sprintf("The script asked for a mix of %s instead of %s.",
			mixText(load.AskedOperations), load.Asked["mix"]))
	}
	return all
}

// overridden says what was asked for and the script sets otherwise, and corrects the Run: a seed
// without a request is the script's own affair.
func (t *tally) overridden(header ledger.Header) []string {
	var names []string
	for _, name := range header.Overridden {
		delete(t.run.Provenance.Config, "option "+name)
		if name == "seed" {
			t.run.Provenance.Seed = header.Seed
		}
		if name != "seed" || t.run.Load.Asked["seed"] != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("The script itself sets %s: the run is not of what was asked for.",
		strings.Join(names, ", "))}
}

// mixText is "70/20/10", in per cent.
func mixText(o reports.Operations) string { return unit.Shares(o.Insert, o.Update, o.Delete) }

// mixedAs returns true if writes chosen by the weights of the mix may have come out like this.
func mixedAs(mix [3]int, o reports.Operations) bool {
	n := float64(o.Insert + o.Update + o.Delete)
	for i, count := range []int64{o.Insert, o.Update, o.Delete} {
		share := float64(mix[i]) / 100
		if chance := 4 * math.Sqrt(share*(1-share)/max(1, n)); n > 0 &&
			math.Abs(float64(count)/n-share) > mostMixed+chance {
			return false
		}
	}
	return true
}
