package cdc

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// tracked is a tracker that keeps what it recorded.
func tracked(timeout time.Duration) (*tracker, *[]ledger.Write) {
	var recorded []ledger.Write
	t := newTracker(timeout, &samples{}, func(p *pending) { recorded = append(recorded, p.write()) })
	return t, &recorded
}

func expect(t *tracker, id int64, op ledger.Op) *pending {
	p := &pending{kind: &kind{op: op}, row: &row{key: "k"}, id: id, intendedNs: id}
	t.expect(p)
	return p
}

// short is a write in a few words, for comparing.
func short(writes []ledger.Write) []string {
	var lines []string
	for _, w := range writes {
		line := fmt.Sprintf("%d %s committed %d visible %d", w.ID, w.Fate, w.CommittedNs, w.VisibleNs)
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

// histories are what a tracker may go through, and what it must make of it.
var histories = map[string]struct {
	steps func(t *tracker)
	want  []string
}{
	"seen after its acknowledgement": {func(t *tracker) {
		t.settle(expect(t, 1, ledger.Insert), ledger.Acked, 10, nil)
		t.saw("other", 1, false, 15)
		t.saw("k", 1, false, 20)
	}, []string{"1 acked committed 10 visible 20"}},
	"seen before its acknowledgement": {func(t *tracker) {
		p := expect(t, 1, ledger.Insert)
		t.saw("k", 1, false, 8)
		t.settle(p, ledger.Acked, 10, nil)
	}, []string{"1 acked committed 10 visible 8"}},
	"an older version satisfies nobody": {func(t *tracker) {
		t.settle(expect(t, 2, ledger.Update), ledger.Acked, 10, nil)
		t.saw("k", 1, false, 20)
		t.saw("k", 0, false, 21)
		t.saw("k", 2, false, 22)
	}, []string{"2 acked committed 10 visible 22"}},
	"a newer version supersedes": {func(t *tracker) {
		t.settle(expect(t, 1, ledger.Insert), ledger.Acked, 10, nil)
		t.settle(expect(t, 3, ledger.Update), ledger.Acked, 11, nil)
		t.saw("k", 3, false, 20)
	}, []string{"3 acked committed 11 visible 20", "1 acked committed 10 visible 20 superseded"}},
	"out of order": {func(t *tracker) {
		one, two := expect(t, 1, ledger.Insert), expect(t, 2, ledger.Update)
		t.saw("k", 2, false, 20)
		t.saw("k", 1, false, 21)
		t.settle(two, ledger.Acked, 30, nil)
		t.settle(one, ledger.Acked, 31, nil)
	}, []string{"2 acked committed 30 visible 20", "1 acked committed 31 visible 20 superseded"}},
	"a tombstone satisfies the delete and what was before": {func(t *tracker) {
		t.settle(expect(t, 1, ledger.Update), ledger.Acked, 10, nil)
		t.settle(expect(t, 2, ledger.Delete), ledger.Acked, 11, nil)
		t.saw("k", 1, true, 20)
	}, []string{"2 acked committed 11 visible 20", "1 acked committed 10 visible 20 superseded"}},
	"a version does not satisfy a delete": {func(t *tracker) {
		t.settle(expect(t, 2, ledger.Delete), ledger.Acked, 10, nil)
		t.saw("k", 9, false, 20)
		t.saw("k", 0, true, 21)
	}, []string{"2 acked committed 10 visible 21"}},
	"a tombstone nobody asked for": {func(t *tracker) {
		t.settle(expect(t, 2, ledger.Update), ledger.Acked, 10, nil)
		t.saw("k", 0, true, 20)
		t.abandon()
	}, []string{"2 acked committed 10 visible 0"}},
	"failed": {func(t *tracker) {
		one, two := expect(t, 1, ledger.Insert), expect(t, 2, ledger.Update)
		t.settle(two, ledger.Failed, 10, errors.New("23505"))
		t.saw("k", 1, false, 20)
		t.settle(one, ledger.Acked, 21, nil)
	}, []string{"2 failed committed 0 visible 0", "1 acked committed 21 visible 20"}},
	"indeterminate and committed": {func(t *tracker) {
		t.settle(expect(t, 1, ledger.Update), ledger.Indeterminate, 10, errors.New("EOF"))
		t.saw("k", 1, false, 20)
	}, []string{"1 indeterminate committed 0 visible 20"}},
	"late is still looked for": {func(t *tracker) {
		t.settle(expect(t, 1, ledger.Update), ledger.Acked, 10, nil)
		t.sweep(1 + 1000)
		t.sweep(2 + 1000)
		t.saw("k", 1, false, 5000)
	}, []string{"1 acked committed 10 visible 5000 late"}},
	"late before the sweep came by": {func(t *tracker) {
		t.settle(expect(t, 1, ledger.Update), ledger.Acked, 10, nil)
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
			if len(tracker.waiting) > 0 || tracker.snapshot().outstanding > 0 && name != "a tombstone nobody asked for" {
				t.Errorf("left: %v, %+v", tracker.waiting, tracker.snapshot())
			}
		})
	}
}

// Whatever the order of sightings and answers, each write is recorded once, and one that was acked
// is visible if and only if its version or a later one was seen.
func TestTrackerRecordsEachOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tracker, recorded := tracked(time.Hour)
		n := rapid.Int64Range(1, 6).Draw(t, "writes")
		var highest int64
		expected, settled := []*pending{}, map[int64]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				if id := int64(len(expected)) + 1; id <= n {
					expected = append(expected, expect(tracker, id, ledger.Update))
				}
			case 1:
				if len(expected) > 0 {
					p := rapid.SampledFrom(expected).Draw(t, "settle")
					if !settled[p.id] {
						settled[p.id] = true
						tracker.settle(p, ledger.Acked, 1, nil)
					}
				}
			case 2:
				version := rapid.Int64Range(0, int64(len(expected))).Draw(t, "version")
				highest = max(highest, version)
				tracker.saw("k", version, false, 1)
			}
		}
		for _, p := range expected {
			if !settled[p.id] {
				tracker.settle(p, ledger.Acked, 1, nil)
			}
		}
		tracker.abandon()
		once := map[int64]bool{}
		for _, w := range *recorded {
			if once[w.ID] {
				t.Fatalf("write %d is recorded twice", w.ID)
			}
			once[w.ID] = true
			if seen := w.ID <= highest; seen != (w.VisibleNs != 0) {
				t.Fatalf("write %d: visible %d, highest version seen %d", w.ID, w.VisibleNs, highest)
			}
		}
		if len(once) != len(expected) {
			t.Fatalf("%d writes, %d recorded", len(expected), len(once))
		}
	})
}
