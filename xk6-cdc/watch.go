package cdc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// sweepInterval is how often writes are looked at whose time may be over.
const sweepInterval = time.Second

// watch connects to MongoDB, creates the ledger and begins to watch. The caller holds mu.
func (l *Lab) watch(ctx context.Context) error {
	client, err := mongo.Connect(options.Client().ApplyURI(l.options.Mongo).
		SetServerSelectionTimeout(connectTimeout).SetAppName("cdclab-k6").
		SetMonitor(l.use.monitor(l.tracker)))
	if err != nil {
		return fmt.Errorf("connect to MongoDB (option %q): %w", "mongo", err)
	}
	if err := client.Ping(ctx, nil); err != nil {
		return errors.Join(fmt.Errorf("connect to MongoDB (option %q): %w", "mongo", err), client.Disconnect(ctx))
	}
	run, header, err := l.openTracker(ctx, client.Database(l.options.Database))
	if err != nil {
		return errors.Join(err, client.Disconnect(ctx))
	}
	if l.options.Ledger != "" {
		header.StartUnixNs, header.Seed = l.epoch.UnixNano(), l.options.Seed
		header.Segment = l.stripe.segment
		if l.ledger, err = ledger.Create(l.options.Ledger, header); err != nil {
			return errors.Join(fmt.Errorf("option %q: %w", "ledger", err), client.Disconnect(ctx))
		}
	}
	l.client = client
	// Not ctx: setup() returns long before the watching ends.
	watching, stop := context.WithCancel(context.Background())
	l.stopWatching = stop
	l.watchers.Go(func() { run(watching) })
	l.watchers.Go(func() { l.use.count(watching, client) })
	l.watchers.Go(func() { l.sweep(watching) })
	return nil
}

// openTracker opens what the option tracker asks for and says so in a ledger's Header.
func (l *Lab) openTracker(
	ctx context.Context, database *mongo.Database,
) (run func(context.Context), header ledger.Header, err error) {
	if l.options.Tracker != TrackPoll {
		opened, err := openStream(ctx, database, l.tracker, l.use, l.now)
		var answer mongo.ServerError
		switch {
		case err == nil:
			l.use.budget = cmp.Or(l.options.TrackerBudget, streamBudget)
			return opened.run, ledger.Header{Tracker: TrackChangeStream}, nil
		case l.options.Tracker == TrackChangeStream || !errors.As(err, &answer):
			return nil, ledger.Header{}, fmt.Errorf("option %q: %w", "tracker", err)
		}
		l.logger.Warnf("cdc: the server has no change streams, so the tracker polls every %v: %v",
			pollInterval, err)
	}
	l.use.budget = cmp.Or(l.options.TrackerBudget, pollBudget)
	looker := &poll{database: database, tracker: l.tracker, use: l.use, now: l.now}
	return looker.run, ledger.Header{Tracker: TrackPoll, ResolutionNs: pollInterval.Nanoseconds()}, nil
}

func (l *Lab) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.tracker.sweep(l.now())
		}
	}
}
