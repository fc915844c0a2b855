package cdc

import (
	"sync"

	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// request is a call of write() or transaction(); the rows are chosen when a worker takes the
// request.
type request struct {
	scenario string
	mix      tables.Mix
	// tags are those of the scenario's samples; nil where no samples are to be pushed.
	tags                   *metrics.TagSet
	intendedNs, enqueuedNs int64
	tables.Part
	// more are the other writes of a transaction.
	more []tables.Part
}

// parts returns the request's writes in order.
func (r *request) parts() []tables.Part { return append([]tables.Part{r.Part}, r.more...) }

// queue holds requests in order for the workers. The queue has no bound, because a bound would make
// the load wait for the database, against the open model.
type queue struct {
	mu       sync.Mutex
	arrived  *sync.Cond
	requests []request
	head     int
	longest  int
	taken    int
	// idle is the number of workers waiting for a request.
	idle   int
	isOpen bool
}

// newQueue returns a closed queue.
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

// pop waits for a request and puts the request into taken, with some of the requests behind, at
// most most in all; none when the queue is closed and empty. pop leaves an equal share to each idle
// worker, and a transaction comes alone. The worker calls done afterwards.
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

// done reports n popped requests as finished.
func (q *queue) done(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken -= n
}

// close refuses further requests; waiting requests are still handed out.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isOpen = false
	q.arrived.Broadcast()
}

// depth returns the numbers of requests waiting and with a worker, and the most that ever waited.
func (q *queue) depth() (waiting, taken, longest int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.requests) - q.head, q.taken, q.longest
}
