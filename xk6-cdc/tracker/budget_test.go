package tracker

import (
	"context"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/event"
)

// The finds of an eager poll stay under the budget while the others' load comes, grows and goes,
// and use most of the budget. Without any load, finds still happen.
func TestBudget(t *testing.T) {
	t.Parallel()
	for _, counted := range []bool{true, false} {
		var nowNs, others int64
		b := newBudget(0.1, func() int64 { return nowNs }, func() int64 { return others })
		b.limited.Store(true)
		count := func() { b.counts(others+b.finds.Load(), counted) }
		count()
		idle := int64(0)
		for ms := range int64(60_000) {
			nowNs = ms * 1e6
			second := ms / 1000
			switch {
			case second < 5 || second >= 50:
			case second%20 < 10:
				others++
			default:
				others += 5
			}
			for b.pause() == 0 {
				b.finds.Add(1)
				b.operations.Add(1)
				if second < 5 {
					idle++
				}
			}
			if ms%1000 == 999 {
				count()
			}
			if s := b.cost(); ms == 49_999 && (s.Kept > 0.1 || s.Kept < 0.09) {
				t.Errorf("counted %v: under load %+v", counted, s)
			}
		}
		if s := b.cost(); s.ServerCounted != counted || s.Server != others+b.finds.Load() {
			t.Errorf("counted %v: %+v", counted, s)
		}
		if idle < 15 || idle > 25 {
			t.Errorf("%d finds in 5 s without a load, want 4 a second", idle)
		}
	}
}

func TestNoBudget(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]*budget{
		"not limited": newBudget(0.1, func() int64 {
			return 7
		}, nil), "all of it": newBudget(1, func() int64 { return 7 }, nil),
	} {
		b.limited.Store(name == "all of it")
		for range 100 {
			if b.pause() != 0 {
				t.Fatalf("%s: a find was held back", name)
			}
		}
	}
}

// A restarted server counts from 0 again: the operations before the restart are kept.
func TestBudgetSurvivesARestart(t *testing.T) {
	t.Parallel()
	var nowNs int64
	b := newBudget(0.5, func() int64 { nowNs += 1e9; return nowNs }, func() int64 { return 0 })
	for _, count := range []int64{1000, 1500, 20, 120} {
		b.counts(count, true)
	}
	if s := b.cost(); s.Server != 600 {
		t.Errorf("got %d operations, want 500 and 100", s.Server)
	}
}

// TestBreaksOfAStreamAreCounted: each once, however often the driver asks until the stream is there
// again, and also a crash between two getMores, of which only the driver's next aggregate tells.
func TestBreaksOfAStreamAreCounted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		commands []string
		want     int64
	}{
		"none":                       {[]string{"aggregate", "getMore", "getMore"}, 0},
		"in a getMore":               {[]string{"aggregate", "getMore failed", "aggregate"}, 1},
		"in a getMore, never mended": {[]string{"aggregate", "getMore", "getMore failed"}, 1},
		"between two getMores":       {[]string{"aggregate", "getMore", "aggregate", "getMore"}, 1},
		"in a getMore, mended at the third attempt": {[]string{"aggregate", "getMore failed",
			"aggregate failed", "aggregate failed", "aggregate", "getMore"}, 1},
		"between two getMores, mended at the second attempt": {[]string{"aggregate", "getMore",
			"aggregate failed", "aggregate", "getMore"}, 1},
		"before the first getMore":     {[]string{"aggregate", "aggregate", "getMore"}, 1},
		"opened at the second attempt": {[]string{"aggregate failed", "aggregate", "getMore"}, 0},
		"one of each": {[]string{"aggregate", "getMore failed", "aggregate", "getMore",
			"aggregate"}, 2},
		"a poll": {[]string{"find", "serverStatus", "find"}, 0},
	} {
		tracker, b := &Tracker{}, newBudget(1, nil, nil)
		monitor := b.monitor(tracker)
		for _, command := range c.commands {
			name, failed := strings.CutSuffix(command, " failed")
			monitor.Started(t.Context(), &event.CommandStartedEvent{CommandName: name})
			finished := event.CommandFinishedEvent{CommandName: name}
			if failed {
				monitor.Failed(t.Context(),
					&event.CommandFailedEvent{CommandFinishedEvent: finished})
			} else {
				monitor.Succeeded(t.Context(),
					&event.CommandSucceededEvent{CommandFinishedEvent: finished})
			}
		}
		ended, end := context.WithCancel(t.Context())
		end()
		monitor.Started(ended, &event.CommandStartedEvent{CommandName: "aggregate"})
		if got := tracker.Errors(); got != c.want {
			t.Errorf("%s: %d breaks, want %d", name, got, c.want)
		}
	}
}
