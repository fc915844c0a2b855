package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/stack"
)

// kind is a kind of Fault. To add one, add it to kinds.
type kind struct {
	// proxy: the target is a Proxy and not a Component.
	proxy bool
	// lasts: "for" says when it is undone; else "restart-after" does.
	lasts bool
	// onComponent or onProxy, as proxy says, binds the Fault to its target.
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

// targets are the names that a Fault of this kind may have as its target.
func (k kind) targets(consumers int) []string {
	if k.proxy {
		return stack.ProxyNames()
	}
	names := []string{stack.Postgres, stack.Kafka, stack.Connector, stack.Mongo}
	for n := range consumers {
		names = append(names, stack.ConsumerName(n+1))
	}
	return names
}

// injection is a Fault bound to its target: what the timeline calls, in the order of the members.
type injection struct {
	// healthy is nil while the target serves.
	healthy func(context.Context) error
	inject  func(context.Context) error
	// during looks, just before undo, whether the fault is in force, and says how that shows.
	during func(context.Context) (string, error)
	undo   func(context.Context) error
	// after adds what shows only once the target is back; nil when there is nothing to add.
	after func(context.Context) (string, error)
	// bytes are those through the proxy since its start; nil for a Component.
	bytes func() int64
	// recovered is nil while the whole pipeline serves, and may be missing.
	recovered func(context.Context) error
}

// pipeline knows which parts have a Fault at work on them: those are not waited for.
type pipeline struct {
	health func(context.Context) map[string]error

	mu     sync.Mutex
	broken map[string]int
}

// under has the injection of f tell the pipeline, and wait for it.
func (p *pipeline) under(f *Fault, i *injection) *injection {
	parts := []string{f.Target}
	if kinds[f.Kind].proxy {
		parts = strings.Split(f.Target, "-")
	}
	count := func(by int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, name := range parts {
			p.broken[name] += by
		}
	}
	inject, undo := i.inject, i.undo
	i.inject = func(ctx context.Context) error { count(1); return inject(ctx) }
	i.undo = func(ctx context.Context) error { count(-1); return undo(ctx) }
	i.recovered = p.recovered
	return i
}

func (p *pipeline) recovered(ctx context.Context) error {
	health := p.health(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(health)) {
		if err := health[name]; err != nil && p.broken[name] == 0 {
			return fmt.Errorf("health of %s: %w", name, err)
		}
	}
	return nil
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

// healthLimit bounds one look at a Component's health: a paused one does not answer at all.
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

// restart is kill and stop: the target is gone until it is started again.
func restart(c stack.Component, end func(context.Context) error) *injection {
	var before []int
	i := &injection{healthy: healthy(c), undo: c.Start}
	i.inject = func(ctx context.Context) error {
		before = c.PIDs()
		return end(ctx)
	}
	i.during = func(ctx context.Context) (string, error) {
		for _, pid := range before {
			// A zombie is a dead process that its parent has not asked about yet.
			state, err := stateOf(ctx, pid)
			if err != nil || state != "" && state != process.Zombie {
				return "", errors.Join(fmt.Errorf("pid %d of %s is still there", pid, c.Name()), err)
			}
		}
		err := i.healthy(ctx)
		if err == nil {
			return "", fmt.Errorf("%s served during the fault", c.Name())
		}
		if len(before) == 0 {
			return err.Error(), nil
		}
		return fmt.Sprintf("pids %v gone", before), nil
	}
	i.after = func(context.Context) (string, error) {
		if len(before) == 0 {
			return "", nil
		}
		now := c.PIDs()
		if len(now) == 0 {
			return "", fmt.Errorf("%s has no process after its start", c.Name())
		}
		for _, pid := range now {
			if slices.Contains(before, pid) {
				return "", fmt.Errorf("pid %d of %s is the one from before", pid, c.Name())
			}
		}
		return fmt.Sprintf("pids %v came", now), nil
	}
	return i
}

// pause freezes the target.
func pause(c stack.Component) *injection {
	i := &injection{
		healthy: healthy(c),
		inject:  func(context.Context) error { return c.Pause() },
		undo:    func(context.Context) error { return c.Resume() },
	}
	i.during = func(ctx context.Context) (string, error) {
		pids := c.PIDs()
		for _, pid := range pids {
			state, err := stateOf(ctx, pid)
			if err != nil || state != process.Stop {
				return "", errors.Join(
					fmt.Errorf("pid %d of %s is not stopped but %q", pid, c.Name(), state), err)
			}
		}
		if len(pids) > 0 {
			return fmt.Sprintf("pids %v stopped", pids), nil
		}
		if err := i.healthy(ctx); err != nil {
			return err.Error(), nil
		}
		return "", fmt.Errorf("%s served during the fault", c.Name())
	}
	return i
}

// stateOf is a process's state in gopsutil's words, empty when there is no such process.
func stateOf(ctx context.Context, pid int) (string, error) {
	there, err := process.PidExistsWithContext(ctx, int32(pid))
	if err != nil || !there {
		return "", err
	}
	states, err := (&process.Process{Pid: int32(pid)}).StatusWithContext(ctx)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil || len(states) != 1 {
		return "", fmt.Errorf("look at pid %d: states %v: %w", pid, states, err)
	}
	return states[0], nil
}

// path is what the faults need of a Proxy.
type path struct {
	name   string
	add    func(stack.Toxic) error
	remove func(string) error
	// bytes are those that went through it since its start.
	bytes func() int64
}

func through(p *stack.Proxy) path {
	return path{p.Name(), p.Add, p.Remove, func() int64 { in, out := p.Bytes(); return in + out }}
}

// latency is a longer wire: each direction takes that much more, as between two distant hosts. On
// the way back alone it would delay answers only, and a write would be seen as soon as ever.
func latency(f *Fault, p path) *injection {
	longer := map[string]any{"latency": f.Latency.Milliseconds()}
	return poison(p,
		stack.Toxic{Name: "chaos-latency-up", Type: "latency", Upstream: true, Attributes: longer},
		stack.Toxic{Name: "chaos-latency-down", Type: "latency", Attributes: longer})
}

// partition lets nothing through in either direction and keeps the connections open, as a network
// that drops packets does.
func partition(_ *Fault, p path) *injection {
	forever := map[string]any{"timeout": 0}
	return poison(p,
		stack.Toxic{Name: "chaos-partition-up", Type: "timeout", Upstream: true, Attributes: forever},
		stack.Toxic{Name: "chaos-partition-down", Type: "timeout", Attributes: forever})
}

// poison puts the toxics on the path.
func poison(p path, toxics ...stack.Toxic) *injection {
	var added []string
	var before int64
	i := &injection{bytes: p.bytes}
	i.inject = func(context.Context) error {
		for _, t := range toxics {
			if err := p.add(t); err != nil {
				return err
			}
			added = append(added, t.Name)
		}
		before = p.bytes()
		return nil
	}
	i.during = func(context.Context) (string, error) {
		n := p.bytes() - before
		if n == 0 {
			return "", fmt.Errorf("no bytes through proxy %s: it is bypassed, or there was no load",
				p.name)
		}
		on := strings.Join(added, ", ")
		return fmt.Sprintf("%d bytes through proxy %s with %s", n, p.name, on), nil
	}
	// A toxic that is not there any more cannot be removed: then the fault was not in force.
	i.undo = func(context.Context) error {
		var errs []error
		for _, name := range added {
			errs = append(errs, p.remove(name))
		}
		added = nil
		return errors.Join(errs...)
	}
	return i
}
