package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/incarnation"
	verdicts "github.com/cdclab/cdclab/consumer/order"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// partition works off one assigned partition. A batch is whatever has arrived during the writing of
// the batch before, so that a single record never waits for company.
type partition struct {
	topic    string
	number   int32
	applier  *apply.Applier
	batchMax int
	queueMax int
	retry    time.Duration // between looks for the rows parked events wait for
	backoff  func(attempt int) time.Duration
	metrics  *telemetry.Metrics
	log      *slog.Logger
	// mark allows the commit of everything below the offset. pause ends the fetching, resume goes
	// on with fetching. begin starts the trace of a batch; the returned function ends the trace.
	mark          func(epoch int32, offset int64)
	pause, resume func()
	begin         func(context.Context, []telemetry.Arrival) (context.Context, func(failure string))

	mu      sync.Mutex
	room    *apply.Room // of the process
	held    int         // bytes in the room: of the queue, and of the batch under way
	queue   []telemetry.Arrival
	full    bool
	arrived chan struct{} // holds one
	stopped chan struct{} // closed: take no more
	done    chan struct{} // closed: nothing is in flight any more
	abandon context.CancelFunc

	// alarm is the text that the partition asks the operator for; "" or nil: nothing.
	alarm atomic.Value
	// origin tells the applier where the partition is read from, before the record of the first
	// offset; nil once told.
	origin func(ctx context.Context, first int64) error
	// id is the topic's incarnation, known with the first records. retired is true once the topic
	// was made anew: offsets of the topic before must not be committed.
	id         incarnation.ID
	retirement sync.Mutex
	retired    bool

	tickAt time.Time // when parked events are looked at again
	ticks  int       // in vain
}

// pushRecords pauses the fetching when the queue has become full, or the process holds too many
// bytes. The pause happens under the lock, as takeBatch's resume does; otherwise the two could
// swap, and the partition would stay paused with nothing to do.
func (p *partition) pushRecords(records []*kgo.Record, polled time.Time) {
	p.mu.Lock()
	bytes := 0
	for _, r := range records {
		p.queue = append(p.queue, telemetry.Arrival{Record: r, Polled: polled})
		bytes += apply.RecordBytes(r)
	}
	p.holdBytes(bytes)
	if !p.full && (len(p.queue) >= p.queueMax || !p.room.HasRoom(p.held)) {
		p.full = true
		p.pause()
	}
	p.mu.Unlock()
	select {
	case p.arrived <- struct{}{}:
	default:
	}
}

// holdBytes notes that the partition holds more bytes, or fewer.
func (p *partition) holdBytes(bytes int) {
	p.held += bytes
	p.room.Add(bytes)
}

// takeBatch returns at most batchMax records, nil when there are none.
func (p *partition) takeBatch() []telemetry.Arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.queue), p.batchMax)
	batch := p.queue[:n:n]
	p.queue = p.queue[n:]
	if len(p.queue) == 0 {
		p.queue = nil
	}
	if p.full && len(p.queue) <= p.queueMax/2 && p.room.HasRoom(p.held) {
		p.full = false
		p.resume()
	}
	return batch
}

// letGo ends the holding of a batch's records: settled, or parked, which counts for itself.
func (p *partition) letGo(batch []telemetry.Arrival) {
	p.mu.Lock()
	defer p.mu.Unlock()
	bytes := 0
	for _, a := range batch {
		bytes += apply.RecordBytes(a.Record)
	}
	p.holdBytes(-bytes)
}

// letGoAll ends the holding of all records.
func (p *partition) letGoAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holdBytes(-p.held)
}

// runUntilStopped returns nil when stopped, or an error whose fate is stop.
func (p *partition) runUntilStopped(ctx context.Context) error {
	defer close(p.done)
	defer p.letGoAll()
	defer p.applier.Leave()
	defer p.logDropped()
	for {
		select {
		case <-p.stopped:
			return nil
		default:
		}
		var batch []telemetry.Arrival
		var err error
		if p.tickIsDue() {
			err = p.tickParked(ctx)
		} else if !p.applier.Full() {
			batch = p.takeBatch()
		}
		switch {
		case len(batch) > 0:
			err = p.applyBatch(ctx, batch)
			p.letGo(batch)
		case !p.tickIsDue():
			p.awaitWork()
		}
		if errors.Is(err, errLeft) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tickIsDue returns true if the time has come to look again for the rows parked events wait for.
func (p *partition) tickIsDue() bool {
	select {
	case <-p.applier.Wake():
		p.ticks, p.tickAt = 0, time.Time{}
	default:
	}
	return p.applier.Parked() > 0 && !time.Now().Before(p.tickAt)
}

// awaitWork returns when something may have to be done.
func (p *partition) awaitWork() {
	var again <-chan time.Time
	if p.applier.Parked() > 0 {
		timer := time.NewTimer(time.Until(p.tickAt))
		defer timer.Stop()
		again = timer.C
	}
	arrived := p.arrived
	if p.applier.Full() {
		arrived = nil
	}
	select {
	case <-arrived:
	case <-p.applier.Wake():
		p.ticks, p.tickAt = 0, time.Time{}
	case <-p.stopped:
	case <-again:
	}
}

// applyBatch sees a batch through to the end, and lets the offset move.
func (p *partition) applyBatch(ctx context.Context, batch []telemetry.Arrival) (err error) {
	ctx, end := p.begin(ctx, batch)
	defer func() {
		if err != nil {
			end(fate.ReasonOf(err))
			return
		}
		end("")
	}()
	started := time.Now()
	if p.origin != nil {
		first := batch[0].Record.Offset
		if err := p.retryUntilStopped(ctx, func(ctx context.Context) error {
			return p.origin(ctx, first)
		}); err != nil {
			return err
		}
		p.origin = nil
	}
	p.applier.Take(batch)
	if err := p.retryUntilStopped(ctx, p.applier.Step); err != nil {
		return err
	}
	took := time.Since(started)
	p.metrics.CountBatch(len(batch), took)
	p.logBatch(ctx, batch, took)
	p.markCommittable()
	return nil
}

// errLeft is the error of a batch left unfinished on request; the batch's offsets are not
// committed.
var errLeft error = leftError{}

type leftError struct{}

func (leftError) Error() string { return "left unfinished: asked to stop" }

// Reason returns the word for the trace of the batch.
func (leftError) Reason() string { return "left" }

// retryUntilStopped returns nil when the step, such as the applier's, returned nil: every record
// taken by the applier is settled or parked. retryUntilStopped waits out errors that may pass, and
// returns errLeft when ctx or stopped ended the wait, or an error whose fate is stop.
func (p *partition) retryUntilStopped(ctx context.Context,
	step func(context.Context) error) error {
	paused := false
	defer func() {
		p.alarm.Store("")
		if paused {
			p.metrics.Paused.Dec()
		}
	}()
	for attempt := 0; ; attempt++ {
		err := step(ctx)
		if err == nil {
			if paused {
				p.log.InfoContext(ctx, "partition resumed", "kafka_topic", p.topic,
					"kafka_partition", p.number, "attempts", attempt)
			}
			return nil
		}
		p.log.DebugContext(ctx, "a batch failed", "kafka_topic", p.topic,
			"kafka_partition", p.number, "words", documents.Words(err))
		if fate.Of(err) == fate.Stop {
			return fmt.Errorf("%s/%d: %w", p.topic, p.number, err)
		}
		p.alarm.Store(verdicts.AlarmOf(err))
		p.metrics.CountRetry(fate.ReasonOf(err))
		if !paused {
			paused = true
			p.metrics.Paused.Inc()
			p.log.WarnContext(ctx, "partition paused", "kafka_topic", p.topic,
				"kafka_partition", p.number, "error", err.Error())
		}
		if !waitUnlessStopped(ctx, p.stopped, p.backoff(attempt)) {
			return errLeft
		}
	}
}

// slowBatch is told of at info level.
const slowBatch = time.Second

func (p *partition) logBatch(ctx context.Context, batch []telemetry.Arrival, took time.Duration) {
	level := slog.LevelDebug
	if took >= slowBatch {
		level = slog.LevelInfo
	}
	if p.log.Enabled(ctx, level) {
		p.log.Log(ctx, level, "batch done", "records", len(batch),
			"processing_time_ms", float64(took)/1e6,
			"kafka_topic", p.topic, "kafka_partition", p.number,
			"kafka_offset", batch[len(batch)-1].Record.Offset)
	}
}

// tickParked sees to the parked events that need not wait any longer.
func (p *partition) tickParked(ctx context.Context) error {
	p.ticks++
	p.tickAt = time.Now().Add(min(p.retry<<min(p.ticks, 4), 2*time.Second))
	if err := p.applier.Tick(ctx); err != nil {
		p.metrics.CountRetry(fate.ReasonOf(err))
		return nil // asked again when the time comes
	}
	err := p.retryUntilStopped(ctx, p.applier.Step)
	if err == nil {
		p.markCommittable()
	}
	return err
}

// markCommittable allows the offset to move up to the oldest parked event.
func (p *partition) markCommittable() {
	if p.applier.Parked() == 0 {
		p.ticks, p.tickAt = 0, time.Now().Add(p.retry)
	}
	if epoch, offset, any := p.applier.Committable(); any {
		p.mark(epoch, offset)
	}
}
