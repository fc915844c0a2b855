package consumertest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack/servertest"
)

// checks is how many histories each property is tried on; -rapid.checks asks for more.
const checks = "500"

// Main runs the tests of a package, each property on some hundred histories.
func Main(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		flag.Set("rapid.checks", checks)
	}
	os.Exit(m.Run())
}

// Database is a new database on a server, read by the driver alone.
type Database struct {
	URI, Name string
	*mongo.Database
}

// OpenDatabase returns a new database on a server with all needs; the end of the test drops the
// database.
func OpenDatabase(t *testing.T, needs ...servertest.Need) *Database {
	t.Helper()
	uri, name := servertest.MongoURI(t, needs...), servertest.MongoDatabase(t)
	d := &Database{uri, name, servertest.MongoClient(t, uri).Database(name)}
	t.Cleanup(func() { d.Drop(context.Background()) })
	return d
}

// Read returns nil for a missing document.
func (d *Database) Read(collection, id string) bson.M {
	raw, err := d.Collection(collection).FindOne(context.Background(),
		bson.D{{Key: "_id", Value: id}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil
	}
	if err != nil {
		panic(err)
	}
	return DecodeDocument(raw)
}

// All returns the documents of some collections, by collection/_id.
func (d *Database) All(t *testing.T, collections ...string) map[string]bson.M {
	t.Helper()
	all := map[string]bson.M{}
	for _, collection := range collections {
		cursor, err := d.Collection(collection).Find(context.Background(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for cursor.Next(context.Background()) {
			document := DecodeDocument(cursor.Current)
			all[fmt.Sprint(collection, "/", document["_id"])] = document
		}
	}
	return all
}

// DecodeDocument gives nested documents as bson.M, too.
func DecodeDocument(raw bson.Raw) bson.M {
	decoder := bson.NewDecoder(bson.NewDocumentReader(bytes.NewReader(raw)))
	decoder.DefaultDocumentM()
	var document bson.M
	if err := decoder.Decode(&document); err != nil {
		panic(err)
	}
	return document
}

// finder is the side of a store for ReadDocument.
type finder interface {
	Find(ctx context.Context, collection string, ids []string,
		members ...string) (map[string]bson.Raw, error)
}

// ReadDocument returns nil for a missing document.
func ReadDocument(s finder, collection, id string) bson.M {
	found, err := s.Find(context.Background(), collection, []string{id})
	if err != nil {
		panic(err)
	}
	if found[id] == nil {
		return nil
	}
	return DecodeDocument(found[id])
}

// State is a document, reduced to the deciding part of cdcMetadata.
func State(t testing.TB, s finder, collection, id string) bson.M {
	t.Helper()
	found, err := s.Find(context.Background(), collection, []string{id})
	if err != nil {
		t.Fatal(err)
	}
	raw, there := found[id]
	if !there {
		return nil
	}
	document := DecodeDocument(raw)
	delete(document, "cdcEmbedded")
	about(document)
	if items, is := document["items"].(bson.M); is {
		for _, item := range items {
			about(item.(bson.M))
		}
	}
	return document
}

// about reduces a row's cdcMetadata to the mark "ended" or "shell".
func about(row bson.M) {
	own, _ := row["cdcMetadata"].(bson.M)
	delete(row, "cdcMetadata")
	if own["deleted"] == true && own["deletedAt"] != nil {
		row["ended"] = true
	}
	if own["shell"] == true && own["position"] == "" {
		row["shell"] = true
	}
}
