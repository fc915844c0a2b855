package check

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/stack/servertest"
)

// servers are the test's own PostgreSQL and MongoDB.
type servers struct {
	dsn, uri, database string
	postgres           *pgx.Conn
	mongo              *mongo.Database
}

// startServers starts a PostgreSQL with settings that texts must not depend on, and uses any
// MongoDB.
func startServers(t *testing.T) *servers {
	t.Helper()
	if testing.Short() {
		t.Skip("starts PostgreSQL and MongoDB: not with -short")
	}
	p := servertest.Postgres(t, "fsync = off", "timezone = 'Asia/Kolkata'", "datestyle = 'German'")
	uri, name := servertest.MongoURI(t), servertest.MongoDatabase(t)
	s := &servers{dsn: p.DSNOf(servertest.Database(t, p)), uri: uri, database: name,
		mongo: servertest.MongoClient(t, uri).Database(name)}
	s.postgres = servertest.Connect(t, s.dsn)
	t.Cleanup(func() { _ = s.mongo.Drop(context.Background()) })
	return s
}

func (s *servers) exec(t *testing.T, sql string, arguments ...any) {
	t.Helper()
	if _, err := s.postgres.Exec(t.Context(), sql, arguments...); err != nil {
		t.Fatal(err)
	}
}

func (s *servers) replace(t *testing.T, collection string, document bson.M) {
	t.Helper()
	_, err := s.mongo.Collection(collection).ReplaceOne(t.Context(), bson.M{"_id": document["_id"]},
		document,
		options.Replace().SetUpsert(true))
	if err != nil {
		t.Fatal(err)
	}
}

func (s *servers) update(t *testing.T, collection, id string, update bson.M) {
	t.Helper()
	done, err := s.mongo.Collection(collection).UpdateOne(t.Context(), bson.M{"_id": id}, update)
	if err != nil || done.MatchedCount != 1 {
		t.Fatal(done, err)
	}
}
