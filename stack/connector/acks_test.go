package connector

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestTrackerWaitsForEveryRecord(t *testing.T) {
	t.Parallel()
	acks := newAcks(10)
	check := func(want uint64) {
		t.Helper()
		if got := acks.position(); got != want {
			t.Errorf("confirmed %d, want %d", got, want)
		}
	}
	first := acks.begin()
	acks.sent(first)
	acks.sent(first)
	acks.acked(first, nil)
	acks.idle(15)
	check(10) // the transaction is being read
	acks.commit(first, 20)
	second := acks.begin()
	acks.sent(second)
	acks.commit(second, 30)
	acks.acked(second, nil)
	check(10) // the first has a record on its way
	acks.idle(40)
	check(10)
	acks.acked(first, nil)
	check(40)
	acks.idle(50)
	check(50)
	acks.idle(45)
	check(50)
}

func TestTrackerStandsStillAfterAFailure(t *testing.T) {
	t.Parallel()
	acks := newAcks(10)
	tx := acks.begin()
	acks.sent(tx)
	acks.commit(tx, 20)
	broken := errors.New("too large")
	acks.acked(tx, broken)
	acks.idle(30)
	<-acks.failed
	if got := acks.position(); got != 10 || !errors.Is(acks.failure(), broken) {
		t.Errorf("confirmed %d with %v, want 10 with %v", got, acks.failure(), broken)
	}
}

// TestTrackerNeverRunsAhead: whatever the order of acknowledgements, the confirmed position lies
// before the first transaction not acknowledged whole, and in the end behind everything.
func TestTrackerNeverRunsAhead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		acks := newAcks(0)
		type flying struct {
			tx  *transaction
			end uint64
		}
		var onTheWay []flying
		var end uint64
		ackSome := func(n int) {
			for range min(n, len(onTheWay)) {
				i := rapid.IntRange(0, len(onTheWay)-1).Draw(t, "which")
				acks.acked(onTheWay[i].tx, nil)
				onTheWay = append(onTheWay[:i], onTheWay[i+1:]...)
				for _, f := range onTheWay {
					if acks.position() >= f.end {
						t.Fatalf("confirmed %d with a record of %d on its way", acks.position(),
							f.end)
					}
				}
			}
		}
		for range rapid.IntRange(0, 20).Draw(t, "transactions") {
			tx := acks.begin()
			end += 10
			for range rapid.IntRange(0, 4).Draw(t, "records") {
				acks.sent(tx)
				onTheWay = append(onTheWay, flying{tx, end})
				ackSome(rapid.IntRange(0, 2).Draw(t, "acks"))
			}
			if acks.position() >= end {
				t.Fatalf("confirmed %d before the commit of %d", acks.position(), end)
			}
			acks.commit(tx, end)
			if rapid.Bool().Draw(t, "keepalive") {
				acks.idle(end + 5)
			}
		}
		ackSome(len(onTheWay))
		if acks.position() < end {
			t.Fatalf("confirmed %d in the end, want %d", acks.position(), end)
		}
	})
}
