package servertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Need is something a MongoDB must have for a test. The server is asked for the thing itself,
// because the abilities of a stand-in change with its version.
type Need struct {
	// What completes "no server with ...".
	What string
	// ask is nil where the database has the thing, else holds the answer that came instead.
	ask func(ctx context.Context, database *mongo.Database) error
}

// Needs of tests from a MongoDB.
var (
	// Startable servers can be stopped, killed and started with other flags.
	Startable = Need{What: "a program that a test may end"}
	// LookupView is a view that joins by $lookup.
	LookupView = Need{"a view with $lookup", askLookupView}
	// ChangeableView is a view that takes another pipeline by collMod.
	ChangeableView = Need{"a view that can be changed", askChangeableView}
	// ChangeStreams tell of every change of a database.
	ChangeStreams = Need{"change streams", askChangeStreams}
)

func insertOne(ctx context.Context, database *mongo.Database, collection string,
	document bson.D) error {
	_, err := database.Collection(collection).InsertOne(ctx, document)
	return err
}

// want compares one member, "a" or "a.b", of the only document of a collection or view.
func want(ctx context.Context, database *mongo.Database, name, member, value string) error {
	raw, err := database.Collection(name).FindOne(ctx, bson.D{}).Raw()
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	got, err := raw.LookupErr(strings.Split(member, ".")...)
	if err != nil {
		return fmt.Errorf("%s shows %v, without %s", name, raw, member)
	}
	if text, _ := got.StringValueOK(); text != value {
		return fmt.Errorf("%s shows %v, want %s %q", name, raw, member, value)
	}
	return nil
}

func askLookupView(ctx context.Context, database *mongo.Database) error {
	join := mongo.Pipeline{
		{{Key: "$lookup", Value: bson.D{{Key: "from", Value: "buyers_live"},
			{Key: "localField", Value: "buyer"},
			{Key: "foreignField", Value: "_id"}, {Key: "as", Value: "found"}}}},
		{{Key: "$set", Value: bson.D{{Key: "found",
			Value: bson.D{{Key: "$first", Value: "$found"}}}}}},
	}
	err := errors.Join(
		insertOne(ctx, database, "buyers",
			bson.D{{Key: "_id", Value: "b"}, {Key: "name", Value: "Bo"}}),
		insertOne(ctx, database, "orders",
			bson.D{{Key: "_id", Value: "o"}, {Key: "buyer", Value: "b"}}),
		database.CreateView(ctx, "buyers_live", "buyers",
			mongo.Pipeline{{{Key: "$match", Value: bson.D{}}}}),
		database.CreateView(ctx, "orders_live", "orders",
			mongo.Pipeline{{{Key: "$match", Value: bson.D{}}}}),
		database.CreateView(ctx, "joined", "orders_live", join))
	if err != nil {
		return err
	}
	return want(ctx, database, "joined", "found.name", "Bo")
}

func askChangeableView(ctx context.Context, database *mongo.Database) error {
	show := func(text string) mongo.Pipeline {
		return mongo.Pipeline{{{Key: "$set", Value: bson.D{{Key: "text", Value: text}}}}}
	}
	err := errors.Join(insertOne(ctx, database, "rows", bson.D{{Key: "_id", Value: "r"}}),
		database.CreateView(ctx, "view", "rows", show("before")))
	if err != nil {
		return err
	}
	change := bson.D{{Key: "collMod", Value: "view"}, {Key: "viewOn", Value: "rows"},
		{Key: "pipeline", Value: show("after")}}
	if err := database.RunCommand(ctx, change).Err(); err != nil {
		return err
	}
	return want(ctx, database, "view", "text", "after")
}

func askChangeStreams(ctx context.Context, database *mongo.Database) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, err := database.Watch(ctx, mongo.Pipeline{})
	if err != nil {
		return err
	}
	defer stream.Close(context.WithoutCancel(ctx))
	if err := insertOne(ctx, database, "rows", bson.D{{Key: "_id", Value: "r"}}); err != nil {
		return err
	}
	if !stream.Next(ctx) {
		return errors.Join(errors.New("the stream does not tell of an insert"), stream.Err())
	}
	return nil
}
