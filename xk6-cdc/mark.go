package cdc

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// Mark writes a labelled moment into the ledger; the scenario is "" outside of iterations. Without
// a ledger, Mark does nothing. Mark fails before Start and after Drain.
func (g *Generator) Mark(label, scenario string) error {
	atNs := g.now()
	switch {
	case g.phase.is(opened):
		return errors.New("the lab was not started: call start() in setup()")
	case g.phase.is(drained):
		return errors.New("the lab was drained: the ledger is closed")
	case g.ledger == nil:
		return nil
	}
	return g.ledger.Mark(ledger.Mark{Label: label, AtNs: atNs, Scenario: scenario})
}

// Has asks MongoDB once, and returns true if MongoDB shows the row of the key, at the version or a
// later one. The caller waits for one find, as a script without a tracker does for each write. Has
// needs no Start and uses a connection of its own.
func (g *Generator) Has(ctx context.Context, collection, key string, version int64) (bool, error) {
	client, err := g.asker()
	if err != nil {
		return false, err
	}
	return tracker.Has(ctx, client.Database(g.options.Database).Collection(collection), key,
		version)
}

// asker returns the connection of Has, made by the first call for the life of the process.
func (g *Generator) asker() (*mongo.Client, error) {
	g.askerMu.Lock()
	defer g.askerMu.Unlock()
	if g.asks != nil {
		return g.asks, nil
	}
	address, err := hop.Mongo(g.options.Mongo)
	if err != nil {
		return nil, fmt.Errorf("option %q: %w", "mongo", err)
	}
	client, err := mongo.Connect(address.
		SetServerSelectionTimeout(tracker.ConnectTimeout).SetAppName("cdclab-k6-has"))
	if err != nil {
		return nil, fmt.Errorf("connect to MongoDB (option %q): %w", "mongo", err)
	}
	g.asks = client
	return client, nil
}
