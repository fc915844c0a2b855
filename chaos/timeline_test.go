package chaos

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/stack"
)

// part is a Component controlled by the test.
type part struct {
	mu    sync.Mutex
	calls []string
	begin time.Time
	pids  []int
	sick  error
	// slow is the length of the sickness after Start or Resume.
	slow time.Duration
	// immortal parts answer during every fault.
	immortal bool
	failing  map[string]error
	// onKill and onStart are what else Kill and Start do; nil is nothing.
	onKill, onStart func()
}

func newPart() *part { return &part{begin: time.Now(), failing: map[string]error{}} }

func (p *part) Name() string    { return "consumer" }
func (p *part) Version() string { return "1" }

func (p *part) call(name string, sick error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf("%s at %v", name, time.Since(p.begin)))
	if err := p.failing[name]; err != nil {
		return err
	}
	if sick == nil && p.slow > 0 {
		time.AfterFunc(p.slow, func() { p.set(nil) })
		return nil
	}
	if !p.immortal {
		p.sick = sick
	}
	return nil
}

func (p *part) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick = err
}

func (p *part) Start(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if p.onStart != nil {
		p.onStart()
	}
	return p.call("start", nil)
}

func (p *part) Stop(context.Context) error { return p.call("stop", errors.New("stopped")) }

func (p *part) Kill() error {
	if p.onKill != nil {
		p.onKill()
	}
	return p.call("kill", errors.New("killed"))
}

func (p *part) Pause() error  { return p.call("pause", errors.New("paused")) }
func (p *part) Resume() error { return p.call("resume", nil) }

func (p *part) Health(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sick
}

func (p *part) PIDs() []int { return slices.Clone(p.pids) }

var _ stack.Component = (*part)(nil)

// play runs faults against p on the bubble's clock.
func play(ctx context.Context, p *part, faults ...Fault) []Window {
	plan := &Plan{SteadyState: SteadyState{Recovery: 10 * time.Second}, Method: faults}
	return run(ctx, plan, on(p), p.begin, nil)
}

// on binds every Fault to p.
func on(p *part) func(*Fault) (*faults.Injection, error) {
	return func(f *Fault) (*faults.Injection, error) {
		kind := f.line()
		return kind.Bind(faults.Site{Target: f.Target, With: f.With.WithDefaults(kind), Part: p,
			Ends: []stack.Component{p}}), nil
	}
}

func kill(at, restartAfter time.Duration) Fault {
	return Fault{At: at, Kind: "kill", Target: "consumer", RestartAfter: restartAfter}
}

func TestKillIsUndoneAndRecoveryIsTimed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPart()
		p.slow = 3 * time.Second
		w := play(t.Context(), p, kill(5*time.Second, 2*time.Second))[0]
		if !w.Applied || w.Err != nil || w.Evidence != "health of consumer: killed" {
			t.Errorf("%+v", w)
		}
		if w.Start != 5*time.Second || w.End != 7*time.Second ||
			w.Recovered < 10*time.Second || w.Recovered > 10*time.Second+checkEvery {
			t.Errorf("window from %v to %v, recovered at %v", w.Start, w.End, w.Recovered)
		}
		if want := []string{"kill at 5s", "start at 7s"}; !slices.Equal(p.calls, want) {
			t.Errorf("calls %q, want %q", p.calls, want)
		}
	})
}

// TestRepeat: the repetitions of a fault are one window; a repetition due too early waits for the
// target.
func TestRepeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPart()
		p.slow = 3500 * time.Millisecond
		f := kill(time.Second, time.Second)
		f.Repeat = Repeat{3 * time.Second, 9 * time.Second}
		w := play(t.Context(), p, f)[0]
		if !w.Applied || w.Err != nil ||
			!strings.HasPrefix(w.Evidence, "3 times, healthy again after 3.5") {
			t.Errorf("%+v", w)
		}
		if len(p.calls) != 6 || p.calls[0] != "kill at 1s" ||
			!strings.HasPrefix(p.calls[2], "kill at 5.5") {
			t.Errorf("calls %q, want the second kill when the first start is over", p.calls)
		}
		if w.Start != time.Second || w.End < 11*time.Second || w.Recovered-w.End < p.slow {
			t.Errorf("window from %v to %v, recovered at %v", w.Start, w.End, w.Recovered)
		}
	})
}

// TestRepeatStops: a repetition that does not take ends the fault, and the window names the
// repetition.
func TestRepeatStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPart()
		f := kill(time.Second, 0)
		f.Repeat = Repeat{3 * time.Second, 30 * time.Second}
		ctx, end := context.WithTimeout(t.Context(), 8*time.Second)
		defer end()
		w := play(ctx, p, f)[0]
		if w.Applied || w.Err == nil ||
			!strings.Contains(w.Err.Error(), "time 4 of 10: kill consumer") {
			t.Errorf("%+v, want the fourth not applied", w)
		}
		if w.Start != time.Second || w.End != 7*time.Second {
			t.Errorf("window from %v to %v, want that of the three that came", w.Start, w.End)
		}
	})
}

func TestFaultsComeInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPart()
		windows := play(t.Context(), p, kill(20*time.Second, time.Second),
			Fault{At: time.Second, Kind: "pause", For: 4 * time.Second, Target: "consumer"},
			Fault{At: 10 * time.Second, Kind: "stop", Target: "consumer"})
		for _, w := range windows {
			if !w.Applied || w.Err != nil {
				t.Errorf("%+v", w)
			}
		}
		want := []string{"pause at 1s", "resume at 5s", "stop at 10s", "start at 10s",
			"kill at 20s", "start at 21s"}
		if !slices.Equal(p.calls, want) {
			t.Errorf("calls %q, want %q", p.calls, want)
		}
	})
}

func TestFaultThatIsNotInForceIsNotApplied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, f := range []Fault{
			kill(time.Second, time.Second),
			{At: time.Second, Kind: "stop", Target: "consumer"},
			{At: time.Second, Kind: "pause", For: time.Second, Target: "consumer"},
		} {
			p := newPart()
			p.immortal = true
			w := play(t.Context(), p, f)[0]
			if w.Applied || w.Err == nil ||
				!strings.Contains(w.Err.Error(), "served during the fault") {
				t.Errorf("%s: %+v", f.Kind, w)
			}
		}
	})
}

// TestOverlap: a fault on a target that another fault has made sick, so that a look takes until
// after the other fault, is applied in time; the recovery counts from the end of the last fault.
func TestOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPart()
		whole := &pipeline{broken: map[string]int{},
			health: func(context.Context) map[string]error {
				return map[string]error{"consumer": p.Health(t.Context())}
			}}
		faultsOf := []Fault{{Kind: "pause", Target: "mongo", For: 10 * time.Second},
			{At: 2 * time.Second, Kind: "kill", Target: "consumer", RestartAfter: time.Second}}
		plan := &Plan{SteadyState: SteadyState{Recovery: 2 * time.Second}, Method: faultsOf}
		bind := func(f *Fault) (*faults.Injection, error) {
			i, err := on(p)(f)
			if f.Kind == "pause" { // of the part that makes the consumer sick
				i = &faults.Injection{
					Healthy: func(context.Context) error { return nil },
					Inject: func(context.Context) error {
						p.set(errors.New("no mongo"))
						return nil
					},
					During: func(context.Context) (string, error) { return "paused", nil },
					Undo:   func(context.Context) error { p.set(nil); return nil },
				}
			} else {
				i.Undo = func(context.Context) error { return nil } // it is back, and still sick
				look, slow := i.Healthy, time.After(11*time.Second)
				i.Healthy = func(ctx context.Context) error {
					if time.Since(p.begin) < 3*time.Second {
						<-slow
					}
					return look(ctx)
				}
			}
			return whole.under(f, i), err
		}
		w := run(t.Context(), plan, bind, p.begin, nil)[1]
		if !w.Applied || w.Err != nil || w.End != 3*time.Second {
			t.Errorf("%+v", w)
		}
		late := w.Recovered - w.Clear
		if w.Clear < 9*time.Second || late < 0 || late > time.Second {
			t.Errorf("recovered at %v, counted from %v, want from the end of the pause",
				w.Recovered, w.Clear)
		}
	})
}

func TestUnhealthyTargetIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPart()
		p.sick = errors.New("sick before")
		w := play(t.Context(), p, kill(time.Second, time.Second))[0]
		if w.Applied || !errors.Is(w.Err, p.sick) || len(p.calls) > 0 || w.Start != 0 ||
			w.End != 0 {
			t.Errorf("%+v, calls %q", w, p.calls)
		}
	})
}

func TestFailedInjectionIsUndone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPart()
		p.failing["pause"] = errors.New("no such process")
		w := play(t.Context(), p, Fault{At: time.Second, Kind: "pause", Target: "consumer",
			For: time.Minute})[0]
		if w.Applied || !errors.Is(w.Err, p.failing["pause"]) || w.End != time.Second {
			t.Errorf("%+v", w)
		}
		if want := []string{"pause at 1s", "resume at 1s"}; !slices.Equal(p.calls, want) {
			t.Errorf("calls %q, want %q", p.calls, want)
		}
	})
}

func TestTargetThatDoesNotComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPart()
		p.failing["start"] = errors.New("port taken")
		w := play(t.Context(), p, kill(time.Second, time.Second))[0]
		if w.Applied || w.Recovered != 0 || !errors.Is(w.Err, p.failing["start"]) ||
			!strings.Contains(w.Err.Error(), "not healthy 20s after the end of the fault") {
			t.Errorf("%+v", w)
		}
		if now := time.Since(p.begin); now > 23*time.Second {
			t.Errorf("waited %v", now)
		}
	})
}

func TestEndOfTheRunUndoesEveryFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Second,
			errors.New("load is over"))
		defer cancel()
		p := newPart()
		windows := play(ctx, p, kill(5*time.Second, time.Hour), kill(10*time.Second, time.Second))
		if w := windows[0]; !w.Applied || w.End != 8*time.Second {
			t.Errorf("%+v", w)
		}
		if w := windows[1]; w.Applied || w.Err == nil ||
			!strings.Contains(w.Err.Error(), "load is over") {
			t.Errorf("%+v", w)
		}
		if want := []string{"kill at 5s", "start at 8s"}; !slices.Equal(p.calls, want) {
			t.Errorf("calls %q, want %q", p.calls, want)
		}
	})
}

func TestUnknownTargetIsNotApplied(t *testing.T) {
	t.Parallel()
	unknown := errors.New("no such proxy")
	plan := &Plan{Method: []Fault{kill(0, 0)}}
	w := run(t.Context(), plan, func(*Fault) (*faults.Injection, error) {
		return nil, unknown
	}, time.Now(), nil)[0]
	if w.Applied || !errors.Is(w.Err, unknown) || w.Fault != "kill" || w.Target != "consumer" {
		t.Errorf("%+v", w)
	}
}

// child starts a real process.
func child(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("cat")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip("no cat to start:", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// TestPIDsAreTheEvidence: a process still there, not stopped, or the same as before was not killed
// or paused, whatever the process's health.
func TestPIDsAreTheEvidence(t *testing.T) {
	t.Parallel()
	p := newPart()
	old, young := child(t), child(t)
	p.pids = []int{old.Process.Pid}
	plan := &Plan{SteadyState: SteadyState{Recovery: time.Second}, Method: []Fault{kill(0, 0)}}
	w := run(t.Context(), plan, on(p), time.Now(), nil)[0]
	if w.Applied || w.Err == nil || !strings.Contains(w.Err.Error(), "still there") {
		t.Errorf("a kill that killed nothing: %+v", w)
	}
	paused := &Plan{SteadyState: plan.SteadyState,
		Method: []Fault{{Kind: "pause", Target: "consumer"}}}
	if w = run(t.Context(), paused, on(p), time.Now(), nil)[0]; w.Applied || w.Err == nil ||
		!strings.Contains(w.Err.Error(), "is not stopped") {
		t.Errorf("a pause that stopped nothing: %+v", w)
	}
	p.onKill = func() {
		_ = old.Process.Kill()
		_ = old.Wait()
	}
	p.onStart = func() { p.pids = []int{young.Process.Pid} }
	w = run(t.Context(), plan, on(p), time.Now(), nil)[0]
	want := fmt.Sprintf("pids [%d] gone; pids [%d] came", old.Process.Pid, young.Process.Pid)
	if !w.Applied || w.Err != nil || w.Evidence != want {
		t.Errorf("%+v, want evidence %q", w, want)
	}
}
