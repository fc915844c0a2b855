package documents

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/stack/servertest"
)

// TestStore runs one suite on every store available.
func TestStore(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		testStore(t, func(*testing.T) Store { return NewMemory() })
	})
	for _, s := range servertest.Mongos(t) {
		t.Run(s.Kind, func(t *testing.T) {
			t.Parallel()
			uri := s.URI(t)
			testStore(t, func(t *testing.T) Store { return testMongo(t, uri) })
		})
	}
}

// at is a position: at(2) is in the second commit.
func at(n int) string { return fmt.Sprintf("%04x%016x%016x", 0, n, 0) }

// field is a member to set, or (absent) to remove.
type field struct {
	name   string
	value  any
	absent bool
}

func set(name string, value any) field { return field{name: name, value: value} }

func row(id string, n int, op debezium.Op, fields ...field) Write {
	w := Write{Place: Place{Collection: "orders", ID: id}, Spec: specOf("order"),
		Deleted: op == debezium.Delete, About: About{Topic: "cdc.public.order", Partition: 3,
			Offset:    int64(n),
			Operation: operationOf[op], Position: at(n), ProcessedAt: consumertest.Time,
			SourceAt: consumertest.Time}}
	members := bson.D{}
	for _, f := range fields {
		if f.absent {
			w.Absent = append(w.Absent, f.name)
		} else {
			members = append(members, bson.E{Key: f.name, Value: f.value})
		}
	}
	raw, err := bson.Marshal(members)
	if err != nil {
		panic(err)
	}
	w.Elements = raw[4 : len(raw)-1]
	return w
}

// operationOf maps the suite's operations to the words of cdcMetadata.
var operationOf = map[debezium.Op]string{consumertest.Insert: "INSERT",
	consumertest.Update: "UPDATE", consumertest.Remove: "DELETE"}

func specOf(name string) *entity.Spec {
	spec, _ := entity.Default().ByEntity(name)
	return spec
}

func itemRow(order, item string, n int, op debezium.Op, fields ...field) Write {
	w := row(item, n, op, fields...)
	w.Spec = specOf("order_item")
	w.Place = Place{"orders", order, "items", item}
	return w
}

// step applies writes in one call and wants, for each, "applied" or "stale".
func step(t *testing.T, s Store, want []string, writes ...Write) {
	t.Helper()
	var got []string
	for _, o := range s.Apply(context.Background(), writes) {
		switch {
		case o.Err != nil:
			got = append(got, o.Err.Error())
		case o.Stale:
			got = append(got, telemetry.OutcomeStale)
		default:
			got = append(got, telemetry.OutcomeApplied)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

var (
	applied = []string{telemetry.OutcomeApplied}
	stale   = []string{telemetry.OutcomeStale}
)

func wantDocument(t *testing.T, s Store, id string, want bson.M) {
	t.Helper()
	if diff := cmp.Diff(want, consumertest.State(t, s, "orders", id), decimals); diff != "" {
		t.Errorf("document %s (-want +got):\n%s", id, diff)
	}
}

func testStore(t *testing.T, open func(*testing.T) Store) {
	for name, test := range map[string]func(*testing.T, Store){
		"guard": testGuard, "metadata": testMetadata, "tombstones": testTombstones,
		"items": testItems, "values": testValues, "mixed bulk": testMixedBulk,
		"racing writers": testRace, "looks": testLooks, "fresh rows": testFresh,
		"matching rows": testMatching, "rows made by updates": testNew,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func testGuard(t *testing.T, s Store) {
	step(t, s, applied, row("a", 2, consumertest.Insert, set("status", "two")))
	step(t, s, stale, row("a", 2, consumertest.Insert, set("status", "again")))
	step(t, s, stale, row("a", 1, consumertest.Insert, set("status", "one")))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "two"})
	step(t, s, applied, row("a", 3, consumertest.Update, set("status", "three")))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "three"})
}

func testMetadata(t *testing.T, s Store) {
	step(t, s, applied, row("a", 2, consumertest.Insert))
	want := bson.M{
		"sourceTimestamp": consumertest.Time.UnixMilli(), "operation": "INSERT", "position": at(2),
		"kafkaTopic": "cdc.public.order", "kafkaPartition": int32(3), "kafkaOffset": int64(2),
		"processedAt": bson.NewDateTimeFromTime(consumertest.Time),
	}
	wantMetadata(t, s, "a", want)
	orphan := row("a", 3, consumertest.Update)
	orphan.Orphan = []string{"customer_id"}
	step(t, s, applied, orphan)
	want["operation"], want["position"], want["kafkaOffset"] = "UPDATE", at(3), int64(3)
	want["orphan"] = bson.A{"customer_id"}
	wantMetadata(t, s, "a", want)
	step(t, s, applied, row("a", 4, consumertest.Remove))
	delete(want, "orphan")
	want["operation"], want["position"], want["kafkaOffset"] = "DELETE", at(4), int64(4)
	want["deleted"], want["deletedAt"] = true, bson.NewDateTimeFromTime(consumertest.Time)
	wantMetadata(t, s, "a", want)
	marked := row("b", 5, consumertest.Update)
	marked.TxID, marked.Unknown, marked.Shared = 1<<32-1, []string{"body"}, at(4)
	marked.Incarnation = 2
	step(t, s, applied, marked)
	want = bson.M{"sourceTimestamp": consumertest.Time.UnixMilli(), "operation": "UPDATE",
		"position": at(5), "kafkaTopic": "cdc.public.order", "kafkaPartition": int32(3),
		"kafkaOffset": int64(5), "processedAt": bson.NewDateTimeFromTime(consumertest.Time),
		"kafkaIncarnation": int32(2),
		"txId":             int64(1<<32 - 1), "unknown": bson.A{"body"}, "shared": at(4)}
	wantMetadata(t, s, "b", want)
	found, err := s.Find(context.Background(), "orders", []string{"b"})
	if m := MetadataOf(found["b"]); err != nil || m.TxID != 1<<32-1 || m.Shared != at(4) ||
		m.Offset != 5 || m.Incarnation != 2 || m.Partition != 3 || m.Topic != "cdc.public.order" {
		t.Errorf("%+v, %v", m, err)
	}
}

func wantMetadata(t *testing.T, s Store, id string, want bson.M) {
	t.Helper()
	found, err := s.Find(context.Background(), "orders", []string{id}, MetadataMember)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, consumertest.DecodeDocument(found[id])[MetadataMember]); diff != "" {
		t.Errorf("cdcMetadata (-want +got):\n%s", diff)
	}
}

func testTombstones(t *testing.T, s Store) {
	gone := bson.M{"_id": "unseen", "ended": true}
	step(t, s, applied, row("unseen", 5, consumertest.Remove))
	wantDocument(t, s, "unseen", gone)
	step(t, s, stale, row("unseen", 4, consumertest.Insert, set("status", "late")))
	wantDocument(t, s, "unseen", gone)

	step(t, s, applied, row("a", 1, consumertest.Insert, set("status", "new")))
	step(t, s, applied, row("a", 2, consumertest.Remove))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "new", "ended": true})
	step(t, s, applied, row("a", 3, consumertest.Insert, set("status", "back")))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "back"})
	step(t, s, stale, row("a", 2, consumertest.Remove))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "back"})
}

func testItems(t *testing.T, s Store) {
	one := func(quantity int64) bson.M { return bson.M{"quantity": quantity} }
	step(t, s, applied, itemRow("o", "i1", 4, consumertest.Insert, set("quantity", int64(1))))
	wantDocument(t, s, "o", bson.M{"_id": "o", "shell": true, "items": bson.M{"i1": one(1)}})

	step(t, s, applied, row("o", 3, consumertest.Insert, set("status", "new")))
	step(t, s, applied, itemRow("o", "i2", 2, consumertest.Insert, set("quantity", int64(2))))
	step(t, s, stale, itemRow("o", "i1", 4, consumertest.Update, set("quantity", int64(9))))
	step(t, s, applied, itemRow("o", "i1", 6, consumertest.Remove))
	step(t, s, stale, itemRow("o", "i1", 5, consumertest.Update, set("quantity", int64(9))))
	wantDocument(t, s, "o", bson.M{"_id": "o", "status": "new", "items": bson.M{
		"i1": bson.M{"quantity": int64(1), "ended": true}, "i2": one(2)}})

	step(t, s, applied, itemRow("o", "i1", 7, consumertest.Insert, set("quantity", int64(3))))
	step(t, s, applied, row("o", 8, consumertest.Update, set("status", "paid")))
	wantDocument(t, s, "o", bson.M{"_id": "o", "status": "paid", "items": bson.M{
		"i1": one(3), "i2": one(2)}})

	step(t, s, applied, itemRow("p", "i3", 1, consumertest.Remove))
	wantDocument(t, s, "p", bson.M{"_id": "p", "shell": true, "items": bson.M{
		"i3": bson.M{"ended": true}}})
}

// testLooks: each look at the store finds the existing rows.
func testLooks(t *testing.T, s Store) {
	ctx := context.Background()
	step(t, s, []string{telemetry.OutcomeApplied, telemetry.OutcomeApplied,
		telemetry.OutcomeApplied, telemetry.OutcomeApplied},
		row("a", 1, consumertest.Insert, set("status", "new"), set("note", "n")),
		itemRow("o", "i1", 1, consumertest.Insert, set("quantity", int64(1))),
		itemRow("o", "i2", 2, consumertest.Insert),
		itemRow("p", "i1", 3, consumertest.Remove))
	found, err := s.Find(ctx, "orders", []string{"a", "o", "nobody"}, "status")
	if err != nil || len(found) != 2 {
		t.Fatalf("found %v, %v; want a and o", found, err)
	}
	if diff := cmp.Diff(bson.M{"_id": "a", "status": "new"},
		consumertest.DecodeDocument(found["a"])); diff != "" {
		t.Errorf("a with its status (-want +got):\n%s", diff)
	}
	for item, want := range map[string][]string{"i1": {"o", "p"}, "i2": {"o"}, "i3": nil} {
		documents, err := s.Holders(ctx, "orders", "items", []string{item})
		if err != nil {
			t.Fatal(err)
		}
		var homes []string
		for _, d := range documents {
			homes = append(homes, MetadataOf(d).ID)
			if _, is := d.Lookup("items", item).DocumentOK(); !is {
				t.Errorf("%s is not in the %s it is said to be in", item, MetadataOf(d).ID)
			}
		}
		slices.Sort(homes)
		if diff := cmp.Diff(want, homes); diff != "" {
			t.Errorf("holders of %s (-want +got):\n%s", item, diff)
		}
	}
	count := 0
	if err := s.All(ctx, "orders", func(bson.Raw) error {
		count++
		return nil
	}); err != nil || count != 3 {
		t.Errorf("all are %d, %v; want 3", count, err)
	}
	for _, value := range []string{"first", "second"} {
		kept, _ := bson.Marshal(bson.M{"_id": "k", "value": value})
		if err := s.Keep(ctx, kept); err != nil {
			t.Fatal(err)
		}
	}
	if found, err = s.Find(ctx, KeptCollection, []string{"k"}); err != nil ||
		found["k"].Lookup("value").StringValue() != "first" {
		t.Errorf("kept %v, %v; want the first", found, err)
	}
	testFill(t, s)
	names, err := s.Collections(ctx)
	if diff := cmp.Diff([]string{KeptCollection, "orders"}, names); diff != "" || err != nil {
		t.Errorf("collections, %v (-want +got):\n%s", err, diff)
	}
}

// testFill: only where the row is newer, lives and lacks the member.
func testFill(t *testing.T, s Store) {
	step(t, s, []string{telemetry.OutcomeApplied, telemetry.OutcomeApplied},
		row("fill", 5, consumertest.Update, set("status", "own")),
		itemRow("fill", "f", 5, consumertest.Update))
	members, _ := bson.Marshal(bson.D{{Key: "note", Value: "filled"},
		{Key: "noteExact", Value: "too"}})
	fill := func(p Place, n int) {
		if err := s.Fill(context.Background(), p, at(n), "note",
			members[4:len(members)-1]); err != nil {
			t.Fatal(err)
		}
	}
	orders := Place{Collection: "orders", ID: "fill"}
	item := Place{"orders", "fill", "items", "f"}
	fill(orders, 5)
	fill(Place{Collection: "orders", ID: "nothing there"}, 1)
	wantDocument(t, s, "fill", bson.M{"_id": "fill", "status": "own",
		"items": bson.M{"f": bson.M{}}})
	fill(orders, 4)
	fill(item, 4)
	filled := bson.M{"note": "filled", "noteExact": "too"}
	wantDocument(t, s, "fill", bson.M{"_id": "fill", "status": "own", "note": "filled",
		"noteExact": "too",
		"items":     bson.M{"f": filled}})
	step(t, s, []string{telemetry.OutcomeApplied, telemetry.OutcomeApplied},
		row("fill", 6, consumertest.Update, set("note", "newer")),
		itemRow("fill", "ended", 6, consumertest.Remove))
	fill(orders, 4)
	fill(Place{"orders", "fill", "items", "ended"}, 4)
	wantDocument(t, s, "fill", bson.M{"_id": "fill", "status": "own", "note": "newer",
		"noteExact": "too",
		"items":     bson.M{"f": filled, "ended": bson.M{"ended": true}}})
}

func testValues(t *testing.T, s Store) {
	price, err := bson.ParseDecimal128("12345678901234567890.10")
	if err != nil {
		t.Fatal(err)
	}
	step(t, s, applied, row("a", 1, consumertest.Insert, set("status", "kept"),
		set("totalAmount", price),
		set("updatedAt", consumertest.Time), set("updatedAtExact", "2026-11-22T07:55:47.000001Z"),
		set("note", nil)))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "kept", "totalAmount": price,
		"updatedAt":      bson.NewDateTimeFromTime(consumertest.Time),
		"updatedAtExact": "2026-11-22T07:55:47.000001Z", "note": nil})
	// status left out as an unchanged TOASTed value would be; the exact text no longer needed.
	step(t, s, applied, row("a", 2, consumertest.Update, set("totalAmount", price),
		set("updatedAt", consumertest.Time), field{name: "updatedAtExact", absent: true}))
	wantDocument(t, s, "a", bson.M{"_id": "a", "status": "kept", "totalAmount": price,
		"updatedAt": bson.NewDateTimeFromTime(consumertest.Time), "note": nil})
}

func testMixedBulk(t *testing.T, s Store) {
	step(t, s, applied, row("old", 9, consumertest.Insert, set("status", "newer")))
	step(t, s, []string{telemetry.OutcomeApplied, telemetry.OutcomeStale, telemetry.OutcomeApplied,
		telemetry.OutcomeApplied, telemetry.OutcomeApplied},
		row("a", 1, consumertest.Insert),
		row("old", 8, consumertest.Update, set("status", "older")),
		row("b", 1, consumertest.Remove),
		itemRow("c", "i1", 1, consumertest.Insert), itemRow("c", "i2", 1, consumertest.Insert))
	wantDocument(t, s, "old", bson.M{"_id": "old", "status": "newer"})
	if items := consumertest.State(t, s, "orders", "c")["items"].(bson.M); len(items) != 2 {
		t.Errorf("c has the items %v, want two", items)
	}
}

// testRace: writers unaware of each other, each with a part of the history in an order of its own.
// Whoever is last, the highest position stays.
func testRace(t *testing.T, s Store) {
	const rounds, writers, versions = 5, 4, 12
	for round := range rounds {
		id := fmt.Sprint("race", round)
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				random := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for _, n := range random.Perm(versions) {
					status := set("status", fmt.Sprint(n))
					for _, o := range s.Apply(context.Background(), []Write{
						row(id, n+1, consumertest.Update, status),
						itemRow(id, "i", n+1, consumertest.Update, status)}) {
						if o.Err != nil {
							t.Errorf("write %d: %v", n, o.Err)
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
