package apply

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/documents/documentstest"
	"github.com/cdclab/cdclab/consumer/order"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// rowHistory is a possible history of a row in up to four commits, and a reader's view after each:
// nil for no row.
type rowHistory struct {
	name   string
	log    []*kgo.Record
	states []any
}

func rowHistories(most int) []rowHistory {
	var all []rowHistory
	var grow func(h rowHistory, exists bool, email string)
	grow = func(h rowHistory, exists bool, email string) {
		if len(h.log) > 0 {
			all = append(all, h)
		}
		if len(h.log) == most {
			return
		}
		commit := len(h.log) + 1
		with := func(op string, r *kgo.Record, state any) rowHistory {
			r.Offset = int64(commit)
			return rowHistory{h.name + op, append(h.log[:len(h.log):len(h.log)], r),
				append(h.states[:len(h.states):len(h.states)], state)}
		}
		fresh := fmt.Sprintf("e%d@x.org", commit)
		if !exists {
			grow(with("c", consumertest.Customer(consumertest.Insert, 1, commit, fresh), fresh),
				true, fresh)
			return
		}
		grow(with("u", consumertest.Customer(consumertest.Update, 1, commit, fresh), fresh), true,
			fresh)
		grow(with("t", consumertest.Customer(consumertest.Update, 1, commit, debezium.Unavailable),
			email), true, email)
		grow(with("d", consumertest.Customer(consumertest.Remove, 1, commit, nil), nil), false, "")
	}
	grow(rowHistory{}, false, "")
	return all
}

// TestEveryInterleaving: a member takes a row's log, and from every committed offset at every
// moment a second member does, while the first goes on. In every order of the members' writes no
// reader sees the row go back, and the row ends as in the source.
func TestEveryInterleaving(t *testing.T) {
	t.Parallel()
	paths := 0
	for _, h := range rowHistories(4) {
		n := len(h.log)
		var walk func(first, second int, path []byte)
		walk = func(first, second int, path []byte) {
			if second == n { // the first may have died on the way
				paths++
				h.check(t, path)
			}
			if first < n {
				walk(first+1, second, append(path, 'a'))
			}
			switch {
			case second < 0:
				for committed := 0; committed <= first; committed++ {
					walk(first, committed, append(path, byte('0'+committed)))
				}
			case second < n:
				walk(first, second+1, append(path, 'b'))
			}
		}
		walk(0, -1, nil)
	}
	if paths < 1000 {
		t.Errorf("only %d paths", paths)
	}
	t.Logf("%d interleavings", paths)
}

// check follows a path: a and b are the members' steps, a digit is the second member's start.
func (h *rowHistory) check(t *testing.T, path []byte) {
	t.Helper()
	a := newPipeline()
	var b *pipeline
	first, second, seen := 0, 0, -1
	for _, step := range path {
		switch step {
		case 'a':
			h.take(t, a, first)
			first++
		case 'b':
			h.take(t, b, second)
			second++
		default:
			second = int(step - '0')
			b = pipelineBeside(a)
		}
		at, shown := h.shown(t, a.memory)
		if at < seen {
			t.Fatalf("%s, path %s: back from state %d to %d", h.name, path, seen, at)
		}
		if seen = at; at >= 0 && shown != h.states[at] {
			t.Fatalf("%s, path %s: shows %v in state %d, want %v", h.name, path, shown, at,
				h.states[at])
		}
	}
	if seen != len(h.log)-1 {
		t.Fatalf("%s, path %s: ends in state %d of %d", h.name, path, seen, len(h.log)-1)
	}
}

func (h *rowHistory) take(t *testing.T, p *pipeline, n int) {
	t.Helper()
	if err := p.work([]telemetry.Arrival{{Record: h.log[n],
		Polled: consumertest.Time}}); err != nil {
		t.Fatal(err)
	}
	if len(p.letters) > 0 {
		t.Fatalf("%s: rejected: %v", h.name, p.letters[0].Err)
	}
}

// shown returns the number of the state seen by a reader, -1 before the first, and the row's email.
func (h *rowHistory) shown(t *testing.T, s *documentstest.WatchedStore) (int, any) {
	t.Helper()
	document := s.Documents["customers"][consumertest.UUID(1)]
	if document == nil {
		return -1, nil
	}
	var commit int
	if _, err := fmt.Sscanf(documents.PositionOf(document)[order.EpochDigits:order.EpochDigits+16],
		"%x",
		&commit); err != nil {
		t.Fatal(err)
	}
	if consumertest.State(t, s, "customers", consumertest.UUID(1))["ended"] == true {
		return commit - 1, nil
	}
	return commit - 1, document["email"]
}
