package consumer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// readableStore is a store with a way to look.
type readableStore interface {
	store
	read(collection, id string) bson.M
}

// TestStore runs one suite on every store that can be had.
func TestStore(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		testStore(t, func(*testing.T) readableStore { return newMemoryStore() })
	})
	for _, s := range servers {
		t.Run(s.kind, func(t *testing.T) {
			t.Parallel()
			uri := s.open(t)
			testStore(t, func(t *testing.T) readableStore { return testMongo(t, uri) })
		})
	}
}

// at is a position: one commit for each number.
func at(n int) string { return fmt.Sprintf("%016x%016x", n, 0) }

var testTime = time.Date(2026, 11, 22, 7, 55, 47, 0, time.UTC)

func row(id string, n int, op debezium.Op, fields ...field) write {
	c := change{
		place:  place{collection: "orders", id: id},
		record: &kgo.Record{Topic: "cdc.public.order", Partition: 3, Offset: int64(n)},
		entity: "order", operation: operations[op], deleted: op == debezium.Delete,
		position: at(n), fields: fields, processedAt: testTime, sourceAt: testTime,
	}
	return write{c, []change{c}}
}

func itemRow(order, item string, n int, op debezium.Op, fields ...field) write {
	w := row(order, n, op, fields...)
	w.place = place{"orders", order, "items", item}
	w.from[0].place = w.place
	return w
}

func set(name string, value any) field { return field{name: name, value: value} }

const (
	insert = debezium.Create
	update = debezium.Update
	remove = debezium.Delete
)

// step applies writes in one call and wants, for each, "applied" or "stale".
func step(t *testing.T, s store, want []string, writes ...write) {
	t.Helper()
	var got []string
	for _, o := range s.apply(context.Background(), writes) {
		switch {
		case o.err != nil:
			got = append(got, o.err.Error())
		case o.stale:
			got = append(got, OutcomeStale)
		default:
			got = append(got, OutcomeApplied)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

var (
	applied = []string{OutcomeApplied}
	stale   = []string{OutcomeStale}
)

// without drops what the cases do not speak of.
func without(document bson.M, members ...string) bson.M {
	for _, m := range append(members, "cdcMetadata", "processedAt") {
		delete(document, m)
	}
	for _, value := range document {
		if nested, ok := value.(bson.M); ok {
			without(nested, members...)
		}
	}
	return document
}

func wantDocument(t *testing.T, s readableStore, id string, want bson.M) {
	t.Helper()
	if diff := cmp.Diff(want, without(s.read("orders", id)), decimals); diff != "" {
		t.Errorf("document %s (-want +got):\n%s", id, diff)
	}
}

func testStore(t *testing.T, open func(*testing.T) readableStore) {
	for name, test := range map[string]func(*testing.T, readableStore){
		"guard": testGuard, "metadata": testMetadata, "tombstones": testTombstones,
		"items": testItems, "values": testValues, "mixed bulk": testMixedBulk,
		"racing writers": testRace,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func testGuard(t *testing.T, s readableStore) {
	step(t, s, applied, row("a", 2, insert, set("status", "two")))
	step(t, s, stale, row("a", 2, insert, set("status", "again")))
	step(t, s, stale, row("a", 1, insert, set("status", "one")))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "two"})
	step(t, s, applied, row("a", 3, update, set("status", "three")))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "three"})
}

func testMetadata(t *testing.T, s readableStore) {
	step(t, s, applied, row("a", 2, insert))
	want := bson.M{
		"sourceTimestamp": testTime.UnixMilli(), "operation": "INSERT", "position": at(2),
		"kafkaTopic": "cdc.public.order", "kafkaPartition": int32(3), "kafkaOffset": int64(2),
		"processedAt": bson.NewDateTimeFromTime(testTime),
	}
	if diff := cmp.Diff(want, s.read("orders", "a")["cdcMetadata"]); diff != "" {
		t.Errorf("cdcMetadata (-want +got):\n%s", diff)
	}
}

func testTombstones(t *testing.T, s readableStore) {
	deletedAt := bson.NewDateTimeFromTime(testTime)
	gone := bson.M{"_id": "unseen", "deleted": true, "deletedAt": deletedAt}
	step(t, s, applied, row("unseen", 5, remove))
	wantDocument(t, s, "unseen", gone)
	step(t, s, stale, row("unseen", 4, insert, set("status", "late")))
	wantDocument(t, s, "unseen", gone)

	step(t, s, applied, row("a", 1, insert, set("status", "new")))
	step(t, s, applied, row("a", 2, remove))
	wantDocument(t, s, "a",
		bson.M{"_id": "a", "status": "new", "deleted": true, "deletedAt": deletedAt})
	step(t, s, applied, row("a", 3, insert, set("status", "back")))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "back"})
	step(t, s, stale, row("a", 2, remove))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "back"})
}

func testItems(t *testing.T, s readableStore) {
	item := func(n int, op string, more bson.M) bson.M {
		more["position"], more["operation"] = at(n), op
		return more
	}
	step(t, s, applied, itemRow("o", "i1", 4, insert, set("quantity", int64(1))))
	wantDocument(t, s, "o", bson.M{"_id": "o", "shell": true, "items": bson.M{
		"i1": item(4, "INSERT", bson.M{"quantity": int64(1)})}})
	if meta := s.read("orders", "o")["cdcMetadata"].(bson.M); meta["position"] != "" {
		t.Errorf("a shell has the position %q", meta["position"])
	}

	step(t, s, applied, row("o", 3, insert, set("status", "new")))
	step(t, s, applied, itemRow("o", "i2", 2, insert, set("quantity", int64(2))))
	step(t, s, stale, itemRow("o", "i1", 4, update, set("quantity", int64(9))))
	step(t, s, applied, itemRow("o", "i1", 6, remove))
	step(t, s, stale, itemRow("o", "i1", 5, update, set("quantity", int64(9))))
	wantDocument(t, s, "o", bson.M{"_id": "o", "status": "new", "items": bson.M{
		"i1": item(6, "DELETE", bson.M{"quantity": int64(1), "deleted": true}),
		"i2": item(2, "INSERT", bson.M{"quantity": int64(2)})}})

	step(t, s, applied, itemRow("o", "i1", 7, insert, set("quantity", int64(3))))
	step(t, s, applied, row("o", 8, update, set("status", "paid")))
	wantDocument(t, s, "o", bson.M{"_id": "o", "status": "paid", "items": bson.M{
		"i1": item(7, "INSERT", bson.M{"quantity": int64(3)}),
		"i2": item(2, "INSERT", bson.M{"quantity": int64(2)})}})

	step(t, s, applied, itemRow("p", "i3", 1, remove))
	wantDocument(t, s, "p", bson.M{"_id": "p", "shell": true, "items": bson.M{
		"i3": item(1, "DELETE", bson.M{"deleted": true})}})
}

func testValues(t *testing.T, s readableStore) {
	price, err := bson.ParseDecimal128("12345678901234567890.10")
	if err != nil {
		t.Fatal(err)
	}
	step(t, s, applied, row("a", 1, insert, set("status", "kept"), set("totalAmount", price),
		set("updatedAt", testTime), set("updatedAtExact", "2026-11-22T07:55:47.000001Z"),
		set("note", nil)))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "kept", "totalAmount": price,
		"updatedAt":      bson.NewDateTimeFromTime(testTime),
		"updatedAtExact": "2026-11-22T07:55:47.000001Z", "note": nil})
	// status left out as an unchanged TOASTed value would be; the exact text no longer needed.
	step(t, s, applied, row("a", 2, update, set("totalAmount", price),
		set("updatedAt", testTime), field{name: "updatedAtExact", absent: true}))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "kept", "totalAmount": price,
		"updatedAt": bson.NewDateTimeFromTime(testTime), "note": nil})
}

func testMixedBulk(t *testing.T, s readableStore) {
	step(t, s, applied, row("old", 9, insert, set("status", "newer")))
	step(t, s, []string{OutcomeApplied, OutcomeStale, OutcomeApplied, OutcomeApplied, OutcomeApplied},
		row("a", 1, insert), row("old", 8, update, set("status", "older")), row("b", 1, remove),
		itemRow("c", "i1", 1, insert), itemRow("c", "i2", 1, insert))
	wantDocument(t, s, "old", bson.M{"_id": "old", "status": "newer"})
	if items := s.read("orders", "c")["items"].(bson.M); len(items) != 2 {
		t.Errorf("c has the items %v, want two", items)
	}
}

// testRace: writers that do not know of each other, each with a part of the history in an order of
// its own. Whoever is last, the highest position stays.
func testRace(t *testing.T, s readableStore) {
	const rounds, writers, versions = 5, 4, 12
	for round := range rounds {
		id := fmt.Sprint("race", round)
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				random := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for _, n := range random.Perm(versions) {
					status := set("status", fmt.Sprint(n))
					for _, o := range s.apply(context.Background(), []write{
						row(id, n+1, update, status), itemRow(id, "i", n+1, update, status)}) {
						if o.err != nil {
							t.Errorf("write %d: %v", n, o.err)
						}
					}
				}
			})
		}
		group.Wait()
		last := fmt.Sprint(versions - 1)
		wantDocument(t, s, id, bson.M{"_id": id, "status": last, "items": bson.M{"i": bson.M{
			"status": last, "operation": "UPDATE", "position": at(versions)}}})
	}
}

// TestMongoRefusals: the third meaning of a duplicate key, and documents the server will not have.
func TestMongoRefusals(t *testing.T) {
	t.Parallel()
	m := testMongo(t, anyServer(t))
	ctx := context.Background()
	_, err := m.database.Collection("orders").Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys: bson.D{{Key: "number", Value: 1}},
		Options: options.Index().SetUnique(true).
			SetPartialFilterExpression(bson.D{{Key: "number", Value: bson.D{{Key: "$gt", Value: 0}}}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.database.Collection("orders").InsertOne(ctx,
		bson.D{{Key: "_id", Value: "odd"}, {Key: "items", Value: "not a map"}}); err != nil {
		t.Fatal(err)
	}
	step(t, m, applied, row("a", 1, insert, set("number", 1)))
	step(t, m, applied, row("b", 1, insert, set("number", 2)))
	huge := row("h", 1, insert, set("note", string(make([]byte, documentMaxBytes))))
	outcomes := m.apply(ctx, []write{
		row("c", 1, insert, set("number", 1)), // no such _id: the upsert's insert is refused
		row("b", 2, update, set("number", 1)), // found by its _id: the update is refused
		itemRow("odd", "i", 1, insert),        // the path leads through a text
		huge,
		row("d", 1, insert, set("number", 3)),
	})
	for i, rule := range []string{ruleUnique, ruleUnique, ruleDocument, ruleDocument, ""} {
		letter := deadLetter{err: outcomes[i].err}
		if rule == "" && outcomes[i].err != nil || rule != "" &&
			(outcomes[i].err == nil || fateOf(outcomes[i].err) != reject || letter.rule() != rule) {
			t.Errorf("write %d: %v, want the rule %q", i, outcomes[i].err, rule)
		}
	}
}

func TestCreateIndexes(t *testing.T) {
	t.Parallel()
	m := testMongo(t, anyServer(t))
	registry, err := m.config.registry()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.createIndexes(context.Background(), registry); err != nil {
			t.Fatal(err)
		}
		m.config.TombstoneTTL *= 2 // the second time there is one with other options
	}
	specs, err := m.database.Collection("orders").Indexes().ListSpecifications(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if s.ExpireAfterSeconds != nil {
			return
		}
	}
	t.Errorf("no index ends tombstones: %v", specs)
}

var decimals = cmpopts.EquateComparable(bson.Decimal128{})
