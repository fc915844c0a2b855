package cdc

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// Mark writes a labelled moment into the ledger; the scenario is "" outside of iterations. Without a
// ledger it does nothing. It fails before Start and after Drain.
func (l *Lab) Mark(label, scenario string) error {
	atNs := l.now()
	switch {
	case l.phase.is(opened):
		return errors.New("the lab was not started: call start() in setup()")
	case l.phase.is(drained):
		return errors.New("the lab was drained: the ledger is closed")
	case l.ledger == nil:
		return nil
	}
	return l.ledger.Mark(ledger.Mark{Label: label, AtNs: atNs, Scenario: scenario})
}

// Has asks MongoDB once whether it shows the row with that key, at that version or a later one. It
// is one find, which the caller waits for: what a script without a tracker does for each write. It
// needs no Start and has a connection of its own.
func (l *Lab) Has(ctx context.Context, collection, key string, version int64) (bool, error) {
	client, err := l.asker()
	if err != nil {
		return false, err
	}
	var document bson.Raw
	err = client.Database(l.options.Database).Collection(collection).FindOne(ctx, bson.D{{Key: "_id", Value: key}},
		options.FindOne().SetProjection(bson.D{{Key: versionMember, Value: 1}, {Key: deletedMember, Value: 1}})).Decode(&document)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s in %s: %w", key, collection, err)
	}
	seen := inMembers(key, document)
	return !seen.deleted && seen.version >= version, nil
}

// asker is the connection of Has; it is made with its first call and lasts as long as the process.
func (l *Lab) asker() (*mongo.Client, error) {
	l.askerMu.Lock()
	defer l.askerMu.Unlock()
	if l.asks != nil {
		return l.asks, nil
	}
	client, err := mongo.Connect(options.Client().ApplyURI(l.options.Mongo).
		SetServerSelectionTimeout(connectTimeout).SetAppName("cdclab-k6-has"))
	if err != nil {
		return nil, fmt.Errorf("connect to MongoDB (option %q): %w", "mongo", err)
	}
	l.asks = client
	return client, nil
}
