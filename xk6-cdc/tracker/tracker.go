// Package tracker finds the time at which a version becomes visible in MongoDB. A change stream
// (stream.go) or a poll (poll.go) shows the versions in documents (sighting.go). The Tracker
// matches the versions with the waiting writes, and the budget bounds the tracker's share of
// MongoDB.
//
// Start reading at Tracker.Expect, Tracker.Settle and Tracker.saw, the three events of a write;
// Tracker.Open (watch.go) is the connection, pending.go a write on its way.
package tracker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// Observer receives the news of each write. Settled, Visible and Unseen must not call the tracker,
// because the tracker is locked during these calls.
type Observer struct {
	// Settled: PostgreSQL has answered. Visible: MongoDB shows the write. Unseen: the write's time
	// is over, or nobody looks for the write any more.
	Settled, Visible, Unseen func(*Pending)
	// Record takes each write when nothing more will become known.
	Record func(*Pending)
}

// Tracker matches the sightings in MongoDB with the waiting writes. The Tracker does not look by
// itself: a stream or a poll looks, and calls saw.
type Tracker struct {
	timeout time.Duration
	// now returns the stamp of this moment.
	now     func() int64
	observe Observer
	budget  *budget
	// backward is told of the change stream's events.
	backward *backward

	// failures counts the failures of the watching; writes are seen too late after a failure.
	failures atomic.Int64

	mu sync.Mutex
	// waiting holds the newest waiting write of each row, by key; older writes of the row hang on
	// the newest.
	waiting map[string]*Pending
	counts  Counts
	// took are the latencies of the visible writes, without the seed rows, in microseconds.
	took *hdrhistogram.Histogram
}

// longestTook is recorded for every longer latency.
const longestTook = time.Hour

// P95 returns the 95th percentile of the latencies so far.
func (t *Tracker) P95() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Duration(t.took.ValueAtPercentile(95)) * time.Microsecond
}

// Counts are numbers of writes by state.
type Counts struct {
	Acked, Failed, Indeterminate, Visible, Superseded, TimedOut int64
	// Outstanding writes are acked, tracked and not yet seen.
	Outstanding int64
	// eligible writes are acked, and sampling could have left them out; tracked are the ones not
	// left out.
	eligible, tracked int64
}

// SampleKept returns the tracked share of the writes that sampling may leave out.
func (c Counts) SampleKept() float64 {
	if c.eligible == 0 {
		return 0
	}
	return float64(c.tracked) / float64(c.eligible)
}

// New returns a Tracker without sightings; a write that takes longer than timeout is late.
func New(timeout time.Duration, now func() int64, observe Observer) *Tracker {
	t := &Tracker{
		timeout: timeout, now: now, observe: observe, waiting: map[string]*Pending{},
		backward: newBackward(),
		took:     hdrhistogram.New(1, longestTook.Microseconds(), 2),
	}
	t.budget = newBudget(PollBudget, now, func() int64 { return t.Counts().Acked })
	return t
}

// Expect must come before the statement is sent, because the change can be seen before the commit
// is acknowledged. Every expected write must be settled. Of the writes left out by sampling, Expect
// takes only the delete of a row with a waiting write, because the row will only be seen as a
// tombstone.
func (t *Tracker) Expect(p *Pending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.Untracked && (p.Op != ledger.Delete || t.waiting[p.Row.Key] == nil) {
		return
	}
	p.Untracked = false
	p.older = t.waiting[p.Row.Key]
	t.waiting[p.Row.Key] = p
}

// Settle takes the fate of a write in PostgreSQL, known at atNs; reason is the reason of a fate
// other than acked.
func (t *Tracker) Settle(p *Pending, fate ledger.Fate, atNs int64, reason error) {
	t.mu.Lock()
	p.Fate = fate
	if reason != nil {
		p.Reason = reason.Error()
	}
	switch fate {
	case ledger.Acked:
		p.CommittedNs = atNs
		t.counts.Acked++
		if p.Sampled() {
			t.counts.eligible++
			if !p.Untracked {
				t.counts.tracked++
			}
		}
		if p.VisibleNs == 0 && !p.Untracked {
			t.counts.Outstanding++
		}
	case ledger.Failed:
		t.counts.Failed++
		t.remove(p)
	case ledger.Indeterminate:
		t.counts.Indeterminate++
	}
	finished := fate == ledger.Failed || p.VisibleNs != 0 || p.Untracked
	t.observe.Settled(p)
	if finished {
		t.finish(p)
	}
	t.mu.Unlock()
	if finished {
		t.observe.Record(p)
	}
}

// saw takes a sighting: at atNs the row of the key had this version in MongoDB (0: none), or was
// deleted. A version satisfies the writes of this version and older ones. A tombstone satisfies a
// waiting delete and all writes before the delete; where no delete waits, the tombstone is not the
// generator's.
func (t *Tracker) saw(key string, version int64, deleted bool, atNs int64) {
	t.mu.Lock()
	var finished []*Pending
	newest := t.waiting[key]
	buried := deleted && newest != nil && newest.Op == ledger.Delete
	var left *Pending
	end := &left
	for p := newest; p != nil; p = p.older {
		if !buried && (version < p.ID || p.Op == ledger.Delete) {
			*end, end = p, &p.older
			continue
		}
		p.VisibleNs = atNs
		p.superseded = version > p.ID || buried && p.Op != ledger.Delete
		if p.Seen != nil {
			close(p.Seen)
		}
		if p.Fate != "" {
			finished = append(finished, p)
		}
	}
	*end = nil
	t.keep(key, left)
	for _, p := range finished {
		if p.Fate == ledger.Acked {
			t.counts.Outstanding--
		}
		t.finish(p)
	}
	t.mu.Unlock()
	for _, p := range finished {
		t.observe.Record(p)
	}
}

// finish measures a write when everything is known.
func (t *Tracker) finish(p *Pending) {
	if p.VisibleNs == 0 {
		return
	}
	if !p.TimedOut && p.VisibleNs-p.IntendedNs > t.timeout.Nanoseconds() {
		t.timeOut(p)
	}
	t.counts.Visible++
	if took := time.Duration(max(0, p.VisibleNs-p.IntendedNs)); p.Scenario != ledger.Seed {
		_ = t.took.RecordValue(min(took, longestTook).Microseconds()) // always within the bounds
	}
	if p.superseded {
		t.counts.Superseded++
	}
	t.observe.Visible(p)
}

func (t *Tracker) timeOut(p *Pending) {
	p.TimedOut = true
	t.counts.TimedOut++
	t.observe.Unseen(p)
}

// sweep marks the acked writes that are late at nowNs. Late writes still wait.
func (t *Tracker) sweep(nowNs int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.waiting {
		for ; p != nil; p = p.older {
			late := nowNs-p.IntendedNs > t.timeout.Nanoseconds()
			if late && p.Fate == ledger.Acked && !p.TimedOut {
				t.timeOut(p)
			}
		}
	}
}

// Limit turns the bound of the budget on or off, and returns the setting before.
func (t *Tracker) Limit(on bool) (before bool) { return t.budget.limited.Swap(on) }

// Errors returns the number of failures of the watching so far.
func (t *Tracker) Errors() int64 { return t.failures.Load() }

// Cost returns the tracker's use of MongoDB so far.
func (t *Tracker) Cost() Cost { return t.budget.cost() }

// Abandon gives up on every waiting write, and records each write as known.
func (t *Tracker) Abandon() {
	t.mu.Lock()
	var left []*Pending
	for _, p := range t.waiting {
		for ; p != nil; p = p.older {
			left = append(left, p)
			if !p.TimedOut {
				t.observe.Unseen(p)
			}
		}
	}
	t.waiting = map[string]*Pending{}
	t.mu.Unlock()
	for _, p := range left {
		t.observe.Record(p)
	}
}

// some returns at most limit places of waiting writes, by keys of the rows, in a random order.
func (t *Tracker) some(limit int) map[string]tables.Place {
	t.mu.Lock()
	defer t.mu.Unlock()
	places := make(map[string]tables.Place, min(limit, len(t.waiting)))
	for key, p := range t.waiting {
		if len(places) == limit {
			break
		}
		places[key] = p.Shelf.Place(p.Row)
	}
	return places
}

// Counts returns the numbers of writes so far.
func (t *Tracker) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// remove takes one write out of the waiting writes.
func (t *Tracker) remove(p *Pending) {
	left := t.waiting[p.Row.Key]
	for at := &left; *at != nil; at = &(*at).older {
		if *at == p {
			*at = p.older
			break
		}
	}
	t.keep(p.Row.Key, left)
}

func (t *Tracker) keep(key string, left *Pending) {
	if left == nil {
		delete(t.waiting, key)
		return
	}
	t.waiting[key] = left
}
