package consumer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// TestStore runs one suite on every store that can be had.
func TestStore(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		testStore(t, func(*testing.T) store { return newMemoryStore() })
	})
	for _, s := range servers {
		t.Run(s.kind, func(t *testing.T) {
			t.Parallel()
			uri := s.open(t)
			testStore(t, func(t *testing.T) store { return testMongo(t, uri) })
		})
	}
}

// at is a position: one commit for each number.
func at(n int) string { return fmt.Sprintf("%04x%016x%016x", 0, n, 0) }

var testTime = time.Date(2026, 11, 22, 7, 55, 47, 0, time.UTC)

// field is a member to set, or (absent) to remove.
type field struct {
	name   string
	value  any
	absent bool
}

func set(name string, value any) field { return field{name: name, value: value} }

func row(id string, n int, op debezium.Op, fields ...field) write {
	d := &draft{
		record: &kgo.Record{Topic: "cdc.public.order", Partition: 3, Offset: int64(n)},
		table:  entity.Default().Table("public", "order"),
		entity: "order", op: op, operation: operations[op], position: at(n), key: id,
		processedAt: testTime, sourceAt: testTime,
	}
	c := change{place: place{collection: "orders", id: id}, draft: d, deleted: op == debezium.Delete}
	members := bson.D{}
	for _, f := range fields {
		if f.absent {
			c.absent = append(c.absent, f.name)
		} else {
			members = append(members, bson.E{Key: f.name, Value: f.value})
		}
	}
	raw, err := bson.Marshal(members)
	if err != nil {
		panic(err)
	}
	c.elements = raw[4 : len(raw)-1]
	return write{change: c}
}

func itemRow(order, item string, n int, op debezium.Op, fields ...field) write {
	w := row(item, n, op, fields...)
	w.table = entity.Default().Table("public", "order_item")
	w.entity, w.place = "order_item", place{"orders", order, "items", item}
	return w
}

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

// state is a document, of whose cdcMetadata only what decides is left.
func state(t testing.TB, s store, collection, id string) bson.M {
	t.Helper()
	found, err := s.find(context.Background(), collection, []string{id})
	if err != nil {
		t.Fatal(err)
	}
	raw, there := found[id]
	if !there {
		return nil
	}
	document := decodeDocument(raw)
	delete(document, embeddedMember)
	about(document)
	if items, is := document["items"].(bson.M); is {
		for _, item := range items {
			about(item.(bson.M))
		}
	}
	return document
}

// about leaves of a row's cdcMetadata that it is "ended", or a "shell".
func about(row bson.M) {
	own, _ := row[metadataMember].(bson.M)
	delete(row, metadataMember)
	if own["deleted"] == true && own["deletedAt"] != nil {
		row["ended"] = true
	}
	if own["shell"] == true && own["position"] == "" {
		row["shell"] = true
	}
}

func wantDocument(t *testing.T, s store, id string, want bson.M) {
	t.Helper()
	if diff := cmp.Diff(want, state(t, s, "orders", id), decimals); diff != "" {
		t.Errorf("document %s (-want +got):\n%s", id, diff)
	}
}

func testStore(t *testing.T, open func(*testing.T) store) {
	for name, test := range map[string]func(*testing.T, store){
		"guard": testGuard, "metadata": testMetadata, "tombstones": testTombstones,
		"items": testItems, "values": testValues, "mixed bulk": testMixedBulk,
		"racing writers": testRace, "looks": testLooks,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func testGuard(t *testing.T, s store) {
	step(t, s, applied, row("a", 2, insert, set("status", "two")))
	step(t, s, stale, row("a", 2, insert, set("status", "again")))
	step(t, s, stale, row("a", 1, insert, set("status", "one")))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "two"})
	step(t, s, applied, row("a", 3, update, set("status", "three")))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "three"})
}

func testMetadata(t *testing.T, s store) {
	step(t, s, applied, row("a", 2, insert))
	want := bson.M{
		"sourceTimestamp": testTime.UnixMilli(), "operation": "INSERT", "position": at(2),
		"kafkaTopic": "cdc.public.order", "kafkaPartition": int32(3), "kafkaOffset": int64(2),
		"processedAt": bson.NewDateTimeFromTime(testTime),
	}
	wantMetadata(t, s, "a", want)
	orphan := row("a", 3, update)
	orphan.orphan = orphaned([]entity.Ref{{Column: "customer_id"}})
	step(t, s, applied, orphan)
	want["operation"], want["position"], want["kafkaOffset"] = "UPDATE", at(3), int64(3)
	want["orphan"] = bson.A{"customer_id"}
	wantMetadata(t, s, "a", want)
	step(t, s, applied, row("a", 4, remove))
	delete(want, "orphan")
	want["operation"], want["position"], want["kafkaOffset"] = "DELETE", at(4), int64(4)
	want["deleted"], want["deletedAt"] = true, bson.NewDateTimeFromTime(testTime)
	wantMetadata(t, s, "a", want)
}

func wantMetadata(t *testing.T, s store, id string, want bson.M) {
	t.Helper()
	found, err := s.find(context.Background(), "orders", []string{id}, metadataMember)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, decodeDocument(found[id])[metadataMember]); diff != "" {
		t.Errorf("cdcMetadata (-want +got):\n%s", diff)
	}
}

func testTombstones(t *testing.T, s store) {
	gone := bson.M{"_id": "unseen", "ended": true}
	step(t, s, applied, row("unseen", 5, remove))
	wantDocument(t, s, "unseen", gone)
	step(t, s, stale, row("unseen", 4, insert, set("status", "late")))
	wantDocument(t, s, "unseen", gone)

	step(t, s, applied, row("a", 1, insert, set("status", "new")))
	step(t, s, applied, row("a", 2, remove))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "new", "ended": true})
	step(t, s, applied, row("a", 3, insert, set("status", "back")))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "back"})
	step(t, s, stale, row("a", 2, remove))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "back"})
}

func testItems(t *testing.T, s store) {
	one := func(quantity int64) bson.M { return bson.M{"quantity": quantity} }
	step(t, s, applied, itemRow("o", "i1", 4, insert, set("quantity", int64(1))))
	wantDocument(t, s, "o", bson.M{"_id": "o", "shell": true, "items": bson.M{"i1": one(1)}})

	step(t, s, applied, row("o", 3, insert, set("status", "new")))
	step(t, s, applied, itemRow("o", "i2", 2, insert, set("quantity", int64(2))))
	step(t, s, stale, itemRow("o", "i1", 4, update, set("quantity", int64(9))))
	step(t, s, applied, itemRow("o", "i1", 6, remove))
	step(t, s, stale, itemRow("o", "i1", 5, update, set("quantity", int64(9))))
	wantDocument(t, s, "o", bson.M{"_id": "o", "status": "new", "items": bson.M{
		"i1": bson.M{"quantity": int64(1), "ended": true}, "i2": one(2)}})

	step(t, s, applied, itemRow("o", "i1", 7, insert, set("quantity", int64(3))))
	step(t, s, applied, row("o", 8, update, set("status", "paid")))
	wantDocument(t, s, "o", bson.M{"_id": "o", "status": "paid", "items": bson.M{
		"i1": one(3), "i2": one(2)}})

	step(t, s, applied, itemRow("p", "i3", 1, remove))
	wantDocument(t, s, "p", bson.M{"_id": "p", "shell": true, "items": bson.M{
		"i3": bson.M{"ended": true}}})
}

// testLooks: what the store says of rows that are there.
func testLooks(t *testing.T, s store) {
	ctx := context.Background()
	step(t, s, []string{OutcomeApplied, OutcomeApplied, OutcomeApplied, OutcomeApplied},
		row("a", 1, insert, set("status", "new"), set("note", "n")),
		itemRow("o", "i1", 1, insert, set("quantity", int64(1))), itemRow("o", "i2", 2, insert),
		itemRow("p", "i1", 3, remove))
	found, err := s.find(ctx, "orders", []string{"a", "o", "nobody"}, "status")
	if err != nil || len(found) != 2 {
		t.Fatalf("found %v, %v; want a and o", found, err)
	}
	if diff := cmp.Diff(bson.M{"_id": "a", "status": "new"}, decodeDocument(found["a"])); diff != "" {
		t.Errorf("a with its status (-want +got):\n%s", diff)
	}
	for item, want := range map[string][]string{"i1": {"o", "p"}, "i2": {"o"}, "i3": nil} {
		documents, err := s.holders(ctx, "orders", "items", []string{item})
		if err != nil {
			t.Fatal(err)
		}
		var homes []string
		for _, d := range documents {
			homes = append(homes, metadataOf(d).id)
			if _, is := d.Lookup("items", item).DocumentOK(); !is {
				t.Errorf("%s is not in the %s it is said to be in", item, metadataOf(d).id)
			}
		}
		slices.Sort(homes)
		if diff := cmp.Diff(want, homes); diff != "" {
			t.Errorf("holders of %s (-want +got):\n%s", item, diff)
		}
	}
	count := 0
	if err := s.all(ctx, "orders", func(bson.Raw) error { count++; return nil }); err != nil || count != 3 {
		t.Errorf("all are %d, %v; want 3", count, err)
	}
	for _, value := range []string{"first", "second"} {
		kept, _ := bson.Marshal(bson.M{"_id": "k", "value": value})
		if err := s.keep(ctx, kept); err != nil {
			t.Fatal(err)
		}
	}
	if found, err = s.find(ctx, keptCollection, []string{"k"}); err != nil || found["k"].Lookup("value").StringValue() != "first" {
		t.Errorf("kept %v, %v; want the first", found, err)
	}
	testFill(t, s)
	names, err := s.collections(ctx)
	if diff := cmp.Diff([]string{keptCollection, "orders"}, names); diff != "" || err != nil {
		t.Errorf("collections, %v (-want +got):\n%s", err, diff)
	}
}

// testFill: only where the row is newer, lives and lacks the member.
func testFill(t *testing.T, s store) {
	step(t, s, []string{OutcomeApplied, OutcomeApplied}, row("fill", 5, update, set("status", "own")),
		itemRow("fill", "f", 5, update))
	members, _ := bson.Marshal(bson.D{{Key: "note", Value: "filled"}, {Key: "noteExact", Value: "too"}})
	fill := func(p place, n int) {
		if err := s.fill(context.Background(), p, at(n), "note", members[4:len(members)-1]); err != nil {
			t.Fatal(err)
		}
	}
	orders := place{collection: "orders", id: "fill"}
	item := place{"orders", "fill", "items", "f"}
	fill(orders, 5)
	fill(place{collection: "orders", id: "nothing there"}, 1)
	wantDocument(t, s, "fill", bson.M{"_id": "fill", "status": "own", "items": bson.M{"f": bson.M{}}})
	fill(orders, 4)
	fill(item, 4)
	filled := bson.M{"note": "filled", "noteExact": "too"}
	wantDocument(t, s, "fill", bson.M{"_id": "fill", "status": "own", "note": "filled", "noteExact": "too",
		"items": bson.M{"f": filled}})
	step(t, s, []string{OutcomeApplied, OutcomeApplied}, row("fill", 6, update, set("note", "newer")),
		itemRow("fill", "ended", 6, remove))
	fill(orders, 4)
	fill(place{"orders", "fill", "items", "ended"}, 4)
	wantDocument(t, s, "fill", bson.M{"_id": "fill", "status": "own", "note": "newer", "noteExact": "too",
		"items": bson.M{"f": filled, "ended": bson.M{"ended": true}}})
}

func testValues(t *testing.T, s store) {
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

func testMixedBulk(t *testing.T, s store) {
	step(t, s, applied, row("old", 9, insert, set("status", "newer")))
	step(t, s, []string{OutcomeApplied, OutcomeStale, OutcomeApplied, OutcomeApplied, OutcomeApplied},
		row("a", 1, insert), row("old", 8, update, set("status", "older")), row("b", 1, remove),
		itemRow("c", "i1", 1, insert), itemRow("c", "i2", 1, insert))
	wantDocument(t, s, "old", bson.M{"_id": "old", "status": "newer"})
	if items := state(t, s, "orders", "c")["items"].(bson.M); len(items) != 2 {
		t.Errorf("c has the items %v, want two", items)
	}
}

// testRace: writers that do not know of each other, each with a part of the history in an order of
// its own. Whoever is last, the highest position stays.
func testRace(t *testing.T, s store) {
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
		wantDocument(t, s, id, bson.M{"_id": id, "status": last,
			"items": bson.M{"i": bson.M{"status": last}}})
	}
}

var decimals = cmpopts.EquateComparable(bson.Decimal128{})
