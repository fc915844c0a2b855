package connector

import "sync"

// acks knows up to where PostgreSQL's log has been acknowledged by Kafka. Records are acknowledged
// in any order, but the position moves only over transactions acknowledged whole, behind
// predecessors acknowledged whole. Example: of the ends 10, 20 and 30 the second and third are
// acknowledged, and the position stays; then the first is, and the position is 30.
type acks struct {
	mu sync.Mutex
	// open are the transactions from the first unacknowledged on, in commit order.
	open      []*transaction
	confirmed uint64
	err       error
	// failed is closed when err is set.
	failed chan struct{}
}

// transaction is being read, or waits for the acknowledgement of records.
type transaction struct {
	// end is the position behind the transaction; 0 during the reading.
	end uint64
	// pending records were sent and not acknowledged.
	pending int
}

func newAcks(confirmed uint64) *acks {
	return &acks{confirmed: confirmed, failed: make(chan struct{})}
}

// begin opens a transaction.
func (t *acks) begin() *transaction {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx := &transaction{}
	t.open = append(t.open, tx)
	return tx
}

// sent counts a record of the transaction on the way to Kafka.
func (t *acks) sent(tx *transaction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx.pending++
}

// acked counts a record that has arrived. An error means that the record never arrives: then the
// position stays and failed is closed.
func (t *acks) acked(tx *transaction, err error) {
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
func (t *acks) commit(tx *transaction, end uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx.end = end
	t.advance()
}

// idle notes that PostgreSQL has sent every transaction before end.
func (t *acks) idle(end uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) == 0 {
		t.confirmed = max(t.confirmed, end)
		return
	}
	// end is confirmed behind the waiting transactions. A transaction still being read ends later
	// than end.
	if last := t.open[len(t.open)-1]; last.end != 0 {
		last.end = max(last.end, end)
	}
}

func (t *acks) advance() {
	for len(t.open) > 0 && t.open[0].end != 0 && t.open[0].pending == 0 {
		t.confirmed = max(t.confirmed, t.open[0].end)
		t.open = t.open[1:]
	}
}

// position is up to where everything is acknowledged.
func (t *acks) position() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.confirmed
}

// failure is why a record could not be delivered; nil if none.
func (t *acks) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
