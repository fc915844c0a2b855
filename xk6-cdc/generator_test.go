package cdc

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/types"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// changes makes PostgreSQL keep every change of a row, like a log.
const changes = `
	CREATE TABLE change (` +
	`number bigserial PRIMARY KEY, key text, version bigint, deleted bool, ` +
	`collection text, parent text);
	CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE r jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
	BEGIN
		INSERT INTO change (key, version, deleted, collection, parent) VALUES (
			r->>'id', (r->>'lab_version')::bigint, ` +
	`TG_OP = 'DELETE', TG_ARGV[0], coalesce(r->>'order_id', ''));
		RETURN NULL;
	END $$;
	CREATE TRIGGER c AFTER INSERT OR UPDATE OR DELETE ON customer ` +
	`FOR EACH ROW EXECUTE FUNCTION changed('customers');
	CREATE TRIGGER c AFTER INSERT OR UPDATE OR DELETE ON address ` +
	`FOR EACH ROW EXECUTE FUNCTION changed('addresses');
	CREATE TRIGGER c AFTER INSERT OR UPDATE OR DELETE ON "order" ` +
	`FOR EACH ROW EXECUTE FUNCTION changed('orders');
	CREATE TRIGGER c AFTER INSERT OR UPDATE OR DELETE ON order_item ` +
	`FOR EACH ROW EXECUTE FUNCTION changed('orders')`

// copier is the simplest pipeline: the copier writes the changes as the consumer would.
type copier struct {
	source *pgx.Conn
	target *mongo.Database
}

type change struct {
	Number             int64
	Key                string
	Version            int64
	Deleted            bool
	Collection, Parent string
}

func (c *copier) run(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		rows, _ := c.source.Query(ctx, `DELETE FROM change RETURNING *`)
		batch, err := pgx.CollectRows(rows, pgx.RowToStructByPos[change])
		if err != nil {
			return err
		}
		slices.SortFunc(batch, func(a, b change) int { return cmp.Compare(a.Number, b.Number) })
		for _, one := range batch {
			if err := c.write(ctx, one); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *copier) write(ctx context.Context, one change) error {
	id, members := one.Key, bson.D{{Key: tracker.VersionMember, Value: one.Version}}
	if one.Deleted {
		members = bson.D{{Key: tracker.MetadataMember,
			Value: bson.D{{Key: "deleted", Value: true}}}}
	}
	if one.Parent != "" {
		id, members = one.Parent, bson.D{{Key: "items." + one.Key, Value: members}}
	}
	_, err := c.target.Collection(one.Collection).UpdateByID(ctx, id,
		bson.D{{Key: "$set", Value: members}},
		options.UpdateOne().SetUpsert(true))
	return err
}

func startCopier(t testing.TB, from *servertest.Postgres, to *servertest.Mongo, name string) {
	t.Helper()
	from.Run(t, changes)
	copyChanges(t, from, to, name)
}

// copyChanges begins to copy the changes kept by the triggers.
func copyChanges(t testing.TB, from *servertest.Postgres, to *servertest.Mongo, name string) {
	t.Helper()
	source, err := pgx.Connect(t.Context(), from.DSN())
	if err != nil {
		t.Fatal(err)
	}
	c := &copier{source: source, target: to.Client(t).Database(name)}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		source.Close(context.Background())
	})
}

// The whole way: start, write, drain, and the ledger accounts for every write.
func TestGeneratorFromStartToDrain(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	g, _ := generatorOn(t, target, func(o *Options) {
		o.Postgres, o.SeedRows, o.Mix = source.DSN(), 40,
			tables.Mix{Insert: 40, Update: 40, Delete: 20}
		o.Status = o.Ledger + ".status"
	})
	startCopier(t, source, target, g.options.Database)
	if err := g.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	if status := g.status(); status.Visible != 40 || status.P95Ns != 0 {
		t.Errorf("%+v: the seed rows were all at once, and say nothing of the load", status)
	}
	const writes = 400
	for range writes {
		now := g.now()
		if err := g.enqueue(request{scenario: "load", mix: g.options.Mix, intendedNs: now,
			enqueuedNs: now, Part: tables.Part{Table: tables.Any}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	_, lines, end := readLedger(t, g)
	seeds, operations := 0, map[ledger.Op]int{}
	for _, w := range lines {
		if w.Scenario == "seed" {
			seeds++
			continue
		}
		operations[w.Op]++
		if w.Fate != ledger.Acked || w.VisibleNs == 0 || w.SentNs < w.EnqueuedNs ||
			w.CommittedNs < w.SentNs {
			t.Errorf("%+v", w)
		}
	}
	if seeds != 40 || len(lines) != 40+writes || end.Outstanding != 0 || end.QueueMax < 1 {
		t.Errorf("%d seeds, %d lines, end %+v", seeds, len(lines), end)
	}
	for _, op := range []ledger.Op{ledger.Insert, ledger.Update, ledger.Delete} {
		if operations[op] < writes/20 {
			t.Errorf("%d of %d writes are %ss", operations[op], writes, op)
		}
	}
	if status := g.status(); status.Visible != int64(40+writes) || status.Acked != status.Visible ||
		status.Outstanding != 0 ||
		status.P95Ns <= 0 || status.P95Ns > time.Minute.Nanoseconds() {
		t.Errorf("status %+v", status)
	}
	if stored, err := ledger.ReadStatus(g.options.Status); err != nil || stored.Acked == 0 {
		t.Errorf("stored status %+v, %v", stored, err)
	}
	if err := g.enqueue(request{}); err == nil || !strings.Contains(err.Error(), "drained") {
		t.Errorf("a write after the drain: %v", err)
	}
}

func TestStartWithoutAPipeline(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	g, _ := generatorOn(t, target, func(o *Options) {
		o.Postgres, o.SeedRows, o.Timeout = source.DSN(), 10, types.Duration(300*time.Millisecond)
	})
	err := g.Start(t.Context(), &lib.Options{})
	if err == nil || !strings.Contains(err.Error(), "none of the 10 seed rows") {
		t.Errorf("got %v", err)
	}
	if _, _, err := ledger.Read(g.options.Ledger, func(ledger.Write) error {
		return nil
	}); !errors.Is(err, ledger.ErrTruncated) {
		t.Errorf("the ledger of a lab that did not start: %v", err)
	}
}

func TestStartWithoutTables(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	source.Run(t, `DROP TABLE order_item`)
	g, _ := generatorOn(t, target, func(o *Options) { o.Postgres = source.DSN() })
	err := g.Start(t.Context(), &lib.Options{})
	if err == nil || !strings.Contains(err.Error(),
		`insert into order_item: ERROR: relation "public.order_item" does not exist`) {
		t.Errorf("got %v", err)
	}
}

// Writes outstanding when the time is over stand in the ledger as known: acked and not seen, or
// never sent.
func TestDrainGivesUp(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	g, _ := generatorOn(t, target, func(o *Options) {
		o.Postgres, o.SeedRows, o.Workers = source.DSN(), 0, 1
	})
	if err := g.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	source.Run(t, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN IF NEW.email = 'slow' THEN PERFORM pg_sleep(4); END IF; RETURN NEW; END $$;
		CREATE TRIGGER slow BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION slow()`)
	for _, email := range []string{"quick", "slow", "waiting"} {
		if err := g.enqueue(request{scenario: "load", intendedNs: g.now(),
			Part: tables.Part{Table: tables.Customer, Op: ledger.Insert,
				Fields: map[string]any{"email": email}}}); err != nil {
			t.Fatal(err)
		}
	}
	g.await(t.Context(), 10*time.Second, func() bool { return g.tracker.Counts().Acked == 1 })
	if err := g.Drain(t.Context(), 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	_, lines, end := readLedger(t, g)
	fates := map[int64]ledger.Write{}
	for _, w := range lines {
		fates[w.ID] = w
	}
	if len(lines) != 3 || fates[1].Fate != ledger.Acked || fates[1].VisibleNs != 0 ||
		end.Outstanding != 1 ||
		fates[2].Fate != ledger.Indeterminate || fates[3].Fate != ledger.Failed ||
		fates[3].SentNs != 0 {
		t.Errorf("end %+v\n%+v", end, lines)
	}
}

func TestDrainInterrupted(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	g, _ := generatorOn(t, target, func(o *Options) { o.Postgres, o.SeedRows = source.DSN(), 0 })
	if err := g.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := g.enqueue(request{scenario: "load",
		Part: tables.Part{Table: tables.Customer, Op: ledger.Insert}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := g.Drain(ctx, time.Minute); err == nil ||
		!strings.Contains(err.Error(), "teardownTimeout") {
		t.Errorf("got %v", err)
	}
	if _, _, err := ledger.Read(g.options.Ledger, func(ledger.Write) error {
		return nil
	}); !errors.Is(err, ledger.ErrTruncated) {
		t.Errorf("the ledger of an interrupted drain: %v", err)
	}
}
