package cdc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// reopenPause is between two attempts to open the stream again.
const reopenPause = 50 * time.Millisecond

// stream tells the tracker what one change stream over the whole database shows.
type stream struct {
	database *mongo.Database
	tracker  *tracker
	use      *use
	now      func() int64
	cursor   *mongo.ChangeStream
}

// openStream returns when the server has fixed where the stream begins, so that a write sent
// afterwards is in it.
func openStream(
	ctx context.Context, database *mongo.Database, t *tracker, u *use, now func() int64,
) (*stream, error) {
	s := &stream{database: database, tracker: t, use: u, now: now}
	return s, s.open(ctx, nil)
}

func (s *stream) open(ctx context.Context, token bson.Raw) error {
	settings := options.ChangeStream().SetBatchSize(1000).SetMaxAwaitTime(time.Second)
	if token != nil {
		settings.SetResumeAfter(token)
	}
	cursor, err := s.database.Watch(ctx, mongo.Pipeline{{{Key: "$match", Value: bson.D{
		{Key: "operationType", Value: bson.D{{Key: "$in", Value: bson.A{"insert", "update", "replace"}}}},
		{Key: "ns.coll", Value: bson.D{{Key: "$in", Value: watched}}},
	}}}}, settings)
	if err != nil {
		return fmt.Errorf("open a change stream on %s: %w", s.database.Name(), err)
	}
	s.cursor = cursor
	return nil
}

// run reads until ctx ends. A stream that breaks is resumed where it was; where the server has
// forgotten that place, a new one is opened. Either way a look at the documents themselves finds
// what the break may have swallowed.
func (s *stream) run(ctx context.Context) {
	for {
		for s.cursor.Next(ctx) {
			atNs := s.now()
			seen, err := inEvent(s.cursor.Current)
			if err != nil {
				s.tracker.errors.Add(1)
			}
			for _, one := range seen {
				s.tracker.saw(one.key, one.version, one.deleted, atNs)
			}
		}
		token, failure := s.cursor.ResumeToken(), s.cursor.Err()
		_ = s.cursor.Close(context.WithoutCancel(ctx)) // it is broken, or nobody needs it
		if ctx.Err() != nil {
			return
		}
		if failure == nil { // the server ended it; a failure was counted by countBreaks
			s.tracker.errors.Add(1)
		}
		if !s.reopen(ctx, token) {
			return
		}
	}
}

// reopen tries until it succeeds; false when ctx ended first.
func (s *stream) reopen(ctx context.Context, token bson.Raw) bool {
	for {
		err := s.open(ctx, token)
		var answer mongo.ServerError
		switch {
		case err == nil:
			looker := poll{database: s.database, tracker: s.tracker, use: s.use, now: s.now}
			if err = looker.look(ctx, math.MaxInt); err == nil {
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
