package experiments

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// TestExternalIsLeftAsItWas: after any run on somebody's pipeline, the run's rows and documents are
// gone, and everything without the run's marker is there.
func TestExternalIsLeftAsItWas(t *testing.T) {
	if testing.Short() {
		t.Skip("brings a stack up and runs k6; left out by -short")
	}
	held := begin(t, smoke(t, 10, time.Second))
	for name, test := range map[string]func(*testing.T, Config){
		"selftest":             selftestOnExternal,
		"interrupted floor":    interruptedFloor,
		"marked rows":          markedRows,
		"somebody else's rows": somebodysRows,
		"another schema":       anotherSchema,
		"no topics":            noTopics,
		"somebody's topics":    somebodysTopics,
	} {
		t.Run(name, func(t *testing.T) {
			e, c := held.stack.Endpoints(), onExternal(t, held)
			collection := selftestIn(t, e)
			another := ledger.NewMarker().Key(1, 2) // of a run at the same time
			for _, theirs := range []bson.M{{"theirs": true}, {"_id": another}} {
				if _, err := collection.InsertOne(t.Context(), theirs); err != nil {
					t.Fatal(err)
				}
			}
			test(t, c)
			left, err := collection.CountDocuments(t.Context(), bson.M{})
			if err != nil || left != 2 {
				t.Errorf("%d documents are left (%v), want the 2 of others", left, err)
			}
			if err := collection.Drop(t.Context()); err != nil {
				t.Error(err)
			}
			sqlExec(t, e.PostgresDSN, `TRUNCATE customer CASCADE`)
		})
	}
}

// onExternal is a short run on the stack of a load, as on somebody's pipeline.
func onExternal(t *testing.T, held *load) Config {
	t.Helper()
	e, c := held.stack.Endpoints(), smoke(t, 10, time.Second)
	c.Programs = held.config.Programs
	c.Stack.Kind, c.Stack.MongoURI = stack.External, e.MongoURI
	c.Stack.External = externalOf(e)
	return c
}

// externalOf names the parts of a stack again, as a person would name the parts of a pipeline.
func externalOf(e stack.Endpoints) stack.Endpoint {
	_, host, _ := strings.Cut(e.MongoURI, "@")
	return stack.Endpoint{
		PostgresDSN: e.PostgresDSN, WriteTo: "127.0.0.1/lab",
		KafkaBrokers: e.KafkaBrokers, KafkaOptions: e.KafkaLogin.Options(),
		MongoDatabase: e.MongoDatabase,
		WriteToMongo:  host[:strings.IndexByte(host, '/')] + "/" + e.MongoDatabase,
	}
}

func selftestIn(t *testing.T, e stack.Endpoints) *mongo.Collection {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(e.MongoURI))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Disconnect(context.Background()) })
	return client.Database(e.MongoDatabase).Collection(ledger.SelftestCollection)
}

func selftestOnExternal(t *testing.T, c Config) {
	c.FloorRates, c.Rate, c.Duration, c.Warmup = []int{20}, nil, nil, nil
	floor, err := Floor(t.Context(), c)
	if err != nil || len(floor.AtRates) != 1 || floor.AtRates[0].Writes != 100 ||
		floor.Writes != int64(c.FloorWrites) {
		t.Errorf("%+v, %v, want %d writes and 100 at a rate", floor, err, c.FloorWrites)
	}
}

// interruptedFloor: another lab's rows made meanwhile stay, because the selftest writes no row.
func interruptedFloor(t *testing.T, c Config) {
	another := makeCustomer(t, c.Stack.External.PostgresDSN, ledger.NewMarker())
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
		t.Errorf("partial %v, verdict %s: want a partial run that is unknown", run.TestRun.Partial,
			run.Verdict.Status)
	}
	if _, err := reports.Load(filepath.Join(c.Out, "run.json")); err != nil {
		t.Error(err)
	}
	wantCustomers(t, c.Stack.External.PostgresDSN, another)
}

// markedRows: the rows of a run go by the marker in their keys, whatever the ledgers say. Rows of
// others stay, also a row named by a ledger, and a row of a run at the same time.
func markedRows(t *testing.T, c Config) {
	l := begin(t, c)
	dsn := l.stack.Endpoints().PostgresDSN
	first, _ := l.marker.Bounds()
	sqlExec(t, dsn, `INSERT INTO customer (id, email, status)`+
		` SELECT ($1 || lpad(n::text, 12, '0'))::uuid, n || '@example.com', 'active'`+
		` FROM generate_series(1, $2) n`, first[:len(first)-12], cleanUpChunk+1)
	parent := makeCustomer(t, dsn, l.marker)
	order := l.marker.Key(1, 1)
	sqlExec(t, dsn, `INSERT INTO "order" (id, customer_id, status, total_amount)`+
		` VALUES ($1, $2, 'new', 1)`, order, parent)
	sqlExec(t, dsn, `INSERT INTO order_item (id, order_id, product_sku, product_name, quantity, `+
		`unit_price, line_total) VALUES ($1, $2, 'a', 'b', 1, 1, 1)`, l.marker.Key(1, 2), order)
	sqlExec(t, dsn, `INSERT INTO address (id, customer_id, type) VALUES ($1, $2, 'billing')`,
		l.marker.Key(1, 3), parent)
	kept := makeCustomer(t, dsn, ledger.NewMarker())
	leaveLedger(t, filepath.Join(c.Out, "probe-1"), kept, true)
	leaveLedger(t, filepath.Join(c.Out, "ramp"), kept, false)
	writeFile(t, l.k6.ledgerPath(), "")
	if err := l.down(t.Context()); err != nil {
		t.Error(err)
	}
	wantCustomers(t, dsn, kept)
}

// anotherSchema: behind a ledger without an end, the database and the role lead to tables of the
// same names, which have rows with the run's marker. Only the named schema is cleaned up.
func anotherSchema(t *testing.T, c Config) {
	l := begin(t, c)
	dsn := l.stack.Endpoints().PostgresDSN
	marked, kept := makeCustomer(t, dsn, l.marker), makeCustomer(t, dsn, ledger.NewMarker())
	for _, statement := range []string{`CREATE SCHEMA other`,
		`CREATE TABLE other.customer (LIKE public.customer INCLUDING ALL)`,
		`CREATE TABLE other."order" (LIKE public."order" INCLUDING ALL)`,
		`INSERT INTO other.customer SELECT * FROM public.customer`,
		`ALTER DATABASE lab SET search_path = other, public`,
		`ALTER ROLE CURRENT_USER SET search_path = other, public`,
		`ALTER ROLE CURRENT_USER IN DATABASE lab SET search_path = other, public`} {
		sqlExec(t, dsn, statement)
	}
	writeFile(t, l.k6.ledgerPath(), "")
	if err := l.down(t.Context()); err != nil {
		t.Error(err)
	}
	wantCustomers(t, dsn, marked, kept) // the settings lead the test to the other schema, too
	for _, statement := range []string{`ALTER DATABASE lab RESET search_path`,
		`ALTER ROLE CURRENT_USER IN DATABASE lab RESET search_path`,
		`ALTER ROLE CURRENT_USER RESET search_path`, `DROP SCHEMA other CASCADE`} {
		sqlExec(t, dsn, statement)
	}
	wantCustomers(t, dsn, kept)
}

// somebodysRows: the row that another's row refers to is told; all other rows are deleted.
func somebodysRows(t *testing.T, c Config) {
	l := begin(t, c)
	dsn := l.stack.Endpoints().PostgresDSN
	used := makeCustomer(t, dsn, l.marker)
	makeCustomer(t, dsn, l.marker)
	sqlExec(t, dsn, `INSERT INTO "order" (id, customer_id, status, total_amount)`+
		` VALUES (gen_random_uuid(), $1, 'new', 1)`, used)
	if err := l.down(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "clean up public.customer: 1 rows stay") {
		t.Errorf("%v, want that a customer stays", err)
	}
	wantCustomers(t, dsn, used)
}

// leaveLedger stores a ledger with one insert, and an end if whole.
func leaveLedger(t *testing.T, folder, customer string, whole bool) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := ledger.Create(filepath.Join(folder, "ledger.jsonl"),
		ledger.Header{StartUnixNs: time.Now().UnixNano()})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Append(&ledger.Write{ID: 1, Entity: "customer", Op: ledger.Insert, Key: customer,
		Fate: ledger.Acked})
	end := w.Break
	if whole {
		end = func() error { return w.Close(ledger.End{}) }
	}
	if err := errors.Join(err, end()); err != nil {
		t.Fatal(err)
	}
}

// makeCustomer stores a customer as a generator with the marker does.
func makeCustomer(t *testing.T, dsn string, marker ledger.Marker) (id string) {
	t.Helper()
	id = marker.Key(rand.Uint64(), rand.Uint64())
	sqlExec(t, dsn, `INSERT INTO customer (id, email, status) VALUES ($1, $2, 'active')`, id,
		"user-"+id+"@example.com")
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

// noTopics: a wrong topic prefix leaves nothing to read, which is neither drained nor a loss.
func noTopics(t *testing.T, c Config) {
	c.Stack.External.TopicPrefix = "nobody"
	wantUndrained(t, c, "Kafka has none like ^nobody")
}

// somebodysTopics: the topics of a pipeline that rests have no lag, and nothing of the load.
func somebodysTopics(t *testing.T, c Config) {
	client, err := kgo.NewClient(append(slices.Clone(c.Stack.External.KafkaOptions),
		kgo.SeedBrokers(c.Stack.External.KafkaBrokers...))...)
	if err != nil {
		t.Fatal(err)
	}
	admin := kadm.NewClient(client)
	defer admin.Close()
	topic := "other.public.customer"
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	c.Stack.External.TopicPrefix = "other"
	wantUndrained(t, c, "Kafka got no record of the load in the topics ^other")
}

func wantUndrained(t *testing.T, c Config, says string) {
	t.Helper()
	c.DrainTimeout = 3 * time.Second
	result, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	run := result.Run
	reasons := strings.Join(run.Verdict.Reasons, "\n")
	if run.Verdict.Status != reports.Unknown || !strings.Contains(reasons, says) ||
		!strings.Contains(reasons, "had not drained") || run.Provenance.Tmpfs {
		t.Errorf("%+v, on tmpfs %t, want unknown: %q", run.Verdict, run.Provenance.Tmpfs, says)
	}
	if run.Lab.Beats == 0 {
		t.Error("nobody watched whether the lab itself was stopped")
	}
}
