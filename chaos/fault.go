package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/stack"
)

// Fault is one fault on one target. Times are exact to the millisecond or so.
type Fault struct {
	// At is the time since the start of the measured load.
	At time.Duration `yaml:"at"`
	// Kind names a line of the table of package faults, such as kill.
	Kind string `yaml:"fault"`
	// Target is the name of a part, or of a proxy.
	Target string `yaml:"target"`
	// For is the length of a fault that lasts.
	For time.Duration `yaml:"for"`
	// RestartAfter is the time from kill or stop to the target's new start.
	RestartAfter time.Duration `yaml:"restart-after"`
	// Repeat repeats the fault; the zero value is once.
	Repeat Repeat `yaml:"repeat"`
	// With are the parameters of the Kind, the defaults among them.
	With faults.Values `yaml:"-"`

	node ast.Node
}

// line is the Fault's line of the table; the zero Kind of a Fault that was not validated.
func (f *Fault) line() faults.Kind {
	kind, _ := faults.Find(f.Kind)
	return kind
}

// end is the last time at which the fault is undone.
func (f *Fault) end() time.Duration {
	return f.due(f.Repeat.Times()-1) + f.length()
}

// due is the time of the n-th repetition, counted from 0: At, At + Every, At + 2 Every.
func (f *Fault) due(n int) time.Duration { return f.At + time.Duration(n)*f.Repeat.Every }

// length is the length of each repetition.
func (f *Fault) length() time.Duration { return f.For + f.RestartAfter }

// validate checks the Fault against the table, and completes the parameters.
func (f *Fault) validate(consumers int) error {
	kind, ok := faults.Find(f.Kind)
	if !ok {
		return complain(f.node, "fault", fmt.Sprintf("unknown fault %q; there are %s", f.Kind,
			strings.Join(faults.Names(), ", ")))
	}
	if targets := kind.TargetsOf(consumers); !slices.Contains(targets, f.Target) {
		return complain(f.node, "target", fmt.Sprintf("unknown target %q of %s; there are %s",
			f.Target, f.Kind, strings.Join(targets, ", ")))
	}
	for _, m := range []struct {
		member       string
		length       time.Duration
		wants, allow bool
	}{
		{"at", f.At, false, true},
		{"for", f.For, kind.Ends == faults.Lasts, kind.Ends == faults.Lasts},
		{"restart-after", f.RestartAfter, false, kind.Ends == faults.Restarts},
	} {
		switch {
		case m.wants && m.length == 0:
			return complain(f.node, m.member,
				f.Kind+" wants "+m.member+", such as "+m.member+": 5s")
		case !m.allow && (m.length != 0 || has(f.node, m.member)):
			return complain(f.node, m.member, f.Kind+" has no "+m.member)
		}
	}
	if err := f.validateParameters(kind); err != nil {
		return err
	}
	if f.Repeat.Times() > 1 && f.length() >= f.Repeat.Every {
		return complain(f.node, "repeat", fmt.Sprintf("%s lasts %v and comes again after %v",
			f.Kind, f.length(), f.Repeat.Every))
	}
	return nil
}

func (f *Fault) validateParameters(kind faults.Kind) error {
	for name, value := range f.With {
		parameter, ok := kind.Parameter(name)
		if !ok {
			return complain(f.node, name, f.Kind+" has no "+name)
		}
		if err := parameter.Check(value); err != nil {
			return complain(f.node, name, fmt.Sprintf("%s: %v", name, err))
		}
	}
	f.With = f.With.WithDefaults(kind)
	for _, p := range kind.Parameters {
		if f.With[p.Name] == "" {
			return complain(f.node, p.Name,
				f.Kind+" wants "+p.Name+", such as "+p.Name+": "+p.Example())
		}
	}
	return nil
}

// UnmarshalYAML decodes one member of the method list and keeps the member's place in the file.
func (f *Fault) UnmarshalYAML(node ast.Node) error {
	type plain Fault
	own, parameters, err := divide(node)
	if err != nil {
		return err
	}
	if err := decode(own, (*plain)(f), "at", "for", "restart-after"); err != nil {
		return err
	}
	f.With, f.node = parameters, node
	return nil
}

// divide divides the members of a fault into the common members and the parameters of any Kind.
func divide(node ast.Node) (own ast.Node, parameters faults.Values, err error) {
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		return node, nil, nil
	}
	rest := *mapping
	rest.Values = nil
	for _, v := range mapping.Values {
		name := v.Key.GetToken().Value // without quotes
		if !isParameter(name) {
			rest.Values = append(rest.Values, v)
			continue
		}
		if _, twice := parameters[name]; twice {
			return nil, nil, complain(node, name, "duplicate key "+name)
		}
		scalar, ok := v.Value.(ast.ScalarNode)
		if !ok || v.Value.Type() == ast.NullType {
			return nil, nil, complain(node, name, name+": want a value")
		}
		if parameters == nil {
			parameters = faults.Values{}
		}
		parameters[name] = scalar.GetToken().Value
		if block, is := v.Value.(*ast.LiteralNode); is {
			parameters[name] = strings.TrimSpace(block.Value.Value)
		}
	}
	return &rest, parameters, nil
}

// isParameter is true for the name of a parameter of any Kind.
func isParameter(name string) bool {
	return slices.ContainsFunc(faults.Table(), func(k faults.Kind) bool {
		_, has := k.Parameter(name)
		return has
	})
}

// bind finds the target of f in s, a stack of the kind that On was told.
func (p *Plan) bind(f *Fault, s *stack.Stack) (*faults.Injection, error) {
	kind := f.line()
	if err := p.impossible(f); err != nil {
		return nil, err
	}
	site, err := kind.Find(s, f.Target, f.With)
	if err == nil {
		err = kind.Impossible(site)
	}
	if err != nil {
		return nil, err
	}
	return kind.Bind(site), nil
}
