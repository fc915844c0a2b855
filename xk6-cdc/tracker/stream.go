package tracker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// reopenPause lies between two attempts to open the stream again.
const reopenPause = 50 * time.Millisecond

// stream tells the tracker the versions in one change stream over the whole database.
type stream struct {
	database *mongo.Database
	tracker  *Tracker
	cursor   *mongo.ChangeStream
}

// openStream returns when the server has fixed the stream's beginning, so that the stream contains
// every later write.
func openStream(ctx context.Context, database *mongo.Database, t *Tracker) (*stream, error) {
	s := &stream{database: database, tracker: t}
	return s, s.open(ctx, nil)
}

func (s *stream) open(ctx context.Context, token bson.Raw) error {
	settings := options.ChangeStream().SetBatchSize(1000).SetMaxAwaitTime(time.Second)
	if token != nil {
		settings.SetResumeAfter(token)
	}
	cursor, err := s.database.Watch(ctx, mongo.Pipeline{{{Key: "$match", Value: bson.D{
		{Key: "operationType", Value: bson.D{{Key: "$in",
			Value: bson.A{"insert", "update", "replace"}}}},
		{Key: "ns.coll", Value: bson.D{{Key: "$in",
			Value: append(slices.Clip(tables.Collections), ledger.SelftestCollection)}}},
	}}}}, settings)
	if err != nil {
		return fmt.Errorf("open a change stream on %s: %w", s.database.Name(), err)
	}
	s.cursor = cursor
	return nil
}

// run reads until ctx ends. A broken stream is resumed at the last place; where the server has
// forgotten the place, run opens a new stream. Either way a check of the documents themselves finds
// every write swallowed by the break.
func (s *stream) run(ctx context.Context) {
	for {
		for s.cursor.Next(ctx) {
			atNs := s.tracker.now()
			seen, err := inEvent(s.cursor.Current)
			if err != nil {
				s.tracker.failures.Add(1)
			}
			id, _ := s.cursor.Current.Lookup("documentKey", "_id").StringValueOK()
			s.tracker.backward.note(id, seen)
			for _, one := range seen {
				s.tracker.saw(one.key, one.version, one.deleted, atNs)
			}
		}
		token := s.cursor.ResumeToken()
		_ = s.cursor.Close(context.WithoutCancel(ctx)) // broken, or no longer needed
		if ctx.Err() != nil {
			return
		}
		if !s.reopen(ctx, token) {
			return
		}
	}
}

// reopen tries until an attempt succeeds; false when ctx ended first.
func (s *stream) reopen(ctx context.Context, token bson.Raw) bool {
	for {
		err := s.open(ctx, token)
		var answer mongo.ServerError
		switch {
		case err == nil:
			documents := poll{s.database, s.tracker}
			if err = documents.check(ctx, math.MaxInt); err == nil {
				return true
			}
			_ = s.cursor.Close(context.WithoutCancel(ctx)) // opened anew with the next attempt
		case errors.As(err, &answer) && token != nil:
			token = nil
			continue
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(reopenPause):
		}
	}
}
