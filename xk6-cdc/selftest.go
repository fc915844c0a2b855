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

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

const (
	// defaultSelftestWrites is the number of writes of a self-test without a number.
	defaultSelftestWrites = 500
	// maxSelftest bounds the writes and the rate of a self-test.
	maxSelftest = 1_000_000
)

// SelftestPlan is the number of a self-test's writes, and of writes a second; with Rate 0 each
// write waits until the write before was seen.
type SelftestPlan struct{ Writes, Rate int }

// Selftest measures the floor: the time in the tracker and MongoDB of a write that goes to MongoDB
// directly, without PostgreSQL or the pipeline. Selftest makes the writes of the plan, inserts and
// updates in turn, waits until each was seen, and records the writes in the ledger. A generator not
// yet started is opened before and ended afterwards.
func (g *Generator) Selftest(ctx context.Context, plan SelftestPlan, test *lib.Options) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase.is(drained) {
		return errors.New("selftest(): the lab was drained before")
	}
	// Where each write waits for the write before, there is no load to have a share of.
	defer g.tracker.Limit(g.tracker.Limit(plan.Rate > 0))
	alone := g.phase.is(opened)
	if alone {
		var err error
		if g.stripe, err = tables.ReadStripe(test); err != nil {
			return err
		}
		g.rows.BeIn(g.stripe)
		if err := g.openWatch(ctx); err != nil {
			return err
		}
	}
	err := g.selftest(ctx, plan)
	if alone {
		err = errors.Join(err, g.end(err == nil))
	}
	return err
}

func (g *Generator) selftest(ctx context.Context, plan SelftestPlan) error {
	// Not the tracker's connections: a load must not make the tracker wait for a connection.
	client, err := g.asker()
	if err != nil {
		return fmt.Errorf("selftest(): %w", err)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	t := &selftest{
		generator: g, free: make(chan string, plan.Writes),
		collection: client.Database(g.options.Database).Collection(ledger.SelftestCollection,
			options.Collection().SetWriteConcern(writeconcern.Majority())),
	}
	var writing sync.WaitGroup
	beginNs := g.now()
	for i := range plan.Writes {
		op, dueNs := ledger.Insert, g.now()
		if i%2 == 1 {
			op = ledger.Update
		}
		if plan.Rate > 0 {
			dueNs = beginNs + int64(i)*int64(time.Second)/int64(plan.Rate)
			g.sleepUntil(ctx, dueNs)
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

// sleepUntil returns at the stamp ns, or when ctx ends.
func (g *Generator) sleepUntil(ctx context.Context, ns int64) {
	timer := time.NewTimer(time.Duration(ns - g.now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// selftest is a self-test in progress; free are the keys of the documents without a write.
type selftest struct {
	generator  *Generator
	collection *mongo.Collection
	free       chan string
}

// write makes one write and waits until the write was seen. An update without a free document
// becomes an insert.
func (t *selftest) write(ctx context.Context, op ledger.Op, dueNs int64) error {
	g := t.generator
	id, key := g.rows.Outside()
	if op == ledger.Update {
		select {
		case key = <-t.free:
		default:
			op = ledger.Insert
		}
	}
	now := g.now()
	p := &tracker.Pending{
		Kind: &tracker.Kind{Scenario: ledger.Selftest, Entity: ledger.Selftest, Op: op,
			Shelf: &tables.Shelf{Collection: ledger.SelftestCollection}},
		Row: &tables.Row{Key: key}, ID: id, IntendedNs: dueNs, EnqueuedNs: now, SentNs: now,
		Seen: make(chan struct{}),
	}
	g.tracker.Expect(p)
	var err error
	if op == ledger.Insert {
		_, err = t.collection.InsertOne(ctx,
			bson.D{{Key: "_id", Value: key}, {Key: tracker.VersionMember, Value: id}})
	} else {
		_, err = t.collection.UpdateByID(ctx, key,
			bson.D{{Key: "$set", Value: bson.D{{Key: tracker.VersionMember, Value: id}}}})
	}
	if err != nil {
		g.tracker.Settle(p, ledger.Failed, g.now(), err)
		return err
	}
	g.tracker.Settle(p, ledger.Acked, g.now(), nil)
	late := time.NewTimer(time.Duration(g.options.Timeout))
	defer late.Stop()
	select {
	case <-p.Seen:
		t.free <- key
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return fmt.Errorf("not seen within %s", g.options.Timeout)
	}
}
