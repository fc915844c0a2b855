package faults

import (
	"context"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/servertest"
)

// TestMongoFaults: each fault is proven while it lasts, and leaves nothing behind; what somebody
// else took away is no evidence.
func TestMongoFaults(t *testing.T) {
	t.Parallel()
	uri, database := servertest.MongoURI(t), servertest.MongoDatabase(t)
	client := servertest.MongoClient(t, uri)
	db := client.Database(database)
	for _, name := range []string{"customer", "order"} {
		if _, err := db.Collection(name).InsertOne(t.Context(), bson.D{}); err != nil {
			t.Fatal(err)
		}
	}
	// A view has no index.
	must(t, db.CreateView(t.Context(), "address_live", "customer", mongo.Pipeline{}))
	bind := func(name string, with Values) *Injection {
		kind, ok := Find(name)
		if !ok {
			t.Fatalf("no fault %s", name)
		}
		i := kind.Bind(Site{Target: stack.Mongo, With: with.WithDefaults(kind),
			At: stack.Endpoints{MongoURI: uri, MongoDatabase: database}})
		t.Cleanup(func() { must(t, i.Undo(context.Background())) })
		return i
	}
	indexes := func() (names string) {
		t.Helper()
		for _, name := range []string{"customer", "order"} {
			specs, err := db.Collection(name).Indexes().ListSpecifications(t.Context())
			must(t, err)
			for _, spec := range specs {
				names += " " + spec.Name
			}
		}
		return names
	}

	i := bind("index-builds", nil)
	must(t, i.Inject(t.Context()))
	proven(t, i, "builds, the last of collection", "")
	must(t, i.Undo(t.Context()))
	if names := indexes(); strings.Contains(names, chaosIndex) {
		t.Errorf("left behind:%s", names)
	}
	i = bind("index-builds", nil)
	must(t, i.Inject(t.Context()))
	_, err := i.During(t.Context())
	must(t, err)
	for _, name := range []string{"customer", "order"} {
		must(t, dropIndex(t.Context(), db, name))
	}
	proven(t, i, "", "no collection has the index")
}
