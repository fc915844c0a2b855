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
	isOpen   bool
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

// pop waits for a request; false when the queue is closed and empty. The worker calls done after.
func (q *queue) pop() (request, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.requests) && q.isOpen {
		q.arrived.Wait()
	}
	if q.head == len(q.requests) {
		return request{}, false
	}
	r := q.requests[q.head]
	q.requests[q.head] = request{}
	q.head++
	q.taken++
	if q.head > 1024 && q.head > len(q.requests)/2 {
		q.requests = append([]request(nil), q.requests[q.head:]...)
		q.head = 0
	}
	return r, true
}

// done says that the worker is finished with a request it popped.
func (q *queue) done() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken--
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
