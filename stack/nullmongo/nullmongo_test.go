package nullmongo

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func start(t *testing.T) *Server {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if c := s.Counts(); c != (Counts{}) {
		t.Errorf("counted %+v before any write", c)
	}
	return s
}

// TestServer: the driver accepts the server, whichever way writes are sent.
func TestServer(t *testing.T) {
	t.Parallel()
	s := start(t)
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	ctx, collection := t.Context(), client.Database("d").Collection("c")
	change := func(id string) bson.D {
		return bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: id}}},
			{Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}}}}
	}
	var answer struct{ N, NModified int }
	if err := client.Database("d").RunCommand(ctx, bson.D{{Key: "update", Value: "c"},
		{Key: "updates", Value: bson.A{change("a"), change("b")}}}).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.N != 2 || answer.NModified != 2 {
		t.Errorf("update answered %+v, want 2 and 2", answer)
	}
	models := []mongo.WriteModel{mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id",
		Value: "c"}}).
		SetUpsert(true).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}}),
		mongo.NewInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: "d"}})}
	result, err := collection.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	if err != nil || result.MatchedCount != 1 || result.InsertedCount != 1 {
		t.Errorf("BulkWrite: %+v, %v; want 1 matched and 1 inserted", result, err)
	}
	writes := []mongo.ClientBulkWrite{{Database: "d", Collection: "c",
		Model: mongo.NewClientUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: "e"}}).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}})}}
	if _, err := client.BulkWrite(ctx, writes); err != nil {
		t.Errorf("client BulkWrite: %v", err)
	}
	if err := collection.FindOne(ctx, bson.D{}).Err(); err != mongo.ErrNoDocuments {
		t.Errorf("FindOne: %v, want none", err)
	}
	index := mongo.IndexModel{Keys: bson.D{{Key: "a", Value: 1}}}
	if _, err := collection.Indexes().CreateOne(ctx, index); err != nil {
		t.Errorf("create an index: %v", err)
	}
	removed, err := collection.DeleteMany(ctx, bson.D{{Key: "_id", Value: "f"}})
	if err != nil || removed.DeletedCount != 1 {
		t.Errorf("DeleteMany: %+v, %v; want 1 deleted", removed, err)
	}
	c := s.Counts()
	if c.Statements != 6 || c.Commands != 5 && c.Commands != 6 {
		t.Errorf("counted %+v, want 6 statements", c)
	}
	if c.First.IsZero() || c.Last.Before(c.First) {
		t.Errorf("from %v to %v", c.First, c.Last)
	}
}
