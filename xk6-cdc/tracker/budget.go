package tracker

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
	// countInterval lies between two questions to MongoDB about the server's operations.
	countInterval = time.Second
	// longestPause is the budget's longest delay of a find: without any load to have a share of,
	// outstanding writes must still be found.
	longestPause = 250 * time.Millisecond
)

// trackerCommands are the commands sent by the tracker; the self-test's writes do not count.
var trackerCommands = map[string]bool{"find": true, "getMore": true, "aggregate": true,
	"serverStatus": true}

// The default budgets: the tracker's share of MongoDB's operations. A change stream reads with each
// change, which is nearly half of the operations of an otherwise idle server.
const (
	PollBudget   = 0.1
	StreamBudget = 0.6
)

// budget compares the tracker's operations with all of MongoDB's. The budget delays finds where the
// tracker's share of all operations would exceed the bound. A change stream's reads are never
// delayed, because the reads come with the changes and a delayed read would be stamped too late.
type budget struct {
	// share is set before anything is counted.
	share float64
	now   func() int64
	// writes returns the number of writes acknowledged by PostgreSQL, a lower bound of MongoDB's
	// own.
	writes func() int64

	operations, finds atomic.Int64
	// streaming is true from the server's answer with a change stream until the stream's break.
	streaming atomic.Bool
	// limited is false where nothing but the tracker is measured.
	limited atomic.Bool

	mu sync.Mutex
	// gaps are the times between two rounds of a poll with waiting writes, in microseconds.
	gaps *hdrhistogram.Histogram
	// base is MongoDB's count when the watching began, total the number of operations since then.
	base, total    int64
	begun, counted bool
	// perNs is the number of finds that the budget allows in a nanosecond, allowed the number left
	// as of allowedNs.
	perNs, allowed        float64
	allowedNs, lastFindNs int64
	// known is the number of the tracker's operations at MongoDB's last count, at countedNs.
	known, countedNs int64
}

func newBudget(share float64, now, writes func() int64) *budget {
	return &budget{
		share: share, now: now, writes: writes,
		gaps: hdrhistogram.New(1, int64(time.Hour/time.Microsecond), 3),
	}
}

// Cost is the tracker's use of MongoDB for the ledger's end and lab.stats().
type Cost struct {
	// Operations are the tracker's, Server all of MongoDB's; ServerCounted is false where MongoDB
	// gives no count.
	Operations, Server int64
	ServerCounted      bool
	// Asked is the share allowed to the tracker, Kept the share that the tracker had.
	Asked, Kept float64
	// RoundMedianNs and RoundMaxNs are times between two rounds of a poll.
	RoundMedianNs, RoundMaxNs int64
}

func (b *budget) cost() Cost {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := Cost{
		Operations: b.operations.Load(), Server: b.total, ServerCounted: b.counted, Asked: b.share,
	}
	if b.total > 0 {
		c.Kept = min(1, float64(b.known)/float64(b.total))
	}
	if b.gaps.TotalCount() > 0 {
		c.RoundMedianNs = b.gaps.ValueAtQuantile(50) * int64(time.Microsecond)
		c.RoundMaxNs = b.gaps.Max() * int64(time.Microsecond)
	}
	return c
}

// recordRound takes the time between the beginnings of two successive rounds of a poll.
func (b *budget) recordRound(gapNs int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ticks := min(max(1, gapNs/int64(time.Microsecond)), int64(time.Hour/time.Microsecond))
	_ = b.gaps.RecordValue(ticks) // in the range
}

// monitor counts the tracker's commands and the breaks of a change stream, because the driver mends
// most breaks without a word. Only a stream reads with getMore (a poll's answers fit into the first
// batch), and only a stream is asked for with aggregate. A crash between two getMores fails no
// command, so that only the next aggregate tells.
func (b *budget) monitor(t *Tracker) *event.CommandMonitor {
	breaks := func(ctx context.Context) {
		// The driver asks once more when the watching ends.
		if ctx.Err() == nil && b.streaming.Swap(false) {
			t.failures.Add(1)
		}
	}
	return &event.CommandMonitor{
		Started: func(ctx context.Context, started *event.CommandStartedEvent) {
			if trackerCommands[started.CommandName] {
				b.operations.Add(1)
			}
			switch started.CommandName {
			case "find":
				b.finds.Add(1)
			case "aggregate":
				breaks(ctx)
			}
		},
		Succeeded: func(_ context.Context, succeeded *event.CommandSucceededEvent) {
			if succeeded.CommandName == "aggregate" {
				b.streaming.Store(true)
			}
		},
		Failed: func(ctx context.Context, failed *event.CommandFailedEvent) {
			if failed.CommandName == "getMore" {
				breaks(ctx)
			}
		},
	}
}

// wait returns when the budget has room for a find, or with the error of ctx.
func (b *budget) wait(ctx context.Context) error {
	for {
		pause := b.pause()
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

// pause returns the wait until the next find; a pause of 0 takes the find off the budget.
func (b *budget) pause() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	// Room not used within a second is lost, because saved room would come as a burst.
	most := max(1, b.perNs*float64(time.Second))
	b.allowed = min(most, b.allowed+b.perNs*float64(now-b.allowedNs))
	b.allowedNs = now
	rest := time.Duration(b.lastFindNs + longestPause.Nanoseconds() - now)
	if b.perNs > 0 {
		rest = min(rest, time.Duration((1-b.allowed)/b.perNs)+1)
	}
	if b.limited.Load() && b.share < 1 && b.allowed < 1 && rest > 0 {
		return rest
	}
	b.allowed = max(0, b.allowed-1)
	b.lastFindNs = now
	return 0
}

// count asks MongoDB for the server's operations again and again, until ctx ends and once more
// then.
func (b *budget) count(ctx context.Context, client *mongo.Client) {
	tick := time.NewTicker(countInterval)
	defer tick.Stop()
	for {
		b.counts(b.ask(ctx, client))
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), countInterval)
			b.counts(b.ask(last, client))
			cancel()
			return
		case <-tick.C:
		}
	}
}

// ask returns the number of operations since the server's start; false where the server gives no
// count. https://www.mongodb.com/docs/manual/reference/command/serverStatus/#opcounters
func (b *budget) ask(ctx context.Context, client *mongo.Client) (int64, bool) {
	var status struct {
		Opcounters map[string]any `bson:"opcounters"`
	}
	err := client.Database("admin").RunCommand(ctx,
		bson.D{{Key: "serverStatus", Value: 1}}).Decode(&status)
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

// counts takes the server's count. Without a count, the server's work is at least the tracker's
// operations and a write for each one acknowledged by PostgreSQL.
func (b *budget) counts(count int64, counted bool) {
	own := b.operations.Load()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if !counted {
		count = own + b.writes()
	}
	if !b.begun {
		b.base, b.countedNs = count, now
	} else if count < b.base+b.total || counted != b.counted { // the server restarted
		b.base = count - b.total
	}
	b.counted = counted
	before := b.total
	b.total = count - b.base
	if elapsed := now - b.countedNs; b.begun && elapsed > 0 && b.share < 1 {
		each := b.share / (1 - b.share) // finds for each operation of others
		others := max(0, b.total-before-(own-b.known))
		// The unused room of the others' operations so far; only a little at a time.
		room := each*float64(max(0, b.total-own)) - float64(own)
		b.perNs = min(max(0, room), 2*each*float64(others)) / float64(elapsed)
	}
	b.begun, b.known, b.countedNs = true, own, now
}
