package connector

import "sync"

// tracker knows up to where PostgreSQL's log has been acknowledged by Kafka. Records are
// acknowledged in any order; the position moves only over transactions all of whose records, and
// all of whose predecessors' records, are.
type tracker struct {
	mu sync.Mutex
	// open are the transactions from the first that is not acknowledged on, in commit order.
	open      []*transaction
	confirmed uint64
	err       error
	// failed is closed when err is set.
	failed chan struct{}
}

// transaction is one that is being read, or waits for its records to be acknowledged.
type transaction struct {
	// end is the position behind it; 0 while it is being read.
	end uint64
	// pending records were sent and not acknowledged.
	pending int
}

func newTracker(confirmed uint64) *tracker {
	return &tracker{confirmed: confirmed, failed: make(chan struct{})}
}

// begin opens a transaction.
func (t *tracker) begin() *transaction {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx := &transaction{}
	t.open = append(t.open, tx)
	return tx
}

// sent counts a record of the transaction that is on its way.
func (t *tracker) sent(tx *transaction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx.pending++
}

// acked counts a record that has arrived. With an error it has not, and never will: then the
// position stays where it is and failed is closed.
func (t *tracker) acked(tx *transaction, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if t.err == nil {
			t.err = err
			close(t.failed)
		}
		return
	}
	tx.pending--
	t.advance()
}

// commit ends the reading of a transaction.
func (t *tracker) commit(tx *transaction, end uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx.end = end
	t.advance()
}

// idle notes that no transaction before end is missing: PostgreSQL has sent all up to there.
func (t *tracker) idle(end uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) == 0 {
		t.confirmed = max(t.confirmed, end)
		return
	}
	// Behind what is waited for; a transaction that is still being read ends later than that.
	if last := t.open[len(t.open)-1]; last.end != 0 {
		last.end = max(last.end, end)
	}
}

func (t *tracker) advance() {
	for len(t.open) > 0 && t.open[0].end != 0 && t.open[0].pending == 0 {
		t.confirmed = max(t.confirmed, t.open[0].end)
		t.open = t.open[1:]
	}
}

// position is up to where everything is acknowledged.
func (t *tracker) position() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.confirmed
}

// failure is why a record could not be delivered; nil if none.
func (t *tracker) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
