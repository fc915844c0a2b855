package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/stack"
)

// Window is the outcome of one Fault. Offsets count from Run's start.
type Window struct {
	// Fault and Target are as in the Plan; At is the Plan's first time.
	Fault, Target string
	At            time.Duration
	// Start is the beginning of the injection and End the beginning of the undoing, both 0 without
	// an injection. The return of a killed target belongs to the recovery, not to the fault.
	Start, End time.Duration
	// Recovered is the first time after End at which the target, and every other part without a
	// fault at work, was seen healthy; 0 for never.
	Recovered time.Duration
	// Clear is the last time after End at which another fault was at work: nobody can recover
	// before. 0 is a fault that ended alone.
	Clear time.Duration
	// OnProxy is true if the Target is a proxy.
	OnProxy bool
	// Applied is true if the fault was seen in force. A Window not applied tests nothing.
	Applied bool
	// Evidence shows the fault in force, for a person.
	Evidence string
	// ProxyBytes counts the bytes through the Proxy between Start and End, both directions
	// together.
	ProxyBytes int64
	// Err is the reason why the fault was not applied, or a later failure.
	Err error
}

const (
	// undoLimit bounds the undoing of one fault, even after the end of the run.
	undoLimit = 60 * time.Second
	// checkEvery lies between two checks of a target's health.
	checkEvery = 20 * time.Millisecond
	// patience times the Plan's Recovery is the wait for a target, so that a slow target gets a
	// number and not only a failure.
	patience = 2
)

// Run does the plan's Faults to s at their times after start, and tells say (which may be nil) one
// line for each step. Run returns when all Faults are undone and the pipeline is healthy again, or
// the wait was long enough. The result has one Window for each Fault of the Method, in order. When
// ctx ends, every fault is undone at once, and Faults not yet begun are not applied.
func Run(ctx context.Context, plan *Plan, s *stack.Stack, start time.Time,
	say func(string)) []Window {
	whole := &pipeline{health: s.Health, broken: map[string]int{}}
	return run(ctx, plan, func(f *Fault) (*faults.Injection, error) {
		i, err := plan.bind(f, s)
		if err != nil {
			return nil, err
		}
		return whole.under(f, i), nil
	}, start, say)
}

func run(ctx context.Context, plan *Plan, bind func(*Fault) (*faults.Injection, error),
	start time.Time, say func(string)) []Window {
	if say == nil {
		say = func(string) {}
	}
	var one sync.Mutex
	t := timeline{start: start, recovery: plan.SteadyState.Recovery,
		most: int64(len(plan.Method)), turns: map[string]*semaphore.Weighted{},
		say: func(line string) {
			one.Lock()
			defer one.Unlock()
			say(line)
		}}
	for _, f := range plan.Method {
		for _, of := range f.turns() {
			if t.turns[of] == nil {
				t.turns[of] = semaphore.NewWeighted(t.most)
			}
		}
	}
	windows := make([]Window, len(plan.Method))
	var group sync.WaitGroup
	for n := range plan.Method {
		group.Go(func() {
			f := &plan.Method[n]
			windows[n] = repeat(f.Repeat.Times(), func(turn int) Window {
				w := Window{Fault: f.Kind, Target: f.Target, At: f.At,
					OnProxy: f.line().OnProxy()}
				target, err := bind(f)
				if err != nil {
					w.Err = fmt.Errorf("bind %s to %s: %w", f.Kind, f.Target, err)
					return w
				}
				t.do(ctx, f, turn, target, &w)
				return w
			})
		})
	}
	group.Wait()
	return windows
}

type timeline struct {
	start    time.Time
	recovery time.Duration
	say      func(string)
	// begun is true after the first injection of any fault.
	begun atomic.Bool
	// turns have most places each, by Fault.turns: of faults at work, or still being undone.
	turns map[string]*semaphore.Weighted
	most  int64
}

// turns are what the Fault may have to wait for: the pipeline, the target, the Kind on the target.
func (f *Fault) turns() [3]string { return [3]string{"", f.Target, f.Target + " " + f.Kind} }

// turn waits until no other fault is at work on the target of f, or still being undone: a slow part
// may seem to serve in the middle of the start. late is true if there was anything to wait for.
// Other Kinds may work beside a Kind that shares the target; a Kind that works alone waits for all
// faults.
func (t *timeline) turn(ctx context.Context, f *Fault) (end func(), late bool, err error) {
	var held []func()
	end = sync.OnceFunc(func() {
		for _, release := range held {
			release()
		}
	})
	kind := f.line()
	for n, whole := range []bool{kind.Alone, !kind.Shared, true} {
		turn, places := t.turns[f.turns()[n]], int64(1)
		if whole {
			places = t.most
		}
		if !turn.TryAcquire(places) {
			late = true
			if turn.Acquire(ctx, places) != nil {
				end()
				return nil, late, context.Cause(ctx)
			}
		}
		held = append(held, func() { turn.Release(places) })
	}
	return end, late, nil
}

func (t *timeline) offset() time.Duration { return time.Since(t.start) }

// do takes one fault through one window: wait, healthy?, inject, hold, in force?, undo, healthy?
func (t *timeline) do(ctx context.Context, f *Fault, turn int, target *faults.Injection,
	w *Window) {
	err := sleep(ctx, f.due(turn)-t.offset())
	end, late := func() {}, false
	if err == nil {
		end, late, err = t.turn(ctx, f)
	}
	if err != nil {
		w.Err = fmt.Errorf("%s %s: the run ended before its time: %w", f.Kind, f.Target, err)
		return
	}
	defer end()
	// A target broken before, or left sick by another fault, may be slow, and being slow now is
	// not held against the target; nor is what another fault does meanwhile, never waited for.
	ready := target.Healthy
	switch {
	case turn > 0 || late || t.begun.Load() && !others(target):
		ready = func(ctx context.Context) error {
			return t.untilHealthy(ctx, target.Healthy, t.offset()+patience*t.recovery)
		}
	case others(target):
		ready = func(context.Context) error { return nil }
	}
	if err := ready(ctx); err != nil && !others(target) {
		w.Err = fmt.Errorf("%s %s: not healthy before the fault: %w", f.Kind, f.Target, err)
		return
	}
	t.say(fmt.Sprintf("chaos: %s %s", f.Kind, f.Target))
	bytes, err := throughProxy(target)
	if err != nil {
		w.Err = fmt.Errorf("%s %s: %w", f.Kind, f.Target, err)
		return
	}
	w.Start = t.offset()
	t.begun.Store(true)
	hidden := target.Inject(ctx)
	// Damage is checked and mended even when the run is over.
	mending := context.WithoutCancel(ctx)
	injected := hidden == nil
	if injected {
		// An early end of the run shows in the window's length, and is no error of the fault.
		_ = sleep(ctx, w.Start+f.length()-t.offset())
		w.Evidence, hidden = target.During(mending)
	}
	w.End = t.offset()
	if now, err := throughProxy(target); err == nil {
		w.ProxyBytes = now - bytes
	} else if hidden == nil {
		hidden = err
	}
	t.say(fmt.Sprintf("chaos: end of %s %s after %v", f.Kind, f.Target,
		(w.End - w.Start).Round(time.Millisecond)))
	undone := undo(mending, target)
	end()
	var missing error
	if injected && undone == nil && target.After != nil {
		var more string
		more, missing = target.After(mending)
		w.Evidence = strings.Trim(w.Evidence+"; "+more, "; ")
	}
	back := t.recover(ctx, target, w)
	if !injected && back == nil {
		// A fault that did not take may leave nothing to undo.
		undone = nil
	}
	w.Applied = injected && hidden == nil && undone == nil && missing == nil
	if err := errors.Join(hidden, undone, missing, back); err != nil {
		w.Err = fmt.Errorf("%s %s: %w", f.Kind, f.Target, err)
	}
}

func undo(ctx context.Context, target *faults.Injection) error {
	ctx, cancel := context.WithTimeout(ctx, undoLimit)
	defer cancel()
	if err := target.Undo(ctx); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	return nil
}

// others is true while another fault than the target's is at work.
func others(target *faults.Injection) bool { return target.Others != nil && target.Others() }

// recover waits until the target, and everything that depends on the target, is healthy. The wait
// is as long as ever after the end of the last other fault.
func (t *timeline) recover(ctx context.Context, target *faults.Injection, w *Window) error {
	healthy := func(ctx context.Context) error {
		if others(target) {
			w.Clear = t.offset()
		}
		err := target.Healthy(ctx)
		if err == nil && target.Recovered != nil {
			err = target.Recovered(ctx)
		}
		return err
	}
	for {
		from := max(w.End, w.Clear)
		err := t.untilHealthy(ctx, healthy, from+patience*t.recovery)
		switch {
		case err == nil:
			w.Recovered = t.offset()
			return nil
		case ctx.Err() == nil && w.Clear > from:
			continue
		}
		return fmt.Errorf("not healthy %v after the end of the fault: %w", t.offset()-from, err)
	}
}

func (t *timeline) untilHealthy(ctx context.Context, healthy func(context.Context) error,
	limit time.Duration) error {
	for {
		err := healthy(ctx)
		if err == nil {
			return nil
		}
		if t.offset() >= limit {
			return err
		}
		if ended := sleep(ctx, checkEvery); ended != nil {
			return fmt.Errorf("the run ended before it was healthy again: %w", err)
		}
	}
}

func throughProxy(target *faults.Injection) (int64, error) {
	if target.Bytes == nil {
		return 0, nil
	}
	return target.Bytes()
}

// sleep waits for d, or until ctx ends; the end of ctx is an error.
func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pipeline knows the parts with a Fault at work: nobody waits for these parts.
type pipeline struct {
	health func(context.Context) map[string]error

	mu     sync.Mutex
	broken map[string]int
	// atWork counts the faults.
	atWork int
}

// under has the injection of f tell the pipeline, and wait for the pipeline.
func (p *pipeline) under(f *Fault, i *faults.Injection) *faults.Injection {
	parts := []string{f.Target}
	if f.line().OnProxy() {
		parts = strings.Split(f.Target, "-")
	}
	count := func(by int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, name := range parts {
			p.broken[name] += by
		}
		p.atWork += by
	}
	inject, undo := i.Inject, i.Undo
	i.Inject = func(ctx context.Context) error { count(1); return inject(ctx) }
	i.Undo = func(ctx context.Context) error { count(-1); return undo(ctx) }
	i.Recovered = p.recovered
	i.Others = p.others
	return i
}

// others is true while any fault is at work. A fault asks before its own work and after.
func (p *pipeline) others() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.atWork > 0
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
