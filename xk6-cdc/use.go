package cdc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

const (
	// countInterval is how often MongoDB is asked how much it does.
	countInterval = time.Second
	// longestPause is the longest that the budget holds a find back: without a load to have a share
	// of, what is outstanding must still be found.
	longestPause = 250 * time.Millisecond
)

// trackerCommands are what the tracker sends; the self-test's writes are none of its.
var trackerCommands = map[string]bool{"find": true, "getMore": true, "aggregate": true, "serverStatus": true}

// What share of MongoDB's operations the tracker may be where no option says it. A change stream reads
// with each change, so it is nearly half of what a server does that does nothing else.
const (
	pollBudget   = 0.1
	streamBudget = 0.6
)

// use is what the tracker asks of MongoDB beside what MongoDB does in all. It holds finds back where
// its operations would be more than the budget: a share of all. It holds back finds alone: a change
// stream's own reads come with the changes, and held back they would be stamped too late.
type use struct {
	// budget is set before anything is counted.
	budget float64
	now    func() int64
	// writes are those that PostgreSQL has acknowledged, which MongoDB must do at least.
	writes func() int64

	operations, finds atomic.Int64
	// limited is false where nothing but the tracker is measured.
	limited atomic.Bool

	mu sync.Mutex
	// gaps are the times between two looks of a poll, in microseconds, while something was waited for.
	gaps *hdrhistogram.Histogram
	// base is MongoDB's count when the watching began, total what it did since then.
	base, total    int64
	begun, counted bool
	// perNs is how many finds the budget allows in a nanosecond, allowed how many are left of them,
	// as of allowedNs.
	perNs, allowed        float64
	allowedNs, lastFindNs int64
	// known is how many operations there were when MongoDB was last counted, at countedNs.
	known, countedNs int64
}

func newUse(budget float64, now, writes func() int64) *use {
	return &use{
		budget: budget, now: now, writes: writes,
		gaps: hdrhistogram.New(1, int64(time.Hour/time.Microsecond), 3),
	}
}

// useSummary is what the ledger's end and lab.stats() say of the tracker's use.
type useSummary struct {
	Operations, Server      int64
	ServerCounted           bool
	BudgetAsked, BudgetKept float64
	LookMedianNs, LookMaxNs int64
}

func (u *use) summary() useSummary {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := useSummary{
		Operations: u.operations.Load(), Server: u.total, ServerCounted: u.counted, BudgetAsked: u.budget,
	}
	if u.total > 0 {
		s.BudgetKept = min(1, float64(u.known)/float64(u.total))
	}
	if u.gaps.TotalCount() > 0 {
		s.LookMedianNs = u.gaps.ValueAtQuantile(50) * int64(time.Microsecond)
		s.LookMaxNs = u.gaps.Max() * int64(time.Microsecond)
	}
	return s
}

// looked says how long a look of a poll took until the next began.
func (u *use) looked(gapNs int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ticks := min(max(1, gapNs/int64(time.Microsecond)), int64(time.Hour/time.Microsecond))
	_ = u.gaps.RecordValue(ticks) // it is in the range
}

// monitor counts the tracker's commands, and the breaks of a change stream, most of which the driver
// mends by itself and tells nobody. Only a stream reads with getMore: a poll's answers fit into the
// first batch.
func (u *use) monitor(t *tracker) *event.CommandMonitor {
	return &event.CommandMonitor{
		Started: func(_ context.Context, started *event.CommandStartedEvent) {
			if trackerCommands[started.CommandName] {
				u.operations.Add(1)
			}
			if started.CommandName == "find" {
				u.finds.Add(1)
			}
		},
		Failed: func(ctx context.Context, failed *event.CommandFailedEvent) {
			if failed.CommandName == "getMore" && ctx.Err() == nil {
				t.errors.Add(1)
			}
		},
	}
}

// wait returns when the budget has room for a find, or with the error of ctx.
func (u *use) wait(ctx context.Context) error {
	for {
		pause := u.pause()
		if pause <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// pause is how long to wait until the next find; where it is 0, the find is taken off the budget.
func (u *use) pause() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	// What was not used within a second is not saved for later: that would come as a burst.
	most := max(1, u.perNs*float64(time.Second))
	u.allowed = min(most, u.allowed+u.perNs*float64(now-u.allowedNs))
	u.allowedNs = now
	rest := time.Duration(u.lastFindNs + longestPause.Nanoseconds() - now)
	if u.perNs > 0 {
		rest = min(rest, time.Duration((1-u.allowed)/u.perNs)+1)
	}
	if u.limited.Load() && u.budget < 1 && u.allowed < 1 && rest > 0 {
		return rest
	}
	u.allowed = max(0, u.allowed-1)
	u.lastFindNs = now
	return 0
}

// count asks MongoDB again and again how much it does, until ctx ends and a last time then.
func (u *use) count(ctx context.Context, client *mongo.Client) {
	tick := time.NewTicker(countInterval)
	defer tick.Stop()
	for {
		u.counts(u.ask(ctx, client))
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), countInterval)
			u.counts(u.ask(last, client))
			cancel()
			return
		case <-tick.C:
		}
	}
}

// ask is how many operations the server has done since it started; false where it does not say.
// https://www.mongodb.com/docs/manual/reference/command/serverStatus/#opcounters
func (u *use) ask(ctx context.Context, client *mongo.Client) (int64, bool) {
	var status struct {
		Opcounters map[string]any `bson:"opcounters"`
	}
	err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "serverStatus", Value: 1}}).Decode(&status)
	if err != nil {
		return 0, false
	}
	var sum int64
	for _, name := range []string{"insert", "query", "update", "delete", "getmore", "command"} {
		switch n := status.Opcounters[name].(type) {
		case int32:
			sum += int64(n)
		case int64:
			sum += n
		case float64:
			sum += int64(n)
		}
	}
	return sum, sum > 0
}

// counts takes the server's count. Where it has none, its work is at least the tracker's operations
// and a write for each that PostgreSQL acknowledged.
func (u *use) counts(count int64, counted bool) {
	own := u.operations.Load()
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	if !counted {
		count = own + u.writes()
	}
	if !u.begun {
		u.base, u.countedNs = count, now
	} else if count < u.base+u.total || counted != u.counted { // it restarted
		u.base = count - u.total
	}
	u.counted = counted
	before := u.total
	u.total = count - u.base
	if elapsed := now - u.countedNs; u.begun && elapsed > 0 && u.budget < 1 {
		each := u.budget / (1 - u.budget) // finds for each operation of others
		others := max(0, u.total-before-(own-u.known))
		// What the others' operations so far allow and was not used yet; little of it at a time.
		room := each*float64(max(0, u.total-own)) - float64(own)
		u.perNs = min(max(0, room), 2*each*float64(others)) / float64(elapsed)
	}
	u.begun, u.known, u.countedNs = true, own, now
}
