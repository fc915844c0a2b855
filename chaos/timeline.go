package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cdclab/cdclab/stack"
)

// Window is what became of one Fault. Offsets count from the start that Run was given.
type Window struct {
	// Fault and Target are as in the Plan; At is when the Plan wanted it, the first time.
	Fault, Target string
	At            time.Duration
	// Start is when the injection began and End when its undoing began, both 0 when it never began:
	// how long a killed target takes to come back is its recovery, not the fault.
	Start, End time.Duration
	// Recovered is when the target, and every other part on which no fault was at work, was first seen
	// healthy after End; 0 when that was not seen.
	Recovered time.Duration
	// Applied: it was looked at and was in force. A Window that was not applied tests nothing.
	Applied bool
	// Evidence is what showed it, for a person.
	Evidence string
	// ProxyBytes went through the Proxy between Start and End, both directions together.
	ProxyBytes int64
	// Err says why it was not applied, or what went wrong after it was.
	Err error
}

const (
	// undoLimit bounds the undoing of one fault, which goes on when the run has ended.
	undoLimit = 60 * time.Second
	// lookEvery is how often a target is asked whether it is healthy again.
	lookEvery = 20 * time.Millisecond
	// patience times the Plan's Recovery is how long a target is waited for: one that is too slow
	// gets a number and not only a failure.
	patience = 2
)

// Run does the plan's Faults to s at their times after start, tells say (which may be nil) one line
// for each step, and returns when all are undone and the pipeline healthy again, or waited for
// long enough; it returns one Window for each Fault of the Method, in that order. When ctx ends,
// every fault is undone at once and those that had not begun are not applied.
func Run(ctx context.Context, plan *Plan, s *stack.Stack, start time.Time,
	say func(string)) []Window {
	whole := &pipeline{health: s.Health, broken: map[string]int{}}
	return run(ctx, plan, func(f *Fault) (*injection, error) {
		i, err := bind(f, s)
		if err != nil {
			return nil, err
		}
		return whole.under(f, i), nil
	}, start, say)
}

func run(ctx context.Context, plan *Plan, bind func(*Fault) (*injection, error), start time.Time,
	say func(string)) []Window {
	if say == nil {
		say = func(string) {}
	}
	var one sync.Mutex
	t := timeline{start: start, recovery: plan.SteadyState.Recovery, say: func(line string) {
		one.Lock()
		defer one.Unlock()
		say(line)
	}}
	windows := make([]Window, len(plan.Method))
	var group sync.WaitGroup
	for n := range plan.Method {
		group.Go(func() {
			f := &plan.Method[n]
			windows[n] = repeat(f.Repeat.Times(), func(turn int) Window {
				w := Window{Fault: f.Kind, Target: f.Target, At: f.At}
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
}

func (t *timeline) offset() time.Duration { return time.Since(t.start) }

// do takes one fault through one window: wait, healthy?, inject, hold, in force?, undo, healthy?
func (t *timeline) do(ctx context.Context, f *Fault, turn int, target *injection, w *Window) {
	if err := sleep(ctx, f.due(turn)-t.offset()); err != nil {
		w.Err = fmt.Errorf("%s %s: the run ended before its time: %w", f.Kind, f.Target, err)
		return
	}
	// A target that has been broken before may be slow; what it is now is not held against it.
	look := target.healthy
	if turn > 0 {
		look = func(ctx context.Context) error {
			return t.untilHealthy(ctx, target.healthy, t.offset()+patience*t.recovery)
		}
	}
	if err := look(ctx); err != nil {
		w.Err = fmt.Errorf("%s %s: not healthy before the fault: %w", f.Kind, f.Target, err)
		return
	}
	t.say(fmt.Sprintf("chaos: %s %s", f.Kind, f.Target))
	bytes := throughProxy(target)
	w.Start = t.offset()
	hidden := target.inject(ctx)
	// What has been broken is looked at and mended even when the run is over.
	mending := context.WithoutCancel(ctx)
	injected := hidden == nil
	if injected {
		// An early end of the run shows in the window's length, and is no error of the fault.
		_ = sleep(ctx, w.Start+f.length()-t.offset())
		w.Evidence, hidden = target.during(mending)
	}
	w.End = t.offset()
	w.ProxyBytes = throughProxy(target) - bytes
	t.say(fmt.Sprintf("chaos: end of %s %s after %v", f.Kind, f.Target,
		(w.End - w.Start).Round(time.Millisecond)))
	undone := undo(mending, target)
	var missing error
	if injected && undone == nil && target.after != nil {
		var more string
		more, missing = target.after(mending)
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

func undo(ctx context.Context, target *injection) error {
	ctx, cancel := context.WithTimeout(ctx, undoLimit)
	defer cancel()
	if err := target.undo(ctx); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	return nil
}

// recover waits until the target is healthy, and what depends on it.
func (t *timeline) recover(ctx context.Context, target *injection, w *Window) error {
	limit := w.End + patience*t.recovery
	err := t.untilHealthy(ctx, target.healthy, limit)
	if err == nil && target.recovered != nil {
		err = t.untilHealthy(ctx, target.recovered, limit)
	}
	if err != nil {
		return fmt.Errorf("not healthy %v after the end of the fault: %w", t.offset()-w.End, err)
	}
	w.Recovered = t.offset()
	return nil
}

func (t *timeline) untilHealthy(ctx context.Context, healthy func(context.Context) error, limit time.Duration) error {
	for {
		err := healthy(ctx)
		if err == nil {
			return nil
		}
		if t.offset() >= limit {
			return err
		}
		if ended := sleep(ctx, lookEvery); ended != nil {
			return fmt.Errorf("the run ended before it was healthy again: %w", err)
		}
	}
}

func throughProxy(target *injection) int64 {
	if target.bytes == nil {
		return 0
	}
	return target.bytes()
}

// sleep waits for d, or for the end of ctx, which is an error.
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
