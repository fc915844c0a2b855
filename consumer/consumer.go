// Package consumer reads Debezium's events of PostgreSQL tables from Kafka and keeps MongoDB
// documents equal to the rows, whatever is redelivered, duplicated or reordered on the way. It is
// not a framework: no plug-ins, no other sources or sinks, one pipeline.
//
// Start reading at partition.go (work: a batch from end to end), then plan in apply.go (a record
// becomes a draft), round.go (drafts become writes), update.go (how a write is guarded), settle.go
// (what happens when it fails) and park.go (rows that wait for another). Each event meets one of
// these ends, and its offset is not committed before:
//
//	applied      its write was acknowledged by a majority
//	stale        the document was already as new, or newer
//	folded       a later event of the same row in the same batch stands for it
//	ignored      it changes no row: a heartbeat, transaction metadata, a logical message
//	dead_letter  it can never be written: it is in the dead-letter topic, with the reason
package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/entity"
)

// Consumer is one member of the consumer group. Make it with New and run it once with Run.
type Consumer struct {
	config    Config
	registry  *entity.Registry
	metrics   *metrics
	log       *slog.Logger
	store     store
	mongo     *mongoStore // nil where store is another
	parents   *parents
	truncates truncates
	room      *parkingRoom
	tracer    *tracer
	keyless   sync.Map // tables whose rows have no key, as far as that was logged
}

// New checks the configuration and loads the specs. It waits for no server; an error names the
// flag that is wrong.
func New(config Config) (*Consumer, error) {
	c, err := newConsumer(config, nil)
	if err != nil {
		return nil, err
	}
	c.mongo, err = openMongo(config, c.registry, c.metrics)
	if err != nil {
		return nil, err
	}
	c.use(c.mongo)
	return c, nil
}

func newConsumer(config Config, s store) (*Consumer, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	registry, err := config.registry()
	if err != nil {
		return nil, err
	}
	log, err := config.logger()
	if err != nil {
		return nil, err
	}
	c := &Consumer{config: config, registry: registry, metrics: newMetrics(), log: log,
		room: &parkingRoom{max: config.ParkedMaxBytes}}
	if c.tracer, err = newTracer(config, c.metrics, log); err != nil {
		return nil, err
	}
	c.use(s)
	return c, nil
}

func (c *Consumer) use(s store) { c.store, c.parents = s, newParents(s, time.Now) }

// Run consumes until ctx is cancelled; then it finishes the batches in flight, commits their
// offsets, leaves the group and returns nil. Servers that are away are waited for. An error means
// that going on is pointless: a permission is missing, or the metrics address is taken.
func (c *Consumer) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	telemetry, err := c.listen()
	if err != nil {
		return err
	}
	err = c.consume(ctx, stop, telemetry)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err = errors.Join(err, telemetry.close(end), c.tracer.close(end))
	if c.mongo != nil {
		err = errors.Join(err, c.mongo.close(end))
	}
	return err
}

func (c *Consumer) consume(ctx context.Context, stop context.CancelCauseFunc, t *telemetry) error {
	letters, err := openDeadLetters(c.config)
	if err != nil {
		return err
	}
	defer letters.close()
	if err := c.untilDone(ctx, "create the dead-letter topic", letters.create); err != nil {
		return ending(ctx, err)
	}
	r, err := newRouter(c, letters, stop)
	if err != nil {
		return err
	}
	t.ready(r.ready)
	endWatch := c.watch(ctx, r.client)
	r.poll(ctx)
	endWatch()
	r.shutdown()
	return ending(ctx, nil)
}

// untilDone tries again while the error may pass.
func (c *Consumer) untilDone(ctx context.Context, what string,
	do func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		err := do(ctx)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", what, err)
		if fateOf(err) != later {
			return err
		}
		c.metrics.retry(err)
		c.log.Warn("waiting for a server", "error", err.Error())
		if !wait(ctx, nil, c.config.backoff(attempt)) {
			return err
		}
	}
}

// ending is what Run says at its end: nothing when it was asked to end, else the reason.
func ending(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
			return nil
		}
		return cause
	}
	return err
}

// wait returns false when it was cut short by ctx or by stop.
func wait(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-stop:
		return false
	}
}

// arrival is a record and when it was polled.
type arrival struct {
	record *kgo.Record
	polled time.Time
}
