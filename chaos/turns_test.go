package chaos

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdclab/cdclab/chaos/faults"
)

// TestNextFaultWaitsForTheUndoing: a part that is still being started is not killed, even when the
// part seems to serve already; the next fault on the part comes late instead.
func TestNextFaultWaitsForTheUndoing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPart()
		starting := false
		p.onStart = func() {
			starting = true
			p.set(nil)
			<-time.After(8 * time.Second)
			starting = false
		}
		p.onKill = func() {
			if starting {
				t.Error("killed in the middle of the start")
			}
		}
		windows := play(t.Context(), p, kill(time.Second, time.Second),
			kill(4*time.Second, time.Second))
		if w := windows[1]; w.Start != 10*time.Second {
			t.Errorf("the second kill was at %v, want 10s: %q", w.Start, p.calls)
		}
		for _, w := range windows {
			if !w.Applied || w.Err != nil {
				t.Errorf("%+v", w)
			}
		}
	})
}

// harmless is a fault that is seen and does nothing.
func harmless() *faults.Injection {
	nothing := func(context.Context) error { return nil }
	return &faults.Injection{Healthy: nothing, Inject: nothing, Undo: nothing,
		During: func(context.Context) (string, error) { return "seen", nil }}
}

// begin plays the faults, each with an Injection of its own, and wants each applied, from the time
// in seconds on.
func begin(t *testing.T, injection func() *faults.Injection, want []time.Duration,
	method ...Fault) {
	t.Helper()
	plan := &Plan{SteadyState: SteadyState{Recovery: 10 * time.Second}, Method: method}
	bind := func(*Fault) (*faults.Injection, error) { return injection(), nil }
	for n, w := range run(t.Context(), plan, bind, time.Now(), nil) {
		if w.Start != want[n]*time.Second || !w.Applied || w.Err != nil {
			t.Errorf("%d, %s began at %v, want %d s: %+v", n, w.Fault, w.Start, want[n], w)
		}
	}
}

// lasting is a fault on a target, with the time and the length in seconds.
func lasting(target string, at time.Duration, kind string, length time.Duration) Fault {
	return Fault{At: at * time.Second, Kind: kind, Target: target, For: length * time.Second}
}

// TestTurnsOfAFaultAlone: a fault that works alone waits until every target is undone, and the
// faults of every target wait for its undoing.
func TestTurnsOfAFaultAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func() *faults.Injection {
			i := harmless()
			i.Undo = func(context.Context) error {
				<-time.After(8 * time.Second)
				return nil
			}
			return i
		}
		begin(t, slow, []time.Duration{1, 10, 20}, lasting("mongo", 1, "pause", 1),
			lasting("postgres", 4, "restored", 2), kill(5*time.Second, time.Second))
	})
}

// TestFaultsOfAProxyWaitForAFaultAlone: faults on the same proxy work side by side, and wait for a
// fault that works alone, as this fault does for the others.
func TestFaultsOfAProxyWaitForAFaultAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin(t, harmless, []time.Duration{1, 2, 6, 14, 14},
			lasting("consumer-mongo", 1, "latency", 5), lasting("consumer-mongo", 2, "slicer", 1),
			lasting("postgres", 4, "restored", 8),
			lasting("consumer-mongo", 5, "latency", 1), lasting("consumer-mongo", 7, "slicer", 1))
	})
}

// TestTurnsOfATarget: of a target, index-builds and memory-pressure work side by side, two of a
// Kind come one after the other, and pause, which shares no target, comes alone.
func TestTurnsOfATarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin(t, harmless, []time.Duration{1, 2, 10, 20, 25, 28},
			lasting("mongo", 1, "index-builds", 9), lasting("mongo", 2, "memory-pressure", 1),
			lasting("mongo", 4, "index-builds", 1), lasting("mongo", 20, "index-builds", 5),
			lasting("mongo", 21, "pause", 3), lasting("mongo", 22, "memory-pressure", 1))
	})
}

// TestAfterEffectIsWaitedFor: a fault may leave another part sick for a while, as a topic made anew
// leaves the consumers; the next fault on that part waits, and is applied.
func TestAfterEffectIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sickUntil time.Time
		bind := func(f *Fault) (*faults.Injection, error) {
			i := harmless()
			switch f.Target {
			case "kafka":
				i.Undo = func(context.Context) error {
					sickUntil = time.Now().Add(5 * time.Second)
					return nil
				}
			case "consumer":
				i.Healthy = func(context.Context) error {
					if time.Now().Before(sickUntil) {
						return errors.New("meets the new topic")
					}
					return nil
				}
			}
			return i, nil
		}
		plan := &Plan{SteadyState: SteadyState{Recovery: 10 * time.Second}, Method: []Fault{
			{At: time.Second, Kind: "topic-recreated", Target: "kafka"},
			{At: 3 * time.Second, Kind: "kill", Target: "consumer", RestartAfter: time.Second},
		}}
		windows := run(t.Context(), plan, bind, time.Now(), nil)
		w := windows[1]
		if !w.Applied || w.Err != nil || w.Start < 6*time.Second || w.Start > 7*time.Second {
			t.Errorf("began at %v, want 6s: %+v", w.Start, w)
		}
	})
}
