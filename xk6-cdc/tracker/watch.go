package tracker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/hop"
)

// sweepInterval lies between two searches for late writes.
const sweepInterval = time.Second

// ConnectTimeout bounds the wait for a connection to MongoDB.
const ConnectTimeout = 5 * time.Second

// The ways to watch.
const (
	Auto         = "auto"         // a change stream where the server has one, else polling
	ChangeStream = "changestream" // a change stream, or start() fails
	Poll         = "poll"
)

// Target is a MongoDB to watch, and the way to watch.
type Target struct {
	URI, Database string
	// Kind is Auto, ChangeStream or Poll.
	Kind string
	// Budget is the tracker's share of MongoDB's operations; 0 for the default of the kind.
	Budget float64
}

// Watch is a tracker's open connection to MongoDB.
type Watch struct {
	// Kind is ChangeStream or Poll.
	Kind string
	// Resolution is the shortest time that a poll can tell; 0 for a change stream.
	Resolution time.Duration
	// Fallback is the server's refusal of a change stream, where Auto then chose a poll; else nil.
	Fallback error

	tracker  *Tracker
	client   *mongo.Client
	run      func(context.Context)
	stopping context.CancelFunc
	watchers sync.WaitGroup
}

// Open connects to MongoDB and fixes the beginning of the watching: every later write is seen.
func (t *Tracker) Open(ctx context.Context, at Target) (*Watch, error) {
	address, err := hop.Mongo(at.URI)
	if err != nil {
		return nil, fmt.Errorf("option %q: %w", "mongo", err)
	}
	client, err := mongo.Connect(address.
		SetServerSelectionTimeout(ConnectTimeout).SetAppName("cdclab-k6").
		SetMonitor(t.budget.monitor(t)))
	if err != nil {
		return nil, fmt.Errorf("connect to MongoDB (option %q): %w", "mongo", err)
	}
	if err := client.Ping(ctx, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to MongoDB (option %q): %w", "mongo", err),
			client.Disconnect(ctx))
	}
	w := &Watch{tracker: t, client: client, stopping: func() {}}
	if err := w.choose(ctx, at); err != nil {
		return nil, errors.Join(err, client.Disconnect(ctx))
	}
	return w, nil
}

// choose opens a change stream, or else a poll, as the target says.
func (w *Watch) choose(ctx context.Context, at Target) error {
	t, database := w.tracker, w.client.Database(at.Database)
	if at.Kind != Poll {
		opened, err := openStream(ctx, database, t)
		var answer mongo.ServerError
		switch {
		case err == nil:
			t.budget.share = cmp.Or(at.Budget, StreamBudget)
			w.Kind, w.run = ChangeStream, opened.run
			return nil
		case at.Kind == ChangeStream || !errors.As(err, &answer):
			return fmt.Errorf("option %q: %w", "tracker", err)
		}
		w.Fallback = err
	}
	t.budget.share = cmp.Or(at.Budget, PollBudget)
	w.Kind, w.Resolution, w.run = Poll, pollInterval, (&poll{database, t}).run
	return nil
}

// Start begins to watch. The context is not Open's, because setup() returns long before the
// watching ends.
func (w *Watch) Start() {
	ctx, stop := context.WithCancel(context.Background())
	w.stopping = stop
	w.watchers.Go(func() { w.run(ctx) })
	w.watchers.Go(func() { w.tracker.budget.count(ctx, w.client) })
	w.watchers.Go(func() { w.sweep(ctx) })
}

// Stop ends the watching, where started, and the connection.
func (w *Watch) Stop() {
	w.stopping()
	w.watchers.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = w.client.Disconnect(ctx) // the client writes nothing
}

func (w *Watch) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.tracker.sweep(w.tracker.now())
		}
	}
}
