package peer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestWaitFor: a wait ends with the name of the wait and what was seen last.
func TestWaitFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		err := waitFor(t.Context(), "the bus", time.Minute, func(context.Context) poll {
			asked++
			return poll{asked == 3, "no bus", nil}
		})
		if err != nil || asked != 3 {
			t.Errorf("%v after %d questions", err, asked)
		}
		began := time.Now()
		err = waitFor(t.Context(), "the bus", time.Minute, func(context.Context) poll {
			return poll{seen: "a tram"}
		})
		want := "wait for the bus: context deadline exceeded: 1m0s passed; seen last: a tram"
		if err == nil || err.Error() != want || time.Since(began) != time.Minute {
			t.Errorf("%v after %v, want %s", err, time.Since(began), want)
		}
		broken := errors.New("the bus broke down")
		err = waitFor(t.Context(), "the bus", time.Minute, func(context.Context) poll {
			return poll{err: broken}
		})
		if !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	})
}
