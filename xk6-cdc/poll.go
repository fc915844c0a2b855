package cdc

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	// pollInterval is the pause between two rounds, and with it the best resolution of a poll; the
	// budget may make it longer.
	pollInterval = time.Millisecond
	// pollRows bounds what one round asks for, pollBatch what one find does.
	pollRows  = 2000
	pollBatch = 200
)

// poll tells the tracker what the documents themselves show, for servers without change streams.
type poll struct {
	database *mongo.Database
	tracker  *tracker
	use      *use
	now      func() int64
}

// run looks again and again until ctx ends, one find at a time.
func (p *poll) run(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	last := p.now()
	for {
		finds := p.use.finds.Load()
		if err := p.look(ctx, pollRows); err != nil && ctx.Err() == nil {
			p.tracker.errors.Add(1)
			tick.Reset(reopenPause)
		} else {
			tick.Reset(pollInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := p.now()
		if p.use.finds.Load() > finds { // else nothing was waited for
			p.use.looked(now - last)
		}
		last = now
	}
}

// look asks once for the documents in which at most limit waiting rows would show.
func (p *poll) look(ctx context.Context, limit int) error {
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
		b := batches[place.collection]
		if b == nil {
			b = &batch{projection: bson.D{{Key: versionMember, Value: 1}, {Key: deletedMember, Value: 1}}}
			batches[place.collection] = b
		}
		b.documents = append(b.documents, place.document)
		if place.field != "" {
			path := place.field + "." + key + "."
			b.projection = append(b.projection, bson.E{Key: path + versionMember, Value: 1},
				bson.E{Key: path + deletedMember, Value: 1})
		}
		if len(b.documents) == pollBatch {
			if err := ask(place.collection); err != nil {
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

func (p *poll) find(ctx context.Context, collection string, documents bson.A, projection bson.D) error {
	if err := p.use.wait(ctx); err != nil {
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
		atNs := p.now()
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
