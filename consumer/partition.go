package consumer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partition works off one assigned partition: a batch is whatever has arrived while the one before
// was being written, so that one record alone never waits for company.
type partition struct {
	topic    string
	number   int32
	planner  *planner
	settler  *settler
	batchMax int
	queueMax int
	retry    time.Duration // between looks for what parked events wait for
	// mark allows the commit of everything below the offset. pause ends the fetching, resume goes on
	// with it. begin starts the trace of a batch; what it returns ends it.
	mark          func(epoch int32, offset int64)
	pause, resume func()
	begin         func(context.Context, []arrival) (context.Context, func(error))

	mu      sync.Mutex
	queue   []arrival
	full    bool
	arrived chan struct{} // holds one
	stopped chan struct{} // closed: take no more
	done    chan struct{} // closed: nothing is in flight any more
	abandon context.CancelFunc

	job  job
	last *kgo.Record // the last one settled or parked

	lookAt time.Time // when parked events are looked at again
	looks  int       // in vain
}

// push pauses the fetching when the queue has become full. It does so under the lock, as take does
// with resume: else the two could swap, and the partition would stay paused with nothing to do.
func (p *partition) push(records []*kgo.Record, polled time.Time) {
	p.mu.Lock()
	for _, r := range records {
		p.queue = append(p.queue, arrival{r, polled})
	}
	if !p.full && len(p.queue) >= p.queueMax {
		p.full = true
		p.pause()
	}
	p.mu.Unlock()
	select {
	case p.arrived <- struct{}{}:
	default:
	}
}

// take returns at most batchMax records, nil when there are none.
func (p *partition) take() []arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.queue), p.batchMax)
	batch := p.queue[:n:n]
	p.queue = p.queue[n:]
	if len(p.queue) == 0 {
		p.queue = nil
	}
	if p.full && len(p.queue) <= p.queueMax/2 {
		p.full = false
		p.resume()
	}
	return batch
}

// run returns nil when stopped, or an error whose fate is stop.
func (p *partition) run(ctx context.Context) error {
	defer close(p.done)
	defer p.leave()
	for {
		select {
		case <-p.stopped:
			return nil
		default:
		}
		var batch []arrival
		var err error
		if p.lookDue() {
			err = p.unpark(ctx)
		} else if !p.settler.parking.full() {
			batch = p.take()
		}
		switch {
		case len(batch) > 0:
			err = p.work(ctx, batch)
		case !p.lookDue():
			p.await()
		}
		if errors.Is(err, errLeft) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lookDue: it is time to see whether what parked events wait for has come.
func (p *partition) lookDue() bool {
	select {
	case <-p.settler.parking.wake:
		p.looks, p.lookAt = 0, time.Time{}
	default:
	}
	return p.settler.parking.count > 0 && !time.Now().Before(p.lookAt)
}

// await returns when something may have to be done.
func (p *partition) await() {
	var again <-chan time.Time
	if p.settler.parking.count > 0 {
		timer := time.NewTimer(time.Until(p.lookAt))
		defer timer.Stop()
		again = timer.C
	}
	arrived := p.arrived
	if p.settler.parking.full() {
		arrived = nil
	}
	select {
	case <-arrived:
	case <-p.settler.parking.wake:
		p.looks, p.lookAt = 0, time.Time{}
	case <-p.stopped:
	case <-again:
	}
}

// work sees a batch through to its end, and lets the offset move.
func (p *partition) work(ctx context.Context, batch []arrival) (err error) {
	ctx, end := p.begin(ctx, batch)
	defer func() { end(err) }()
	started := time.Now()
	p.planner.plan(&p.job, batch)
	if err := p.settler.settle(ctx, p.stopped, &p.job, p.topic, p.number); err != nil {
		return err
	}
	took := time.Since(started)
	p.planner.metrics.batch(len(batch), took)
	p.last = batch[len(batch)-1].record
	p.tell(ctx, len(batch), took)
	p.commit()
	return nil
}

// slowBatch is told of at info level.
const slowBatch = time.Second

func (p *partition) tell(ctx context.Context, records int, took time.Duration) {
	level := slog.LevelDebug
	if took >= slowBatch {
		level = slog.LevelInfo
	}
	if log := p.settler.log; log.Enabled(ctx, level) {
		log.Log(ctx, level, "batch done", "records", records, "processing_time_ms", float64(took)/1e6,
			"kafka_topic", p.topic, "kafka_partition", p.number, "kafka_offset", p.last.Offset)
	}
}

// unpark sees to the parked events that need not wait any longer.
func (p *partition) unpark(ctx context.Context) error {
	p.looks++
	p.lookAt = time.Now().Add(min(p.retry<<min(p.looks, 4), 2*time.Second))
	p.job = job{}
	if err := p.settler.due(ctx, &p.job); err != nil {
		p.settler.metrics.retry(err)
		return nil // asked again when the time comes
	}
	err := p.settler.settle(ctx, p.stopped, &p.job, p.topic, p.number)
	if err == nil {
		p.commit()
	}
	return err
}

// commit allows the offset to move up to the oldest parked event.
func (p *partition) commit() {
	if p.settler.parking.count == 0 {
		p.looks, p.lookAt = 0, time.Now().Add(p.retry)
	}
	p.settler.await()
	if p.last == nil {
		return
	}
	next := p.last.Offset + 1
	if lowest, parked := p.settler.parking.lowest(); parked {
		next = min(next, lowest)
	}
	p.mark(p.last.LeaderEpoch, next)
}

// leave forgets the parked events: they are delivered again to whoever has the partition next.
func (p *partition) leave() {
	p.settler.parking.empty()
	p.settler.await()
}
