package consumer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partition works off one assigned partition: a batch is whatever has arrived while the one before
// was being written, so that one record alone never waits for company.
type partition struct {
	planner  *planner
	settler  *settler
	batchMax int
	queueMax int
	// mark allows the commit of everything up to the record. resume fetches again.
	mark   func(*kgo.Record)
	resume func()

	mu      sync.Mutex
	queue   []arrival
	full    bool
	arrived chan struct{} // holds one
	stopped chan struct{} // closed: take no more
	done    chan struct{} // closed: nothing is in flight any more
	abandon context.CancelFunc
}

// push returns true when the queue has become full: the caller then pauses the fetching.
func (p *partition) push(records []*kgo.Record, polled time.Time) bool {
	p.mu.Lock()
	for _, r := range records {
		p.queue = append(p.queue, arrival{r, polled})
	}
	filled := !p.full && len(p.queue) >= p.queueMax
	p.full = p.full || filled
	p.mu.Unlock()
	select {
	case p.arrived <- struct{}{}:
	default:
	}
	return filled
}

// take returns at most batchMax records, nil when there are none.
func (p *partition) take() []arrival {
	p.mu.Lock()
	n := min(len(p.queue), p.batchMax)
	batch := p.queue[:n:n]
	p.queue = p.queue[n:]
	if len(p.queue) == 0 {
		p.queue = nil
	}
	drained := p.full && len(p.queue) <= p.queueMax/2
	p.full = p.full && !drained
	p.mu.Unlock()
	if drained {
		p.resume()
	}
	return batch
}

// run returns nil when stopped, or an error whose fate is stop.
func (p *partition) run(ctx context.Context) error {
	defer close(p.done)
	for {
		select {
		case <-p.stopped:
			return nil
		default:
		}
		batch := p.take()
		if len(batch) == 0 {
			select {
			case <-p.arrived:
			case <-p.stopped:
			}
			continue
		}
		p.settler.metrics.batchSize.Observe(float64(len(batch)))
		work := p.planner.plan(batch)
		err := p.settler.settle(ctx, p.stopped, work)
		if errors.Is(err, errLeft) {
			return nil
		}
		if err != nil {
			return err
		}
		p.mark(work.last)
	}
}
