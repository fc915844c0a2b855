// Package servertest starts the lab's PostgreSQL and MongoDB for the tests of the extension. The
// servers are the ones of stack/servertest, with the calls made by these tests. Start reading at
// StartPostgres and StartMongo.
package servertest

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// Mongo is a MongoDB of the test's own.
type Mongo struct{ *mongodb.Server }

// StartMongo starts a server with change streams; flags are further flags of the program.
func StartMongo(t testing.TB, flags ...string) *Mongo {
	t.Helper()
	return &Mongo{servertest.OwnMongo(t, mongodb.Options{Flags: flags}, servertest.ChangeStreams)}
}

// Start starts the server after Kill, and returns when the server takes writes.
func (s *Mongo) Start(t testing.TB) {
	t.Helper()
	if err := s.Server.Start(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
}

// Client connects to the server until the test ends.
func (s *Mongo) Client(t testing.TB) *mongo.Client {
	t.Helper()
	return servertest.MongoClient(t, s.URI())
}

// Postgres is a PostgreSQL of the test's own, with the lab's tables.
type Postgres struct{ *postgres.Server }

// StartPostgres starts a server that syncs nothing.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	return &Postgres{servertest.Postgres(t, "fsync = off")}
}

// Start starts the server after Kill, and returns when the server answers.
func (d *Postgres) Start(t testing.TB) {
	t.Helper()
	if err := d.Server.Start(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
}

// Run executes SQL on a new connection.
func (d *Postgres) Run(t testing.TB, sql string) {
	t.Helper()
	servertest.Exec(t, d.DSN(), sql)
}

// Scan puts the only row found by a query into the variables.
func (d *Postgres) Scan(t testing.TB, sql string, into ...any) {
	t.Helper()
	connection := servertest.Connect(t, d.DSN())
	if err := connection.QueryRow(t.Context(), sql).Scan(into...); err != nil {
		t.Fatal(err)
	}
}
