package experiments

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// TestExternalIsLeftAsItWas: whatever a run on somebody's pipeline came to, its rows and its collection
// are gone afterwards.
func TestExternalIsLeftAsItWas(t *testing.T) {
	if testing.Short() {
		t.Skip("brings a stack up and runs k6; left out by -short")
	}
	held := begin(t, smoke(t, 10, time.Second))
	for name, test := range map[string]func(*testing.T, Config){
		"selftest":             selftestOnExternal,
		"interrupted floor":    interruptedFloor,
		"ledgers that lack":    ledgersThatLack,
		"an empty ledger":      emptyLedger,
		"somebody else's rows": somebodysRows,
	} {
		t.Run(name, func(t *testing.T) {
			e := held.stack.Endpoints()
			c := smoke(t, 10, time.Second)
			c.Programs = held.config.Programs
			c.Stack.Kind, c.Stack.MongoURI = stack.External, e.MongoURI
			c.Stack.External = stack.Endpoint{PostgresDSN: e.PostgresDSN, WriteTo: "127.0.0.1/lab",
				KafkaBrokers: e.KafkaBrokers, MongoDatabase: e.MongoDatabase}
			collection := selftestIn(t, e)
			if _, err := collection.InsertOne(t.Context(), bson.M{"left": true}); err != nil {
				t.Fatal(err)
			}
			test(t, c)
			names, err := collection.Database().ListCollectionNames(t.Context(), bson.M{"name": selftestCollection})
			if err != nil || len(names) > 0 {
				t.Errorf("collection %v is left (%v)", names, err)
			}
			sqlExec(t, e.PostgresDSN, `TRUNCATE customer CASCADE`)
		})
	}
}

func selftestIn(t *testing.T, e stack.Endpoints) *mongo.Collection {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(e.MongoURI))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Disconnect(context.Background()) })
	return client.Database(e.MongoDatabase).Collection(selftestCollection)
}

func selftestOnExternal(t *testing.T, c Config) {
	c.FloorRates = []int{20}
	floor, err := Floor(t.Context(), c)
	if err != nil || len(floor.AtRates) != 1 || floor.AtRates[0].Writes != 100 || floor.Writes != int64(c.FloorWrites) {
		t.Errorf("%+v, %v, want %d writes and 100 at a rate", floor, err, c.FloorWrites)
	}
}

// interruptedFloor: the selftest writes no row, so what another lab's generator makes meanwhile stays.
func interruptedFloor(t *testing.T, c Config) {
	another := makeCustomer(t, c.Stack.External.PostgresDSN, "", time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Say = func(line string) {
		if strings.Contains(line, "measuring the floor") {
			cancel()
		}
	}
	result, err := Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if run := result.Run; !run.TestRun.Partial || run.Verdict.Status != reports.Unknown {
		t.Errorf("partial %v, verdict %s: want a partial run that is unknown", run.TestRun.Partial, run.Verdict.Status)
	}
	if _, err := reports.Load(filepath.Join(c.Out, "run.json")); err != nil {
		t.Error(err)
	}
	wantCustomers(t, c.Stack.External.PostgresDSN, another)
}

// ledgersThatLack: one has no end, one names a row, the run's own was never begun.
func ledgersThatLack(t *testing.T, c Config) {
	s := begin(t, c)
	dsn := s.stack.Endpoints().PostgresDSN
	makeCustomer(t, dsn, "", time.Now())
	named, kept := makeCustomer(t, dsn, "named@example.com", time.Now()), makeCustomer(t, dsn, "kept@example.com", time.Now())
	leaveLedger(t, filepath.Join(c.Out, "probe-1"), named, true)
	leaveLedger(t, filepath.Join(c.Out, "ramp"), named, false)
	if err := s.down(t.Context()); err != nil {
		t.Error(err)
	}
	wantCustomers(t, dsn, kept)
}

// emptyLedger: a generator that was killed before it wrote anything away made rows since the run began,
// not since 1970.
func emptyLedger(t *testing.T, c Config) {
	s := begin(t, c)
	dsn := s.stack.Endpoints().PostgresDSN
	makeCustomer(t, dsn, "", time.Now())
	earlier := makeCustomer(t, dsn, "", time.Now().Add(-time.Hour))
	writeFile(t, s.k6.ledgerPath(), "")
	if err := s.down(t.Context()); err != nil {
		t.Error(err)
	}
	wantCustomers(t, dsn, earlier)
}

// somebodysRows: what one ledger names cannot be deleted, which is told; the rest is.
func somebodysRows(t *testing.T, c Config) {
	s := begin(t, c)
	dsn := s.stack.Endpoints().PostgresDSN
	used, other := makeCustomer(t, dsn, "used@example.com", time.Now()), makeCustomer(t, dsn, "other@example.com", time.Now())
	sqlExec(t, dsn, `INSERT INTO "order" (id, customer_id, status, total_amount) VALUES (gen_random_uuid(), $1, 'new', 1)`, used)
	leaveLedger(t, filepath.Join(c.Out, "probe-1"), used, true)
	leaveLedger(t, filepath.Join(c.Out, "probe-2"), other, true)
	if err := s.down(t.Context()); err == nil || !strings.Contains(err.Error(), "clean up customer") {
		t.Errorf("%v, want that a customer stays", err)
	}
	wantCustomers(t, dsn, used)
}

// leaveLedger stores a ledger with one insert, with its end or without.
func leaveLedger(t *testing.T, folder, customer string, whole bool) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := ledger.Create(filepath.Join(folder, "ledger.jsonl"), ledger.Header{StartUnixNs: time.Now().UnixNano()})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Append(&ledger.Write{ID: 1, Entity: "customer", Op: ledger.Insert, Key: customer, Fate: ledger.Acked})
	end := w.Break
	if whole {
		end = func() error { return w.Close(ledger.End{}) }
	}
	if err := errors.Join(err, end()); err != nil {
		t.Fatal(err)
	}
}

// makeCustomer stores one with that email, or for "" with the generator's.
func makeCustomer(t *testing.T, dsn, email string, updated time.Time) (id string) {
	t.Helper()
	withSQL(t, dsn, func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), `INSERT INTO customer (id, email, status, updated_at) SELECT id,
			coalesce(nullif($1, ''), 'user-' || id || '@example.com'), 'active', $2 FROM (SELECT gen_random_uuid() AS id)
			RETURNING id::text`, email, updated).Scan(&id)
	})
	return id
}

func wantCustomers(t *testing.T, dsn string, want ...string) {
	t.Helper()
	var left []string
	withSQL(t, dsn, func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), `SELECT array_agg(id::text) FROM customer`).Scan(&left)
	})
	if fmt.Sprint(left) != fmt.Sprint(want) {
		t.Errorf("customers %v are left, want %v", left, want)
	}
}

func sqlExec(t *testing.T, dsn, query string, arguments ...any) {
	t.Helper()
	withSQL(t, dsn, func(conn *pgx.Conn) error {
		_, err := conn.Exec(t.Context(), query, arguments...)
		return err
	})
}

func withSQL(t *testing.T, dsn string, use func(*pgx.Conn) error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := use(conn); err != nil {
		t.Fatal(err)
	}
}
