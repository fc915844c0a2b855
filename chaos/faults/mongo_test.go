package faults

import (
	"context"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/mongodb"
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

// electing is the only member of a replica set, as far as stepped-down asks: as mongod, whose
// behaviour jstests/replsets/freeze_timeout.js of MongoDB shows.
type electing struct {
	down, deaf bool
	elections  byte
}

func (e *electing) role(context.Context) (mongodb.Role, error) {
	if e.down {
		return mongodb.Role{Secondary: true}, nil
	}
	return mongodb.Role{Primary: true, Election: bson.ObjectID{0x7f, e.elections}}, nil
}

func (e *electing) run(_ context.Context, command bson.D) error {
	switch command[0].Key {
	case "replSetStepDown":
		e.down = !e.deaf
	case "replSetFreeze":
		if !e.down {
			return mongo.CommandError{Code: notSecondary, Name: "NotSecondary"}
		}
		e.down = false
		e.elections++
	}
	return nil
}

// TestSteppedDown: the primary is a secondary while the fault lasts, and elected at the end; a
// server that takes the command and stays the primary, as stand-ins do, is no evidence.
func TestSteppedDown(t *testing.T) {
	t.Parallel()
	server := &electing{}
	must(t, isElected(stack.Mongo, server))
	i := stepDown(Site{Target: stack.Mongo}, server)
	must(t, i.Inject(t.Context()))
	proven(t, i, "mongo was a secondary", "")
	if err := isElected(stack.Mongo, server); err == nil {
		t.Error("a secondary was taken for the primary")
	}
	server.down = true
	must(t, i.Undo(t.Context()))
	must(t, i.Undo(t.Context()))
	if text, err := i.After(t.Context()); err != nil || !strings.Contains(text, "elected again") {
		t.Errorf("%q, %v", text, err)
	}
	server.deaf = true
	must(t, i.Inject(t.Context()))
	proven(t, i, "", "mongo is no secondary")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.After(over); err == nil || !strings.Contains(err.Error(), "not elected again") {
		t.Errorf("after no election: %v", err)
	}
}

// TestMember: the commands reach a server.
func TestMember(t *testing.T) {
	t.Parallel()
	m := memberAt(servertest.MongoURI(t))
	now, err := m.role(t.Context())
	if err != nil || !now.Primary || now.Secondary || now.Election.IsZero() {
		t.Errorf("%+v, %v", now, err)
	}
	if err := m.run(t.Context(), bson.D{{Key: "cdclab", Value: 1}}); err == nil ||
		!strings.Contains(err.Error(), "cdclab: ") {
		t.Errorf("a command that nobody has: %v", err)
	}
}
