package cdc

import (
	"sync"
	"testing"
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
		r, ok := q.pop()
		if !ok || r.intendedNs != int64(i) {
			t.Fatalf("request %d: got %d, %v", i, r.intendedNs, ok)
		}
		if i%3 == 0 {
			q.push(request{intendedNs: int64(n + i/3)})
		}
		q.done()
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
				r, ok := q.pop()
				if !ok {
					return
				}
				handed.Store(r.intendedNs, true)
				q.done()
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
