package tracker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// tracked returns a tracker, and the writes recorded by the tracker.
func tracked(timeout time.Duration) (*Tracker, *[]ledger.Write) {
	var recorded []ledger.Write
	nothing := func(*Pending) {}
	t := New(timeout, func() int64 { return 0 }, Observer{
		Settled: nothing, Visible: nothing, Unseen: nothing,
		Record: func(p *Pending) { recorded = append(recorded, p.Line()) },
	})
	return t, &recorded
}

func expect(t *Tracker, id int64, op ledger.Op) *Pending {
	p := &Pending{Kind: &Kind{Op: op}, Row: &tables.Row{Key: "k"}, ID: id, IntendedNs: id}
	t.Expect(p)
	return p
}

// short returns a write in a few words, for comparing.
func short(writes []ledger.Write) []string {
	var lines []string
	for _, w := range writes {
		line := fmt.Sprintf("%d %s committed %d visible %d", w.ID, w.Fate, w.CommittedNs,
			w.VisibleNs)
		if w.Superseded {
			line += " superseded"
		}
		if w.TimedOut {
			line += " late"
		}
		lines = append(lines, line)
	}
	return lines
}

// histories are sequences of events, and the tracker's records of them.
var histories = map[string]struct {
	steps func(t *Tracker)
	want  []string
}{
	"seen after its acknowledgement": {func(t *Tracker) {
		t.Settle(expect(t, 1, ledger.Insert), ledger.Acked, 10, nil)
		t.saw("other", 1, false, 15)
		t.saw("k", 1, false, 20)
	}, []string{"1 acked committed 10 visible 20"}},
	"seen before its acknowledgement": {func(t *Tracker) {
		p := expect(t, 1, ledger.Insert)
		t.saw("k", 1, false, 8)
		t.Settle(p, ledger.Acked, 10, nil)
	}, []string{"1 acked committed 10 visible 8"}},
	"an older version satisfies nobody": {func(t *Tracker) {
		t.Settle(expect(t, 2, ledger.Update), ledger.Acked, 10, nil)
		t.saw("k", 1, false, 20)
		t.saw("k", 0, false, 21)
		t.saw("k", 2, false, 22)
	}, []string{"2 acked committed 10 visible 22"}},
	"a newer version supersedes": {func(t *Tracker) {
		t.Settle(expect(t, 1, ledger.Insert), ledger.Acked, 10, nil)
		t.Settle(expect(t, 3, ledger.Update), ledger.Acked, 11, nil)
		t.saw("k", 3, false, 20)
	}, []string{"3 acked committed 11 visible 20", "1 acked committed 10 visible 20 superseded"}},
	"out of order": {func(t *Tracker) {
		one, two := expect(t, 1, ledger.Insert), expect(t, 2, ledger.Update)
		t.saw("k", 2, false, 20)
		t.saw("k", 1, false, 21)
		t.Settle(two, ledger.Acked, 30, nil)
		t.Settle(one, ledger.Acked, 31, nil)
	}, []string{"2 acked committed 30 visible 20", "1 acked committed 31 visible 20 superseded"}},
	"a tombstone satisfies the delete and what was before": {func(t *Tracker) {
		t.Settle(expect(t, 1, ledger.Update), ledger.Acked, 10, nil)
		t.Settle(expect(t, 2, ledger.Delete), ledger.Acked, 11, nil)
		t.saw("k", 1, true, 20)
	}, []string{"2 acked committed 11 visible 20", "1 acked committed 10 visible 20 superseded"}},
	"a version does not satisfy a delete": {func(t *Tracker) {
		t.Settle(expect(t, 2, ledger.Delete), ledger.Acked, 10, nil)
		t.saw("k", 9, false, 20)
		t.saw("k", 0, true, 21)
	}, []string{"2 acked committed 10 visible 21"}},
	"a tombstone nobody asked for": {func(t *Tracker) {
		t.Settle(expect(t, 2, ledger.Update), ledger.Acked, 10, nil)
		t.saw("k", 0, true, 20)
		t.Abandon()
	}, []string{"2 acked committed 10 visible 0"}},
	"failed": {func(t *Tracker) {
		one, two := expect(t, 1, ledger.Insert), expect(t, 2, ledger.Update)
		t.Settle(two, ledger.Failed, 10, errors.New("23505"))
		t.saw("k", 1, false, 20)
		t.Settle(one, ledger.Acked, 21, nil)
	}, []string{"2 failed committed 0 visible 0", "1 acked committed 21 visible 20"}},
	"indeterminate and committed": {func(t *Tracker) {
		t.Settle(expect(t, 1, ledger.Update), ledger.Indeterminate, 10, errors.New("EOF"))
		t.saw("k", 1, false, 20)
	}, []string{"1 indeterminate committed 0 visible 20"}},
	"late is still looked for": {func(t *Tracker) {
		t.Settle(expect(t, 1, ledger.Update), ledger.Acked, 10, nil)
		t.sweep(1 + 1000)
		t.sweep(2 + 1000)
		t.saw("k", 1, false, 5000)
	}, []string{"1 acked committed 10 visible 5000 late"}},
	"late before the sweep came by": {func(t *Tracker) {
		t.Settle(expect(t, 1, ledger.Update), ledger.Acked, 10, nil)
		t.saw("k", 1, false, 5000)
	}, []string{"1 acked committed 10 visible 5000 late"}},
}

func TestTrackerMatches(t *testing.T) {
	t.Parallel()
	for name, test := range histories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracker, recorded := tracked(1000 * time.Nanosecond)
			test.steps(tracker)
			if diff := cmp.Diff(test.want, short(*recorded)); diff != "" {
				t.Error(diff)
			}
			if len(tracker.waiting) > 0 || tracker.Counts().Outstanding > 0 &&
				name != "a tombstone nobody asked for" {
				t.Errorf("left: %v, %+v", tracker.waiting, tracker.Counts())
			}
		})
	}
}

// Whatever the order of sightings and answers, each write is recorded once, and an acked write is
// visible if and only if its version or a later one was seen.
func TestTrackerRecordsEachOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tracker, recorded := tracked(time.Hour)
		n := rapid.Int64Range(1, 6).Draw(t, "writes")
		var highest int64
		expected, settled := []*Pending{}, map[int64]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				if id := int64(len(expected)) + 1; id <= n {
					expected = append(expected, expect(tracker, id, ledger.Update))
				}
			case 1:
				if len(expected) > 0 {
					p := rapid.SampledFrom(expected).Draw(t, "settle")
					if !settled[p.ID] {
						settled[p.ID] = true
						tracker.Settle(p, ledger.Acked, 1, nil)
					}
				}
			case 2:
				version := rapid.Int64Range(0, int64(len(expected))).Draw(t, "version")
				highest = max(highest, version)
				tracker.saw("k", version, false, 1)
			}
		}
		for _, p := range expected {
			if !settled[p.ID] {
				tracker.Settle(p, ledger.Acked, 1, nil)
			}
		}
		tracker.Abandon()
		once := map[int64]bool{}
		for _, w := range *recorded {
			if once[w.ID] {
				t.Fatalf("write %d is recorded twice", w.ID)
			}
			once[w.ID] = true
			if seen := w.ID <= highest; seen != (w.VisibleNs != 0) {
				t.Fatalf("write %d: visible %d, highest version seen %d", w.ID, w.VisibleNs,
					highest)
			}
		}
		if len(once) != len(expected) {
			t.Fatalf("%d writes, %d recorded", len(expected), len(once))
		}
	})
}

// A write left out does not wait, but a delete of a row with a waiting write does.
func TestUntrackedWrites(t *testing.T) {
	t.Parallel()
	tracker, recorded := tracked(time.Hour)
	untracked := func(id int64, op ledger.Op) *Pending {
		p := &Pending{Kind: &Kind{Op: op}, Row: &tables.Row{Key: "k"}, ID: id, Untracked: true}
		tracker.Expect(p)
		return p
	}
	tracker.Settle(untracked(1, ledger.Update), ledger.Acked, 10, nil)
	tracker.Settle(untracked(2, ledger.Delete), ledger.Acked, 11, nil)
	if len(tracker.waiting) != 0 || len(*recorded) != 2 || !(*recorded)[1].Untracked ||
		tracker.Counts().Outstanding != 0 {
		t.Fatalf("waiting %v, recorded %+v", tracker.waiting, *recorded)
	}
	tracker.Settle(expect(tracker, 3, ledger.Update), ledger.Acked, 12, nil)
	tracker.Settle(untracked(4, ledger.Update), ledger.Acked, 13, nil)
	tracker.Settle(untracked(5, ledger.Delete), ledger.Acked, 14, nil)
	tracker.saw("k", 4, true, 20)
	for _, w := range (*recorded)[3:] {
		if w.Untracked || w.VisibleNs != 20 {
			t.Errorf("%+v", w)
		}
	}
	if c := tracker.Counts(); len(*recorded) != 5 || len(tracker.waiting) != 0 ||
		c.Outstanding != 0 || c.eligible != 5 || c.tracked != 2 {
		t.Errorf("%d recorded, %+v", len(*recorded), c)
	}
}
