package cdc

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// place is where a row shows in MongoDB: a document, or where field is set, the member under the
// row's key of that map in the document.
type place struct{ collection, document, field string }

// kind is what many writes have in common; it is made once for all of them.
type kind struct {
	scenario, entity string
	op               ledger.Op
	// tags are those of the samples; nil where none are wanted. acked are those with that fate.
	tags, acked *metrics.TagSet
	shelf       *shelf
}

// pending is a Write on its way: it waits for its fate in PostgreSQL and for being seen in MongoDB,
// in either order. All but seen belongs to the tracker once it expects it. There are as many as
// writes are outstanding, so it is small: TestOutstandingIsSmall.
type pending struct {
	*kind
	row *row
	id  int64
	// The stamps of a ledger.Write.
	intendedNs, enqueuedNs, sentNs, committedNs, visibleNs int64
	fate                                                   ledger.Fate
	// reason is why it is not acked.
	reason string
	// older is the next older write of the same row that waits.
	older *pending
	// seen is closed when the write was seen; nil where nobody waits for that.
	seen                            chan struct{}
	superseded, timedOut, untracked bool
}

// sampled says whether sampling may leave it out.
func (k *kind) sampled() bool { return k.scenario != seedScenario && k.scenario != selftestName }

// place is where its row shows.
func (p *pending) place() place {
	at := place{collection: p.shelf.collection, document: p.row.key, field: p.shelf.field}
	if at.field != "" {
		at.document = p.row.parent.key
	}
	return at
}

// write is its line in the ledger.
func (p *pending) write() ledger.Write {
	return ledger.Write{
		ID: p.id, Scenario: p.scenario, Entity: p.entity, Op: p.op, Key: p.row.key,
		IntendedNs: p.intendedNs, EnqueuedNs: p.enqueuedNs, SentNs: p.sentNs, CommittedNs: p.committedNs,
		VisibleNs: p.visibleNs, Fate: p.fate, Superseded: p.superseded, TimedOut: p.timedOut,
		Untracked: p.untracked, Error: p.reason,
	}
}

// tracker matches what is seen in MongoDB with the writes that wait for it. It does not look
// itself: a stream or a poll does, and calls saw.
type tracker struct {
	timeout time.Duration
	samples *samples
	// record takes each write of which all is known that ever will be.
	record func(*pending)

	// errors counts how often the watching failed; what was written meanwhile is seen too late.
	errors atomic.Int64

	mu sync.Mutex
	// waiting holds, by key of the row, its newest write that waits; older ones hang on it.
	waiting map[string]*pending
	counts  counts
	// took are the latencies of what was seen, but for the seed rows, in microseconds.
	took *hdrhistogram.Histogram
}

// longestTook is recorded as such when something took longer.
const longestTook = time.Hour

// p95 is that of the latencies so far.
func (t *tracker) p95() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Duration(t.took.ValueAtPercentile(95)) * time.Microsecond
}

// counts are writes by what is known of them.
type counts struct {
	acked, failed, indeterminate, visible, superseded, timedOut int64
	// outstanding are acked, tracked and not yet seen.
	outstanding int64
	// eligible are acked and could have been left out by sampling; tracked were not.
	eligible, tracked int64
}

// sampleKept is the share of the writes that were tracked, of those that sampling may leave out.
func (c counts) sampleKept() float64 {
	if c.eligible == 0 {
		return 0
	}
	return float64(c.tracked) / float64(c.eligible)
}

func newTracker(timeout time.Duration, s *samples, record func(*pending)) *tracker {
	return &tracker{
		timeout: timeout, samples: s, record: record, waiting: map[string]*pending{},
		took: hdrhistogram.New(1, longestTook.Microseconds(), 2),
	}
}

// expect must come before the statement is sent: the change can be seen before its commit is
// acknowledged. Every expected write must be settled. Of those that sampling left out it takes only
// the delete of a row that is waited for: its tombstone is all that will be seen of the row.
func (t *tracker) expect(p *pending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.untracked && (p.op != ledger.Delete || t.waiting[p.row.key] == nil) {
		return
	}
	p.untracked = false
	p.older = t.waiting[p.row.key]
	t.waiting[p.row.key] = p
}

// settle says what became of a write in PostgreSQL, known at atNs; reason is why it is not acked.
func (t *tracker) settle(p *pending, fate ledger.Fate, atNs int64, reason error) {
	t.mu.Lock()
	p.fate = fate
	if reason != nil {
		p.reason = reason.Error()
	}
	switch fate {
	case ledger.Acked:
		p.committedNs = atNs
		t.counts.acked++
		if p.sampled() {
			t.counts.eligible++
			if !p.untracked {
				t.counts.tracked++
			}
		}
		if p.visibleNs == 0 && !p.untracked {
			t.counts.outstanding++
		}
	case ledger.Failed:
		t.counts.failed++
		t.remove(p)
	case ledger.Indeterminate:
		t.counts.indeterminate++
	}
	finished := fate == ledger.Failed || p.visibleNs != 0 || p.untracked
	t.samples.settled(p)
	if finished {
		t.finish(p)
	}
	t.mu.Unlock()
	if finished {
		t.record(p)
	}
}

// saw says that at atNs the row with that key showed this version in MongoDB (0: none), or was
// shown as deleted. A version satisfies the writes that are not newer. A tombstone satisfies a
// delete that waits and all writes before it; where no delete waits, it is not of our making.
func (t *tracker) saw(key string, version int64, deleted bool, atNs int64) {
	t.mu.Lock()
	var finished []*pending
	newest := t.waiting[key]
	buried := deleted && newest != nil && newest.op == ledger.Delete
	var left *pending
	end := &left
	for p := newest; p != nil; p = p.older {
		if !buried && (version < p.id || p.op == ledger.Delete) {
			*end, end = p, &p.older
			continue
		}
		p.visibleNs = atNs
		p.superseded = version > p.id || buried && p.op != ledger.Delete
		if p.seen != nil {
			close(p.seen)
		}
		if p.fate != "" {
			finished = append(finished, p)
		}
	}
	*end = nil
	t.keep(key, left)
	for _, p := range finished {
		if p.fate == ledger.Acked {
			t.counts.outstanding--
		}
		t.finish(p)
	}
	t.mu.Unlock()
	for _, p := range finished {
		t.record(p)
	}
}

// finish measures a write of which all is known.
func (t *tracker) finish(p *pending) {
	if p.visibleNs == 0 {
		return
	}
	if !p.timedOut && p.visibleNs-p.intendedNs > t.timeout.Nanoseconds() {
		t.timeOut(p)
	}
	t.counts.visible++
	if took := time.Duration(max(0, p.visibleNs-p.intendedNs)); p.scenario != seedScenario {
		_ = t.took.RecordValue(min(took, longestTook).Microseconds()) // which is always within its bounds
	}
	if p.superseded {
		t.counts.superseded++
	}
	t.samples.visible(p)
}

func (t *tracker) timeOut(p *pending) {
	p.timedOut = true
	t.counts.timedOut++
	t.samples.unseen(p)
}

// sweep marks the acked writes whose time is over at nowNs. They are still waited for.
func (t *tracker) sweep(nowNs int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.waiting {
		for ; p != nil; p = p.older {
			late := nowNs-p.intendedNs > t.timeout.Nanoseconds()
			if late && p.fate == ledger.Acked && !p.timedOut {
				t.timeOut(p)
			}
		}
	}
}

// abandon gives up on every write that still waits, and records it as it is.
func (t *tracker) abandon() {
	t.mu.Lock()
	var left []*pending
	for _, p := range t.waiting {
		for ; p != nil; p = p.older {
			left = append(left, p)
			if !p.timedOut {
				t.samples.unseen(p)
			}
		}
	}
	t.waiting = map[string]*pending{}
	t.mu.Unlock()
	for _, p := range left {
		t.record(p)
	}
}

// some is at most limit places where a waiting write would show, with the keys of the rows, in a
// random order.
func (t *tracker) some(limit int) map[string]place {
	t.mu.Lock()
	defer t.mu.Unlock()
	places := make(map[string]place, min(limit, len(t.waiting)))
	for key, p := range t.waiting {
		if len(places) == limit {
			break
		}
		places[key] = p.place()
	}
	return places
}

func (t *tracker) snapshot() counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// remove takes one write out of those that wait.
func (t *tracker) remove(p *pending) {
	left := t.waiting[p.row.key]
	for at := &left; *at != nil; at = &(*at).older {
		if *at == p {
			*at = p.older
			break
		}
	}
	t.keep(p.row.key, left)
}

func (t *tracker) keep(key string, left *pending) {
	if left == nil {
		delete(t.waiting, key)
		return
	}
	t.waiting[key] = left
}
