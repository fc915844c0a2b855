package tracker

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	// pollInterval is the pause between two rounds, and so the best resolution of a poll. The
	// budget may make the pause longer.
	pollInterval = time.Millisecond
	// pollRows bounds the rows of one round, pollBatch the rows of one find.
	pollRows  = 2000
	pollBatch = 200
)

// poll tells the tracker the versions in the documents themselves, for servers without change
// streams.
type poll struct {
	database *mongo.Database
	tracker  *Tracker
}

// run checks again and again until ctx ends, one find at a time.
func (p *poll) run(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	last := p.tracker.now()
	for {
		finds := p.tracker.budget.finds.Load()
		if err := p.check(ctx, pollRows); err != nil && ctx.Err() == nil {
			p.tracker.failures.Add(1)
			tick.Reset(reopenPause)
		} else {
			tick.Reset(pollInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := p.tracker.now()
		if p.tracker.budget.finds.Load() > finds { // else nothing was waited for
			p.tracker.budget.recordRound(now - last)
		}
		last = now
	}
}

// check asks once for the documents that would show the waiting rows, at most limit rows.
func (p *poll) check(ctx context.Context, limit int) error {
	type batch struct {
		documents  bson.A
		projection bson.D
	}
	batches := map[string]*batch{}
	ask := func(collection string) error {
		b := batches[collection]
		if b == nil {
			return nil
		}
		delete(batches, collection)
		return p.find(ctx, collection, b.documents, b.projection)
	}
	for key, place := range p.tracker.some(limit) {
		b := batches[place.Collection]
		if b == nil {
			b = &batch{projection: bson.D{{Key: VersionMember, Value: 1},
				{Key: deletedMember, Value: 1}}}
			batches[place.Collection] = b
		}
		b.documents = append(b.documents, place.Document)
		if place.Field != "" {
			path := place.Field + "." + key + "."
			b.projection = append(b.projection, bson.E{Key: path + VersionMember, Value: 1},
				bson.E{Key: path + deletedMember, Value: 1})
		}
		if len(b.documents) == pollBatch {
			if err := ask(place.Collection); err != nil {
				return err
			}
		}
	}
	for collection := range batches {
		if err := ask(collection); err != nil {
			return err
		}
	}
	return nil
}

func (p *poll) find(ctx context.Context, collection string, documents bson.A,
	projection bson.D) error {
	if err := p.tracker.budget.wait(ctx); err != nil {
		return err
	}
	cursor, err := p.database.Collection(collection).Find(ctx,
		bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: documents}}}},
		options.Find().SetProjection(projection).SetBatchSize(pollBatch))
	if err != nil {
		return fmt.Errorf("poll %s: %w", collection, err)
	}
	defer cursor.Close(ctx)
	for cursor.Next(ctx) {
		atNs := p.tracker.now()
		seen, err := inDocument(cursor.Current)
		if err != nil {
			return fmt.Errorf("poll %s: %w", collection, err)
		}
		for _, one := range seen {
			p.tracker.saw(one.key, one.version, one.deleted, atNs)
		}
	}
	return cursor.Err()
}
