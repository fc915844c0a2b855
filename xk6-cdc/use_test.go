package cdc

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// The finds of an eager poll stay under the budget while the others' load comes, grows and goes, and
// use most of it; without any load something is still looked for.
func TestBudget(t *testing.T) {
	t.Parallel()
	for _, counted := range []bool{true, false} {
		var nowNs, others int64
		u := newUse(0.1, func() int64 { return nowNs }, func() int64 { return others })
		u.limited.Store(true)
		count := func() { u.counts(others+u.finds.Load(), counted) }
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
			for u.pause() == 0 {
				u.finds.Add(1)
				u.operations.Add(1)
				if second < 5 {
					idle++
				}
			}
			if ms%1000 == 999 {
				count()
			}
			if s := u.summary(); ms == 49_999 && (s.BudgetKept > 0.1 || s.BudgetKept < 0.09) {
				t.Errorf("counted %v: under load %+v", counted, s)
			}
		}
		if s := u.summary(); s.ServerCounted != counted || s.Server != others+u.finds.Load() {
			t.Errorf("counted %v: %+v", counted, s)
		}
		if idle < 15 || idle > 25 {
			t.Errorf("%d finds in 5 s without a load, want 4 a second", idle)
		}
	}
}

func TestNoBudget(t *testing.T) {
	t.Parallel()
	for name, u := range map[string]*use{
		"not limited": newUse(0.1, func() int64 { return 7 }, nil), "all of it": newUse(1, func() int64 { return 7 }, nil),
	} {
		u.limited.Store(name == "all of it")
		for range 100 {
			if u.pause() != 0 {
				t.Fatalf("%s: a find was held back", name)
			}
		}
	}
}

// A server that restarted counts from 0 again: what it did before is kept.
func TestUseSurvivesARestart(t *testing.T) {
	t.Parallel()
	var nowNs int64
	u := newUse(0.5, func() int64 { nowNs += 1e9; return nowNs }, func() int64 { return 0 })
	for _, count := range []int64{1000, 1500, 20, 120} {
		u.counts(count, true)
	}
	if s := u.summary(); s.Server != 600 {
		t.Errorf("got %d operations, want 500 and 100", s.Server)
	}
}

// A poll on a real server under load: it looks less often and says so.
func TestPollKeepsItsBudget(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	lab, _ := labOn(t, s, func(o *Options) { o.Tracker = TrackPoll })
	if err := lab.watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	lab.use.limited.Store(true)
	never := awaited(lab, 1, ledger.Insert, "never", place{collection: "customers", document: "never"})
	lab.tracker.expect(never)
	lab.tracker.settle(never, ledger.Acked, lab.now(), nil)
	other := s.client(t).Database("other").Collection("load")
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			_, _ = other.InsertOne(ctx, bson.D{{Key: "a", Value: 1}})
		}
	})
	lab.await(t.Context(), 30*time.Second, func() bool { return lab.use.finds.Load() > 100 })
	stop()
	load.Wait()
	if err := lab.end(true); err != nil {
		t.Fatal(err)
	}
	_, _, end := readLedger(t, lab)
	if end.BudgetAsked != 0.1 || end.BudgetKept <= 0 || end.BudgetKept > 0.15 || !end.ServerCounted ||
		end.TrackerOperations <= 100 || end.ServerOperations < end.TrackerOperations ||
		end.MedianLookNs < pollInterval.Nanoseconds()/2 || end.SlowestLookNs < end.MedianLookNs || end.SampleAsked != 1 {
		t.Errorf("end %+v", end)
	}
	t.Logf("kept %.3f of %.3f, %d of %d operations, median look %v, slowest %v", end.BudgetKept, end.BudgetAsked,
		end.TrackerOperations, end.ServerOperations, time.Duration(end.MedianLookNs), time.Duration(end.SlowestLookNs))
}
