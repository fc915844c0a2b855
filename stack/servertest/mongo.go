package servertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// mongoURIEnv is the URI of a server for tests to use instead of starting one, as the lab's
// --mongo-uri.
const mongoURIEnv = "CDCLAB_MONGO_URI"

// given is the kind of a server given by its URI.
const given = "given"

// Mongo is a MongoDB, or a stand-in, of this machine.
type Mongo struct {
	// Kind is "given" or the program's, such as programs.Mongod.
	Kind    string
	program programs.MongoProgram

	once   sync.Once
	folder *process.Folder
	uri    string
	err    error

	mu sync.Mutex
	// lacks holds, by need, why the server does not meet the need; nil is a need met.
	lacks map[string]error
}

var findMongos = sync.OnceValues(func() ([]*Mongo, error) {
	if uri := os.Getenv(mongoURIEnv); uri != "" {
		return []*Mongo{{Kind: given, uri: uri}}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), installLimit)
	defer cancel()
	cache, err := programs.CacheDir("")
	if err != nil {
		return nil, err
	}
	found, err := programs.FindMongos(ctx, cache, func(string) {})
	var all []*Mongo
	for _, program := range found {
		all = append(all, &Mongo{Kind: program.Kind, program: program})
	}
	return all, err
})

// Mongos lists the servers of this machine, the best first.
func Mongos(t testing.TB) []*Mongo {
	t.Helper()
	all, err := findMongos()
	if err != nil {
		expect.Lacking(t, "MongoDB's protocol", err)
	}
	return all
}

// MongoURI returns the address of the first server that meets all needs. All tests of the test
// binary share the server.
func MongoURI(t testing.TB, needs ...Need) string {
	t.Helper()
	return first(t, needs).URI(t)
}

// OwnMongo starts a server of the test's own, of a program that meets all needs.
func OwnMongo(t testing.TB, o mongodb.Options, needs ...Need) *mongodb.Server {
	t.Helper()
	return first(t, append([]Need{Startable}, needs...)).Own(t, o)
}

// first returns the best server that meets all needs; the test is skipped where there is none.
func first(t testing.TB, needs []Need) *Mongo {
	t.Helper()
	var missing []string
	var why []error
	for _, m := range Mongos(t) {
		var lacks []string
		for _, need := range needs {
			if err := m.lacking(t, need); err != nil {
				lacks = append(lacks, need.What)
				why = append(why, fmt.Errorf("%s: %w", m.Kind, err))
			}
		}
		if len(lacks) == 0 {
			return m
		}
		if missing == nil || len(lacks) < len(missing) {
			missing = lacks
		}
	}
	expect.Lacking(t, strings.Join(missing, " and "), errors.Join(why...))
	return nil
}

// URI starts the server when a test first asks for it.
func (m *Mongo) URI(t testing.TB) string {
	t.Helper()
	m.once.Do(func() {
		if m.Kind == given {
			return
		}
		if m.folder, m.err = newFolder(); m.err != nil {
			return
		}
		s, err := mongodb.New(m.folder, m.program, mongodb.Options{Flags: m.flags()})
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), startLimit)
			defer cancel()
			m.uri, err = s.URI(), s.Start(ctx)
		}
		if err != nil {
			m.err = errors.Join(err, m.folder.Close(false))
		}
	})
	if m.err != nil {
		t.Fatal(m.err)
	}
	return m.uri
}

// Own starts another server of the kind, which ends with the test.
func (m *Mongo) Own(t testing.TB, o mongodb.Options) *mongodb.Server {
	t.Helper()
	o.Flags = append(m.flags(), o.Flags...)
	s, err := mongodb.New(Folder(t), m.program, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

// flags make a server small: secantusd-rs takes all of a log file at once.
func (m *Mongo) flags() []string {
	if m.Kind == programs.SecantusRS {
		return []string{"--log-file-max", "8MB"}
	}
	return nil
}

// lacking asks the server, once, whether the server meets the need.
func (m *Mongo) lacking(t testing.TB, need Need) error {
	t.Helper()
	if need.What == Startable.What {
		if m.Kind == given {
			return errors.New("it was there before the test")
		}
		return nil
	}
	uri := m.URI(t)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err, asked := m.lacks[need.What]; asked {
		return err
	}
	database := MongoClient(t, uri).Database(MongoDatabase(t))
	defer database.Drop(context.Background())
	if m.lacks == nil {
		m.lacks = map[string]error{}
	}
	m.lacks[need.What] = need.ask(expect.Context(t), database)
	return m.lacks[need.What]
}

var mongoDatabases atomic.Int64

// MongoDatabase returns the name of a database used by no other test.
func MongoDatabase(t testing.TB) string {
	name := strings.NewReplacer("/", "_", " ", "_", ".", "_", "-", "_", "$", "_").Replace(t.Name())
	return fmt.Sprintf("%.40s_%d", name, mongoDatabases.Add(1))
}

// MongoClient makes a client that ends with the test.
func MongoClient(t testing.TB, uri string) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri).
		SetServerSelectionTimeout(expect.Patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The server may be gone, and a driver unable to say good-bye waits for all of Patience.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = client.Disconnect(ctx)
	})
	return client
}
