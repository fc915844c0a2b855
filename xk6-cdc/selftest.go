package cdc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.k6.io/k6/lib"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

const (
	selftestCollection = "lab_selftest"
	selftestName       = "selftest"
	// defaultSelftestWrites is how many writes a self-test makes that names no number.
	defaultSelftestWrites = 500
)

// Selftest measures the floor: what the tracker and MongoDB take for a write that goes to MongoDB
// directly, without PostgreSQL or the pipeline. It makes that many writes one after another,
// inserts and updates in turn, waits until each was seen, and writes them to the ledger. A lab that
// was not started is opened for it and ended after it.
func (l *Lab) Selftest(ctx context.Context, writes int, test *lib.Options) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase.is(drained) {
		return errors.New("selftest(): the lab was drained before")
	}
	// It waits for each write before the next: there is no load to have a share of.
	defer l.use.limited.Store(l.use.limited.Swap(false))
	alone := l.phase.is(opened)
	if alone {
		var err error
		if l.stripe, err = readStripe(test); err != nil {
			return err
		}
		l.rows.beIn(l.stripe)
		if err := l.watch(ctx); err != nil {
			return err
		}
	}
	err := l.selftest(ctx, writes)
	if alone {
		err = errors.Join(err, l.end(err == nil))
	}
	return err
}

func (l *Lab) selftest(ctx context.Context, writes int) error {
	collection := l.client.Database(l.options.Database).Collection(selftestCollection,
		options.Collection().SetWriteConcern(writeconcern.Majority()))
	key := ""
	for i := range writes {
		op := ledger.Update
		id, fresh := l.rows.outside()
		if i%2 == 0 {
			op, key = ledger.Insert, fresh
		}
		if err := l.selftestWrite(ctx, collection, op, id, key); err != nil {
			return fmt.Errorf("selftest(): write %d: %w", i+1, err)
		}
	}
	return nil
}

func (l *Lab) selftestWrite(
	ctx context.Context, collection *mongo.Collection, op ledger.Op, id int64, key string,
) error {
	now := l.now()
	p := &pending{
		kind: &kind{scenario: selftestName, entity: selftestName, op: op, shelf: &shelf{collection: selftestCollection}},
		row:  &row{key: key}, id: id, intendedNs: now, enqueuedNs: now, sentNs: now,
		seen: make(chan struct{}),
	}
	l.tracker.expect(p)
	var err error
	if op == ledger.Insert {
		_, err = collection.InsertOne(ctx, bson.D{{Key: "_id", Value: key}, {Key: versionMember, Value: p.id}})
	} else {
		_, err = collection.UpdateByID(ctx, key,
			bson.D{{Key: "$set", Value: bson.D{{Key: versionMember, Value: p.id}}}})
	}
	if err != nil {
		l.tracker.settle(p, ledger.Failed, l.now(), err)
		return err
	}
	l.tracker.settle(p, ledger.Acked, l.now(), nil)
	late := time.NewTimer(time.Duration(l.options.Timeout))
	defer late.Stop()
	select {
	case <-p.seen:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return fmt.Errorf("not seen within %s", l.options.Timeout)
	}
}
