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

// TestTurnsOfAFaultAlone: a fault that works alone waits until every target is undone, and the
// faults of every target wait for its undoing.
func TestTurnsOfAFaultAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bind := func(*Fault) (*faults.Injection, error) {
			i := harmless()
			i.Undo = func(context.Context) error {
				<-time.After(8 * time.Second)
				return nil
			}
			return i, nil
		}
		plan := &Plan{SteadyState: SteadyState{Recovery: 10 * time.Second}, Method: []Fault{
			{At: time.Second, Kind: "pause", Target: "mongo", For: time.Second},
			{At: 4 * time.Second, Kind: "restored", Target: "postgres", For: 2 * time.Second},
			{At: 5 * time.Second, Kind: "kill", Target: "consumer", RestartAfter: time.Second},
		}}
		windows := run(t.Context(), plan, bind, time.Now(), nil)
		for n, want := range []time.Duration{time.Second, 10 * time.Second, 20 * time.Second} {
			if w := windows[n]; w.Start != want || !w.Applied || w.Err != nil {
				t.Errorf("%s began at %v, want %v: %+v", w.Fault, w.Start, want, w)
			}
		}
	})
}

// TestFaultsOfAProxyWaitForAFaultAlone: faults on the same proxy work side by side, and wait for a
// fault that works alone, as this fault does for the others.
func TestFaultsOfAProxyWaitForAFaultAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bind := func(*Fault) (*faults.Injection, error) { return harmless(), nil }
		on := func(at time.Duration, kind string, length time.Duration) Fault {
			return Fault{At: at, Kind: kind, Target: "consumer-mongo", For: length}
		}
		plan := &Plan{SteadyState: SteadyState{Recovery: 10 * time.Second}, Method: []Fault{
			on(time.Second, "latency", 5*time.Second), on(2*time.Second, "slicer", time.Second),
			{At: 4 * time.Second, Kind: "restored", Target: "postgres", For: 8 * time.Second},
			on(5*time.Second, "latency", time.Second), on(7*time.Second, "slicer", time.Second),
		}}
		windows := run(t.Context(), plan, bind, time.Now(), nil)
		for n, want := range []time.Duration{1, 2, 6, 14, 14} {
			if w := windows[n]; w.Start != want*time.Second || !w.Applied || w.Err != nil {
				t.Errorf("%d, %s began at %v, want %d s: %+v", n, w.Fault, w.Start, want, w)
			}
		}
	})
}

// TestTurnsOfATarget: of a target, index-builds and memory-pressure work side by side, two of a
// Kind come one after the other, and pause, which shares no target, comes alone.
func TestTurnsOfATarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bind := func(*Fault) (*faults.Injection, error) { return harmless(), nil }
		on := func(at time.Duration, kind string, length time.Duration) Fault {
			return Fault{At: at, Kind: kind, Target: "mongo", For: length}
		}
		plan := &Plan{SteadyState: SteadyState{Recovery: 10 * time.Second}, Method: []Fault{
			on(time.Second, "index-builds", 9*time.Second),
			on(2*time.Second, "memory-pressure", time.Second),
			on(4*time.Second, "index-builds", time.Second),
			on(20*time.Second, "index-builds", 5*time.Second),
			on(21*time.Second, "pause", 3*time.Second),
			on(22*time.Second, "memory-pressure", time.Second),
		}}
		windows := run(t.Context(), plan, bind, time.Now(), nil)
		for n, want := range []time.Duration{1, 2, 10, 20, 25, 28} {
			if w := windows[n]; w.Start != want*time.Second || !w.Applied || w.Err != nil {
				t.Errorf("%d, %s began at %v, want %d s: %+v", n, w.Fault, w.Start, want, w)
			}
		}
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
