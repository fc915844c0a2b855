package cdc

import (
	"sync"
	"testing"

	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

func TestQueueKeepsOrderAndForgetsNothing(t *testing.T) {
	t.Parallel()
	q := newQueue()
	if q.push(request{}) {
		t.Error("a queue that is not open takes a request")
	}
	q.open()
	const n = 5000
	for i := range n {
		q.push(request{intendedNs: int64(i)})
	}
	for i := range n {
		r, ok := popOne(q)
		if !ok || r.intendedNs != int64(i) {
			t.Fatalf("request %d: got %d, %v", i, r.intendedNs, ok)
		}
		if i%3 == 0 {
			q.push(request{intendedNs: int64(n + i/3)})
		}
		q.done(1)
	}
	waiting, taken, longest := q.depth()
	if waiting != (n+2)/3 || taken != 0 || longest != n {
		t.Errorf("waiting %d, taken %d, longest %d", waiting, taken, longest)
	}
}

func TestQueueCloses(t *testing.T) {
	t.Parallel()
	q := newQueue()
	q.open()
	var handed sync.Map
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for {
				r, ok := popOne(q)
				if !ok {
					return
				}
				handed.Store(r.intendedNs, true)
				q.done(1)
			}
		})
	}
	for i := range 1000 {
		q.push(request{intendedNs: int64(i)})
	}
	q.close()
	workers.Wait()
	if q.push(request{}) {
		t.Error("a closed queue takes a request")
	}
	for i := range 1000 {
		if _, ok := handed.Load(int64(i)); !ok {
			t.Errorf("request %d was lost", i)
		}
	}
}

// popOne is false when the queue is closed and empty.
func popOne(q *queue) (request, bool) {
	taken := q.pop(nil, 1)
	if len(taken) == 0 {
		return request{}, false
	}
	return taken[0], true
}

// A batch is the head of the queue, in order: no more than asked, nothing that an idle worker could
// have, and a transaction alone.
func TestQueueBatches(t *testing.T) {
	t.Parallel()
	q := newQueue()
	q.open()
	for i := range 10 {
		r := request{intendedNs: int64(i)}
		if i == 6 {
			r.more = []tables.Part{{}}
		}
		q.push(r)
	}
	next := int64(0)
	for _, test := range []struct{ idle, most, want int }{
		{0, 1, 1}, {0, 3, 3}, {4, 100, 2}, {0, 100, 1}, {0, 100, 3},
	} {
		q.idle = test.idle
		taken := q.pop(nil, test.most)
		if len(taken) != test.want {
			t.Errorf("%+v: got %d", test, len(taken))
		}
		for _, r := range taken {
			if r.intendedNs != next || len(r.more) > 0 && len(taken) > 1 {
				t.Errorf("%+v: %+v, want number %d", test, r, next)
			}
			next++
		}
		q.done(len(taken))
	}
	if waiting, taken, _ := q.depth(); waiting != 0 || taken != 0 {
		t.Errorf("%d wait, %d are with a worker", waiting, taken)
	}
}
