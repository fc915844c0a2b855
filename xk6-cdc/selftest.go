package cdc

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	// maxSelftest bounds the writes and the rate of one.
	maxSelftest = 1_000_000
)

// SelftestPlan is how many writes a self-test makes, and how many a second; with Rate 0 each waits
// until the one before was seen.
type SelftestPlan struct{ Writes, Rate int }

// Selftest measures the floor: what the tracker and MongoDB take for a write that goes to MongoDB
// directly, without PostgreSQL or the pipeline. It makes the writes of the plan, inserts and updates
// in turn, waits until each was seen, and writes them to the ledger. A lab that was not started is
// opened for it and ended after it.
func (l *Lab) Selftest(ctx context.Context, plan SelftestPlan, test *lib.Options) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase.is(drained) {
		return errors.New("selftest(): the lab was drained before")
	}
	// Where it waits for each write before the next, there is no load to have a share of.
	defer l.use.limited.Store(l.use.limited.Swap(plan.Rate > 0))
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
	err := l.selftest(ctx, plan)
	if alone {
		err = errors.Join(err, l.end(err == nil))
	}
	return err
}

func (l *Lab) selftest(ctx context.Context, plan SelftestPlan) error {
	// Not the tracker's connections: a load must not make it wait for one.
	client, err := l.asker()
	if err != nil {
		return fmt.Errorf("selftest(): %w", err)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	t := &selftest{
		lab: l, free: make(chan string, plan.Writes),
		collection: client.Database(l.options.Database).Collection(selftestCollection,
			options.Collection().SetWriteConcern(writeconcern.Majority())),
	}
	var writing sync.WaitGroup
	beginNs := l.now()
	for i := range plan.Writes {
		op, dueNs := ledger.Insert, l.now()
		if i%2 == 1 {
			op = ledger.Update
		}
		if plan.Rate > 0 {
			dueNs = beginNs + int64(i)*int64(time.Second)/int64(plan.Rate)
			l.sleepUntil(ctx, dueNs)
		}
		if ctx.Err() != nil {
			break
		}
		writing.Go(func() {
			if err := t.write(ctx, op, dueNs); err != nil {
				fail(fmt.Errorf("selftest(): write %d: %w", i+1, err))
			}
		})
		if plan.Rate == 0 {
			writing.Wait()
		}
	}
	writing.Wait()
	return context.Cause(ctx)
}

// sleepUntil returns at that stamp, or when ctx ends.
func (l *Lab) sleepUntil(ctx context.Context, ns int64) {
	timer := time.NewTimer(time.Duration(ns - l.now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// selftest is one in progress; free are the keys of its documents on which no write is.
type selftest struct {
	lab        *Lab
	collection *mongo.Collection
	free       chan string
}

// write makes one write and waits until it was seen. An update for which no document is free
// becomes an insert.
func (t *selftest) write(ctx context.Context, op ledger.Op, dueNs int64) error {
	l := t.lab
	id, key := l.rows.outside()
	if op == ledger.Update {
		select {
		case key = <-t.free:
		default:
			op = ledger.Insert
		}
	}
	now := l.now()
	p := &pending{
		kind: &kind{scenario: selftestName, entity: selftestName, op: op, shelf: &shelf{collection: selftestCollection}},
		row:  &row{key: key}, id: id, intendedNs: dueNs, enqueuedNs: now, sentNs: now,
		seen: make(chan struct{}),
	}
	l.tracker.expect(p)
	var err error
	if op == ledger.Insert {
		_, err = t.collection.InsertOne(ctx, bson.D{{Key: "_id", Value: key}, {Key: versionMember, Value: id}})
	} else {
		_, err = t.collection.UpdateByID(ctx, key, bson.D{{Key: "$set", Value: bson.D{{Key: versionMember, Value: id}}}})
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
		t.free <- key
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return fmt.Errorf("not seen within %s", l.options.Timeout)
	}
}
