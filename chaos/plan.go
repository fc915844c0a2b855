// Package chaos breaks a Stack on purpose and finds out what that did to the data: a Plan of Faults
// is run on a timeline against a Stack's Components and Proxies, and the table check compares every
// row of PostgreSQL with its document in MongoDB. It makes no load, keeps no results and gives no
// Verdict: that is the caller's. Start reading at Plan, then Run; for the table check at Check,
// then comparison.
package chaos

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/cdclab/cdclab/stack"
)

//go:embed plans/*.yaml
var builtIn embed.FS

// Plan is an experiment: what must hold of the stack, and the Faults under which it must hold. The
// words are those of the Chaos Toolkit.
type Plan struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	// SteadyState is the hypothesis that the Faults try to disprove.
	SteadyState SteadyState `yaml:"steady-state"`
	// Load is the load it is made for; what is not said is the scenario's.
	Load Traffic `yaml:"load"`
	// Consumers is how many consumers share the group; 0 is 1.
	Consumers int `yaml:"consumers"`
	// Method lists the Faults, in any order; those of different targets may overlap.
	Method []Fault `yaml:"method"`
}

// Fault is one thing done to one target. Times are exact to the millisecond or so.
type Fault struct {
	// At is when, counted from the start of the measured load.
	At time.Duration `yaml:"at"`
	// Kind names the fault: kill, stop, pause, latency, partition.
	Kind string `yaml:"fault"`
	// Target is the name of a Component (kill, stop, pause) or of a Proxy (latency, partition).
	Target string `yaml:"target"`
	// For is how long pause, latency and partition last.
	For time.Duration `yaml:"for"`
	// RestartAfter is how long after kill and stop the target is started again.
	RestartAfter time.Duration `yaml:"restart-after"`
	// Latency is what the latency fault adds to each direction.
	Latency time.Duration `yaml:"latency"`
	// Repeat does it again and again; the zero value is once.
	Repeat Repeat `yaml:"repeat"`

	node ast.Node
}

// Load reads the Plan at path; a path that is no file but the bare name of a built-in Plan, such as
// consumer-kill, reads that one. An error in the text names file, line and column.
func Load(path string) (*Plan, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(path, `/\.`) {
		if text, err = builtIn.ReadFile("plans/" + path + ".yaml"); err == nil {
			path = "chaos/plans/" + path + ".yaml"
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load plan: %w", err)
	}
	plan, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("load plan: %s:%w", path, err)
	}
	return plan, nil
}

// Proxies names the Proxies that the Stack needs for the Plan, each once, sorted.
func (p *Plan) Proxies() []string {
	var names []string
	for _, f := range p.Method {
		if kinds[f.Kind].proxy {
			names = append(names, f.Target)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// End is when the last Fault is undone, counted from the start of the measured load; recovery comes
// on top. A load that is shorter cannot test the Plan.
func (p *Plan) End() time.Duration {
	var end time.Duration
	for _, f := range p.Method {
		end = max(end, f.end())
	}
	return end
}

// end is when the fault is undone, the last time.
func (f *Fault) end() time.Duration {
	return f.due(f.Repeat.Times()-1) + f.length()
}

// due is when it comes the n-th time, counted from 0.
func (f *Fault) due(n int) time.Duration { return f.At + time.Duration(n)*f.Repeat.Every }

// length is how long it lasts, each time.
func (f *Fault) length() time.Duration { return f.For + f.RestartAfter }

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
	if err := plan.validate(body); err != nil {
		return nil, err
	}
	return &plan, nil
}

func (p *Plan) validate(body ast.Node) error {
	switch {
	case p.Name == "":
		return complain(body, "name", "want the plan's name")
	case p.SteadyState.Recovery == 0:
		return complain(body, "steady-state", "want recovery, such as recovery: 30s")
	case p.Consumers < 0 || p.Consumers > stack.MaxConsumers:
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
	if length := p.Load.Duration; length != 0 && length <= p.End() {
		return complain(body, "load", fmt.Sprintf("the load ends after %v, the last fault after %v: "+
			"nothing would be left to recover under", length, p.End()))
	}
	return p.overlap()
}

// overlap refuses two faults on one target at the same time: the end of one would undo the other.
func (p *Plan) overlap() error {
	for i := range p.Method {
		for j := range p.Method {
			f, earlier := &p.Method[i], &p.Method[j]
			before := earlier.At < f.At || earlier.At == f.At && j < i
			if before && earlier.Target == f.Target && f.At <= earlier.end() {
				return complain(f.node, "at", fmt.Sprintf("%s of %s at %v overlaps its %s from %v to %v",
					f.Kind, f.Target, f.At, earlier.Kind, earlier.At, earlier.end()))
			}
		}
	}
	return nil
}

func (f *Fault) validate(consumers int) error {
	kind, ok := kinds[f.Kind]
	if !ok {
		return complain(f.node, "fault",
			fmt.Sprintf("unknown fault %q; there are %s", f.Kind, kindNames()))
	}
	if targets := kind.targets(consumers); !slices.Contains(targets, f.Target) {
		return complain(f.node, "target", fmt.Sprintf("unknown target %q of %s; there are %s",
			f.Target, f.Kind, strings.Join(targets, ", ")))
	}
	for _, m := range []struct {
		member       string
		length       time.Duration
		wants, allow bool
	}{
		{"at", f.At, false, true},
		{"for", f.For, kind.lasts, kind.lasts},
		{"restart-after", f.RestartAfter, false, !kind.lasts},
		{"latency", f.Latency, f.Kind == "latency", f.Kind == "latency"},
	} {
		switch {
		case m.wants && m.length == 0:
			return complain(f.node, m.member, f.Kind+" wants "+m.member+", such as "+m.member+": 5s")
		case !m.allow && m.length != 0:
			return complain(f.node, m.member, f.Kind+" has no "+m.member)
		}
	}
	if f.Repeat.Times() > 1 && f.length() >= f.Repeat.Every {
		return complain(f.node, "repeat", fmt.Sprintf("%s lasts %v and comes again after %v", f.Kind,
			f.length(), f.Repeat.Every))
	}
	return nil
}

// UnmarshalYAML decodes one member of the method list and keeps its place in the file.
func (f *Fault) UnmarshalYAML(node ast.Node) error {
	type plain Fault
	if err := decode(node, (*plain)(f), "at", "for", "restart-after", "latency"); err != nil {
		return err
	}
	f.node = node
	return nil
}
