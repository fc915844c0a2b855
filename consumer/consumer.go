// Package consumer reads Debezium's events of PostgreSQL tables from Kafka and keeps MongoDB
// documents equal to the rows, whatever is redelivered, duplicated or reordered on the way. The
// package is not a framework: no plug-ins, no other sources or sinks, one pipeline.
//
// Start reading at Consumer, then group.go (fetched records go to their partition), partition.go (a
// batch from end to end) and package apply (records become documents).
package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/incarnation"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// Consumer is a member of the consumer group. New makes a Consumer, for one call of Run.
type Consumer struct {
	config   Config
	registry *entity.Registry
	tables   *encode.Tables
	metrics  *telemetry.Metrics
	log      *slog.Logger
	shared   *apply.Shared
	known    *incarnation.Known
	mongo    *documents.Mongo // nil where the store is another
	tracer   *telemetry.Tracer
}

// New checks the configuration and loads the specs. New waits for no server; an error names the
// wrong flag.
func New(config Config) (*Consumer, error) {
	c, err := newConsumer(config, nil)
	if err != nil {
		return nil, err
	}
	c.mongo, err = documents.Open(config.Mongo, c.registry, c.metrics)
	if err != nil {
		return nil, err
	}
	if config.Mongo.InsecureTLS {
		c.log.Warn("--mongo-insecure-tls: MongoDB's certificate may be anybody's")
	}
	c.writeTo(c.mongo)
	return c, nil
}

func newConsumer(config Config, s documents.Store) (*Consumer, error) {
	if err := config.validateAll(); err != nil {
		return nil, err
	}
	registry, err := entity.Open(config.Specs)
	if err != nil {
		return nil, fmt.Errorf("--specs %s: %w", config.Specs, err)
	}
	log, err := telemetry.NewLog(config.LogLevel, config.Output)
	if err != nil {
		return nil, err
	}
	c := &Consumer{config: config, registry: registry, tables: encode.NewTables(registry),
		metrics: telemetry.NewMetrics(), log: log}
	if c.tracer, err = telemetry.NewTracer(config.Trace, config.Group, c.metrics, log); err != nil {
		return nil, err
	}
	c.writeTo(s)
	return c, nil
}

func (c *Consumer) writeTo(s documents.Store) {
	c.shared = apply.NewShared(c.config.Config, c.tables, s, c.metrics, c.log, nil)
	c.known = incarnation.NewKnown(s)
	bytes := c.shared.Room().Bytes
	c.metrics.HeldBytes.Store(&bytes)
}

// Run consumes until ctx is cancelled; then Run finishes the batches in flight, commits their
// offsets, leaves the group and returns nil. Run waits for servers that are away. After an error
// there is no point in going on: a permission is missing, or the metrics address is taken.
func (c *Consumer) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	shapes := c.tables.Shapes
	c.metrics.Shapes.Store(&shapes)
	served, err := telemetry.Serve(c.config.Listen, c.config.ListenFile, c.config.Pprof, c.metrics,
		c.log)
	if err != nil {
		return err
	}
	err = c.consumeUntilDone(ctx, stop, served)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err = errors.Join(err, served.Close(end), c.tracer.Close(end))
	if c.mongo != nil {
		err = errors.Join(err, c.mongo.Close(end))
	}
	return err
}

func (c *Consumer) consumeUntilDone(ctx context.Context, stop context.CancelCauseFunc,
	t *telemetry.Server) error {
	options, err := c.config.Kafka.Options()
	if err != nil {
		return err
	}
	letters, err := deadletter.Open(options, c.config.DeadLetterTopic, c.config.Group)
	if err != nil {
		return err
	}
	defer letters.Close()
	create := func(ctx context.Context) error { return c.reachKafka(ctx, letters) }
	if err := c.retryUntilDone(ctx, "create the dead-letter topic", create); err != nil {
		return reasonToEnd(ctx, err)
	}
	r, err := newRouter(c, letters, stop)
	if err != nil {
		return err
	}
	t.CheckReadyWith(r.ready)
	endWatch := c.watchLagAndSpecs(ctx, r)
	r.pollUntilDone(ctx)
	endWatch()
	r.leaveGroup()
	return reasonToEnd(ctx, nil)
}

// reachKafka creates the dead-letter topic, and meanwhile looks whether a broker is there: the
// watch of the lag begins later, and without a broker never.
func (c *Consumer) reachKafka(ctx context.Context, letters *deadletter.Topic) error {
	var look sync.WaitGroup
	look.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, lagInterval)
		defer cancel()
		c.metrics.Brokers.Set(float64(letters.CountBrokers(ctx)))
	})
	defer look.Wait()
	return letters.Create(ctx)
}

// retryUntilDone tries again while the error may pass.
func (c *Consumer) retryUntilDone(ctx context.Context, what string,
	do func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		err := do(ctx)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", what, err)
		if fate.Of(err) != fate.Later {
			return err
		}
		c.metrics.CountRetry(fate.ReasonOf(err))
		c.log.Warn("waiting for a server", "error", err.Error())
		if !waitUnlessStopped(ctx, nil, c.config.backoffBefore(attempt)) {
			return err
		}
	}
}

// reasonToEnd returns nil if Run was asked to end, else the reason for the end.
func reasonToEnd(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
			return nil
		}
		return cause
	}
	return err
}

// waitUnlessStopped returns false if ctx or stop ended the wait early.
func waitUnlessStopped(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
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
