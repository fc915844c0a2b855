// Package chaos breaks a Stack on purpose: Run takes the Faults of a Plan through their times,
// against a Stack's Components and Proxies, and reports the evidence of each Fault's effect. The
// caller makes the load, keeps the results and gives the Verdict. Package chaos/check finds a
// Fault's effects on the data. Start reading at Plan, then Run; each family of faults has a file
// (process, network).
package chaos

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports/impact"
	"github.com/cdclab/cdclab/stack"
)

//go:embed plans/*.yaml
var builtIn embed.FS

// Plan is an experiment: the stack's steady state, and the Faults under which the steady state must
// hold. The words are those of the Chaos Toolkit.
type Plan struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	// SteadyState is the hypothesis that the Faults try to disprove.
	SteadyState SteadyState `yaml:"steady-state"`
	// Expectations bound the effect of the Faults.
	Expectations Expectations `yaml:"expectations"`
	// Load is the load that the Plan is made for; missing members are the scenario's.
	Load Traffic `yaml:"load"`
	// Consumers is the number of consumers in the group; 0 is a plan that does not say.
	Consumers int `yaml:"consumers"`
	// Method lists the Faults, in any order; Faults of different targets may overlap.
	Method []Fault `yaml:"method"`
	// Rollbacks are always run after the last Fault was undone.
	Rollbacks []Rollback `yaml:"rollbacks"`

	// path is the file, with body as the whole text.
	path string
	body ast.Node
	// stack is the kind of stack that On was told; "" is every kind.
	stack string
}

// Load reads the Plan at path. If path is no file but the bare name of a built-in Plan, such as
// consumer-kill, Load reads the built-in Plan. An error in the text names file, line and column.
func Load(path string) (*Plan, error) {
	text, err := namedfile.Read(path, namedfile.Small)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(path, `/\.`) {
		if text, err = builtIn.ReadFile("plans/" + path + ".yaml"); err == nil {
			path = "chaos/plans/" + path + ".yaml"
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load plan: %w", err)
	}
	plan, err := Parse(path, text)
	if err != nil {
		return nil, fmt.Errorf("load plan: %w", err)
	}
	return plan, nil
}

// Parse reads the Plan in a text; path is the file, for errors. Of an experiment of package toolkit
// (JSON with the plan in the extension cdclab) Parse reads the plan inside.
func Parse(path string, text []byte) (*Plan, error) {
	plan, err := parse(inside(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	plan.path = path
	return plan, nil
}

// inside returns the plan in an experiment of the Chaos Toolkit, and any other text as it is.
func inside(text []byte) []byte {
	var experiment struct {
		Extensions []struct {
			Name string          `json:"name"`
			Plan json.RawMessage `json:"plan"`
		} `json:"extensions"`
	}
	if json.Unmarshal(text, &experiment) != nil {
		return text
	}
	for _, x := range experiment.Extensions {
		if x.Name == Extension && len(x.Plan) > 0 {
			return x.Plan
		}
	}
	return text
}

// Extension names the member of an experiment's extensions that holds a plan.
const Extension = "cdclab"

// refuse blames a member of the file.
func (p *Plan) refuse(node ast.Node, member, reason string) error {
	return fmt.Errorf("plan %s: %s:%w", p.Name, p.path, complain(node, member, reason))
}

// End is the time at which the last Fault is undone, since the start of the measured load; recovery
// comes on top. A shorter load cannot test the Plan.
func (p *Plan) End() time.Duration {
	var end time.Duration
	for _, f := range p.Method {
		end = max(end, f.end())
	}
	return end
}

func parse(text []byte) (*Plan, error) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, located(err, nil)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, fmt.Errorf("1:1: %d YAML documents, want 1 plan", len(file.Docs))
	}
	var plan Plan
	body := file.Docs[0].Body
	if err := yaml.NodeToValue(body, &plan, yaml.Strict()); err != nil {
		return nil, located(err, body)
	}
	if err := checkWhole(body, "consumers"); err != nil {
		return nil, err
	}
	if err := plan.validate(body); err != nil {
		return nil, err
	}
	plan.body = body
	return &plan, nil
}

func (p *Plan) validate(body ast.Node) error {
	switch {
	case p.Name == "":
		return complain(body, "name", "want the plan's name")
	case p.SteadyState.Recovery == 0:
		return complain(body, "steady-state", "want recovery, such as recovery: 30s")
	case p.Consumers < 0 || p.Consumers > stack.MaxConsumers,
		p.Consumers == 0 && has(body, "consumers"):
		return complain(body, "consumers",
			fmt.Sprintf("consumers: %d, want 1 to %d", p.Consumers, stack.MaxConsumers))
	case len(p.Method) == 0:
		return complain(body, "method", "want at least one fault")
	}
	for i := range p.Method {
		if p.Method[i].node == nil {
			return complain(body, "method", fmt.Sprintf("fault %d is empty", i+1))
		}
		if err := p.Method[i].validate(max(1, p.Consumers)); err != nil {
			return err
		}
	}
	for i := range p.Rollbacks {
		if p.Rollbacks[i].node == nil {
			return complain(body, "rollbacks", fmt.Sprintf("rollback %d is empty", i+1))
		}
		if err := p.Rollbacks[i].validate(max(1, p.Consumers)); err != nil {
			return err
		}
	}
	if length := p.Load.Duration; length != 0 && length <= p.End() {
		return complain(body, "load", fmt.Sprintf(
			"the load ends after %v, the last fault after %v: "+
				"nothing would be left to recover under", length, p.End()))
	}
	return p.overlap()
}

// overlap refuses two faults on the same target at the same time, because the end of the first
// would undo the second; Kinds that share their target are no such pair. A Kind that works alone
// overlaps no fault.
func (p *Plan) overlap() error {
	f, earlier := p.overlapping()
	if f == nil {
		return nil
	}
	which := "its " + earlier.Kind
	if earlier.Target != f.Target {
		which = earlier.Kind + " of " + earlier.Target
	}
	return complain(f.node, "at", fmt.Sprintf("%s of %s at %v overlaps %s from %v to %v",
		f.Kind, f.Target, f.At, which, earlier.At, earlier.end()))
}

// overlapping finds a pair that overlap refuses; nil for none.
func (p *Plan) overlapping() (f, earlier *Fault) {
	for i := range p.Method {
		for j := range p.Method {
			f, earlier := &p.Method[i], &p.Method[j]
			before := earlier.At < f.At || earlier.At == f.At && j < i
			share := f.Kind != earlier.Kind && f.line().Shared && earlier.line().Shared
			clash := earlier.Target == f.Target && !share || f.line().Alone || earlier.line().Alone
			if before && clash && f.At <= earlier.end() {
				return f, earlier
			}
		}
	}
	return nil, nil
}

// Traffic is the load under the Faults. A member that is left out leaves the choice to the scenario
// and is 0, and the Plan's runner may ask for other values.
type Traffic struct {
	// Rate is in operations per second.
	Rate int `yaml:"rate"`
	// Duration is the length of the measured load.
	Duration time.Duration `yaml:"duration"`
}

// UnmarshalYAML decodes the load mapping.
func (l *Traffic) UnmarshalYAML(node ast.Node) error {
	type plain Traffic
	if err := decode(node, (*plain)(l), "duration"); err != nil {
		return err
	}
	if err := checkWhole(node, "rate"); err != nil {
		return err
	}
	if l.Rate < 0 || l.Rate == 0 && has(node, "rate") {
		return complain(node, "rate",
			fmt.Sprintf("rate: %d is not a number of operations per second", l.Rate))
	}
	if l.Duration == 0 && has(node, "duration") {
		return complain(node, "duration",
			"duration: 0s is no load; without the member the scenario decides")
	}
	return nil
}

// SteadyState is the Plan's demand on a Run, besides the demand on every Run: no row is lost,
// stale, resurrected or otherwise wrong.
type SteadyState struct {
	// Recovery bounds the time from each Fault's end until every part serves, the latency is steady
	// again, and what waited was seen.
	Recovery time.Duration `yaml:"recovery"`
	// P95 bounds the e2e p95 outside of the Faults; 0 is a Plan that does not say.
	P95 time.Duration `yaml:"p95"`
	// Lag bounds the committed writes that were not yet seen at the end of a second outside of the
	// Faults; 0 is a Plan that does not say.
	Lag int `yaml:"lag"`
}

// UnmarshalYAML decodes the steady-state mapping.
func (s *SteadyState) UnmarshalYAML(node ast.Node) error {
	type plain SteadyState
	if err := decode(node, (*plain)(s), "recovery", "p95"); err != nil {
		return err
	}
	return checkPositive(node, "lag", s.Lag, "writes")
}

// Expectations bound the effect of each Fault; 0 is an expectation that the Plan does not have.
type Expectations struct {
	// SteadyWithin bounds the time from a Fault's end until the latency is steady again.
	SteadyWithin time.Duration `yaml:"steady-within"`
	// Degradation bounds the worst p95, as a multiple of the steady p95.
	Degradation int `yaml:"degradation"`
	// Lag bounds the committed writes that were not yet seen, under a Fault and until the steady
	// state.
	Lag int `yaml:"lag"`
}

// Expected is what the Plan expects of a Run, for the judge.
func (p *Plan) Expected() impact.Expected {
	return impact.Expected{
		P95Ms:         float64(p.SteadyState.P95.Milliseconds()),
		SteadySeconds: p.Expectations.SteadyWithin.Seconds(),
		Degradation:   float64(p.Expectations.Degradation),
		SteadyLag:     int64(p.SteadyState.Lag), Lag: int64(p.Expectations.Lag),
	}
}

// UnmarshalYAML decodes the expectations mapping.
func (e *Expectations) UnmarshalYAML(node ast.Node) error {
	type plain Expectations
	if err := decode(node, (*plain)(e), "steady-within"); err != nil {
		return err
	}
	err := checkPositive(node, "degradation", e.Degradation, "times the steady p95")
	if err == nil {
		err = checkPositive(node, "lag", e.Lag, "writes")
	}
	return err
}
