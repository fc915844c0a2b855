package chaos

import (
	"testing"
	"testing/synctest"
	"time"
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
