package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/proxy"
)

// Fault is one fault on one target. Times are exact to the millisecond or so.
type Fault struct {
	// At is the time since the start of the measured load.
	At time.Duration `yaml:"at"`
	// Kind names the fault: kill, stop, pause, latency, partition.
	Kind string `yaml:"fault"`
	// Target is the name of a Component (kill, stop, pause) or of a Proxy (latency, partition).
	Target string `yaml:"target"`
	// For is the length of pause, latency and partition.
	For time.Duration `yaml:"for"`
	// RestartAfter is the time from kill or stop to the target's new start.
	RestartAfter time.Duration `yaml:"restart-after"`
	// Latency is the latency fault's addition to each direction.
	Latency time.Duration `yaml:"latency"`
	// Repeat repeats the fault; the zero value is once.
	Repeat Repeat `yaml:"repeat"`

	node ast.Node
}

// end is the last time at which the fault is undone.
func (f *Fault) end() time.Duration {
	return f.due(f.Repeat.Times()-1) + f.length()
}

// due is the time of the n-th repetition, counted from 0: At, At + Every, At + 2 Every.
func (f *Fault) due(n int) time.Duration { return f.At + time.Duration(n)*f.Repeat.Every }

// length is the length of each repetition.
func (f *Fault) length() time.Duration { return f.For + f.RestartAfter }

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
			return complain(f.node, m.member,
				f.Kind+" wants "+m.member+", such as "+m.member+": 5s")
		case !m.allow && (m.length != 0 || has(f.node, m.member)):
			return complain(f.node, m.member, f.Kind+" has no "+m.member)
		}
	}
	if f.Repeat.Times() > 1 && f.length() >= f.Repeat.Every {
		return complain(f.node, "repeat", fmt.Sprintf("%s lasts %v and comes again after %v",
			f.Kind, f.length(), f.Repeat.Every))
	}
	return nil
}

// UnmarshalYAML decodes one member of the method list and keeps the member's place in the file.
func (f *Fault) UnmarshalYAML(node ast.Node) error {
	type plain Fault
	if err := decode(node, (*plain)(f), "at", "for", "restart-after", "latency"); err != nil {
		return err
	}
	f.node = node
	return nil
}

// kind is a kind of Fault, named as in YAML. A new kind goes into kinds.
type kind struct {
	// proxy is true if the target is a Proxy and not a Component.
	proxy bool
	// lasts is true if "for" says when the Fault is undone; else "restart-after" does.
	lasts bool
	// onComponent or onProxy, as proxy says, binds the Fault to a target.
	onComponent func(stack.Component) *injection
	onProxy     func(*Fault, path) *injection
}

var kinds = map[string]kind{
	"kill": {onComponent: func(c stack.Component) *injection {
		return restart(c, func(context.Context) error { return c.Kill() })
	}},
	"stop":      {onComponent: func(c stack.Component) *injection { return restart(c, c.Stop) }},
	"pause":     {lasts: true, onComponent: pause},
	"latency":   {lasts: true, proxy: true, onProxy: latency},
	"partition": {lasts: true, proxy: true, onProxy: partition},
}

func kindNames() string {
	return strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")
}

// targets returns the possible targets of a Fault of this kind.
func (k kind) targets(consumers int) []string {
	if k.proxy {
		return proxy.Names()
	}
	names := []string{stack.Postgres, stack.Kafka, stack.Connector, stack.Mongo}
	for n := range consumers {
		names = append(names, stack.ConsumerName(n+1))
	}
	return names
}

// injection is a Fault bound to a target: the timeline's calls, in the order of the members.
type injection struct {
	// healthy returns nil while the target serves.
	healthy func(context.Context) error
	inject  func(context.Context) error
	// during checks, just before undo, that the fault is in force, and returns the evidence.
	during func(context.Context) (string, error)
	undo   func(context.Context) error
	// after returns the evidence that shows only once the target is back; nil for none.
	after func(context.Context) (string, error)
	// bytes counts the bytes through the proxy since the proxy's start; nil for a Component.
	bytes func() (int64, error)
	// recovered returns nil while the whole pipeline serves, and may be missing.
	recovered func(context.Context) error
}

// bind finds the target of f in s.
func bind(f *Fault, s *stack.Stack) (*injection, error) {
	if k := kinds[f.Kind]; !k.proxy {
		target, err := s.Component(f.Target)
		if err != nil {
			return nil, err
		}
		return k.onComponent(target), nil
	}
	proxy, err := s.Proxy(f.Target)
	if err != nil {
		return nil, err
	}
	var ends []stack.Component
	for _, name := range strings.Split(f.Target, "-") {
		end, err := s.Component(name)
		if err != nil {
			return nil, fmt.Errorf("end of proxy %s: %w", f.Target, err)
		}
		ends = append(ends, end)
	}
	i := kinds[f.Kind].onProxy(f, through(proxy))
	i.healthy = healthy(ends...)
	return i, nil
}

// healthLimit bounds one check of a Component's health: a paused Component does not answer at all.
const healthLimit = 2 * time.Second

func healthy(components ...stack.Component) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, c := range components {
			limited, cancel := context.WithTimeout(ctx, healthLimit)
			err := c.Health(limited)
			cancel()
			if err != nil {
				return fmt.Errorf("health of %s: %w", c.Name(), err)
			}
		}
		return nil
	}
}
