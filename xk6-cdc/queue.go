package cdc

import (
	"sync"

	"go.k6.io/k6/metrics"
)

// request is what write() or transaction() asked for; which rows it will be is chosen when a worker
// takes it.
type request struct {
	scenario string
	mix      Mix
	// tags are those of the scenario's samples; nil where none are to be pushed.
	tags                   *metrics.TagSet
	intendedNs, enqueuedNs int64
	part
	// more are the other writes of a transaction.
	more []part
}

// parts are its writes in order.
func (r *request) parts() []part { return append([]part{r.part}, r.more...) }

// queue holds requests in order for the workers. It has no bound: a bound would make the load wait
// for the database, which is what an open model must not do.
type queue struct {
	mu       sync.Mutex
	arrived  *sync.Cond
	requests []request
	head     int
	longest  int
	taken    int
	// idle is how many workers wait for a request.
	idle   int
	isOpen bool
}

// newQueue is a queue that takes nothing until it is opened.
func newQueue() *queue {
	q := &queue{}
	q.arrived = sync.NewCond(&q.mu)
	return q
}

// open makes the queue take requests, once.
func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isOpen = true
}

// push is false when the queue is not open.
func (q *queue) push(r request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isOpen {
		return false
	}
	q.requests = append(q.requests, r)
	q.longest = max(q.longest, len(q.requests)-q.head)
	q.arrived.Signal()
	return true
}

// pop waits for a request and puts it into taken, with some of those that wait behind it, at most most
// in all; none when the queue is closed and empty. It leaves to the workers that are idle as many as
// each can have, and a transaction comes alone. The worker calls done after.
func (q *queue) pop(taken []request, most int) []request {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.idle++
	for q.head == len(q.requests) && q.isOpen {
		q.arrived.Wait()
	}
	q.idle--
	share := (len(q.requests) - q.head + q.idle) / (q.idle + 1)
	for range min(share, most) {
		next := &q.requests[q.head]
		isAlone := len(next.more) > 0
		if isAlone && len(taken) > 0 {
			break
		}
		taken = append(taken, *next)
		*next = request{}
		q.head++
		if isAlone {
			break
		}
	}
	q.taken += len(taken)
	if q.head > 1024 && q.head > len(q.requests)/2 {
		q.requests = append([]request(nil), q.requests[q.head:]...)
		q.head = 0
	}
	return taken
}

// done says that the worker is finished with so many requests that it popped.
func (q *queue) done(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken -= n
}

// close refuses further requests; those that wait are still handed out.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isOpen = false
	q.arrived.Broadcast()
}

// depth is how many requests wait, how many are with a worker, and the most that ever waited.
func (q *queue) depth() (waiting, taken, longest int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.requests) - q.head, q.taken, q.longest
}
