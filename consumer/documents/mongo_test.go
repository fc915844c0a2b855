package documents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/stack/servertest"
)

// TestMongoRefusals: the third meaning of a duplicate key, and documents the server will not have.
func TestMongoRefusals(t *testing.T) {
	t.Parallel()
	m := testMongo(t, servertest.MongoURI(t))
	ctx := context.Background()
	_, err := m.database.Collection("orders").Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys: bson.D{{Key: "number", Value: 1}},
		Options: options.Index().SetUnique(true).
			SetPartialFilterExpression(bson.D{{Key: "number",
				Value: bson.D{{Key: "$gt", Value: 0}}}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.database.Collection("orders").InsertOne(ctx,
		bson.D{{Key: "_id", Value: "odd"}, {Key: "items", Value: "not a map"}}); err != nil {
		t.Fatal(err)
	}
	step(t, m, applied, row("a", 1, consumertest.Insert, set("number", 1)))
	step(t, m, applied, row("b", 1, consumertest.Insert, set("number", 2)))
	huge := row("h", 1, consumertest.Insert, set("note", string(make([]byte, documentMaxBytes))))
	outcomes := m.Apply(ctx, []Write{
		row("c", 1, consumertest.Insert, set("number", 1)), // no such _id: the insert is refused
		row("b", 2, consumertest.Update, set("number", 1)), // found by _id: the update is refused
		itemRow("odd", "i", 1, consumertest.Insert),        // the path leads through a text
		huge,
		row("d", 1, consumertest.Insert, set("number", 3)),
	})
	for i, rule := range []string{fate.RuleUnique, fate.RuleUnique, fate.RuleDocument,
		fate.RuleDocument, ""} {
		var rejected *fate.Rejection
		if rule == "" && outcomes[i].Err != nil || rule != "" &&
			(outcomes[i].Err == nil || fate.Of(outcomes[i].Err) != fate.Reject ||
				!errors.As(outcomes[i].Err, &rejected) || rejected.Rule != rule) {
			t.Errorf("write %d: %v, want the rule %q", i, outcomes[i].Err, rule)
		}
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	m := testMongo(t, servertest.MongoURI(t, servertest.LookupView))
	ctx, ttl := context.Background(), int32(m.config.TombstoneTTL.Seconds())
	for range 2 {
		for _, table := range []string{"order", "order_item"} {
			if err := m.prepareCollection(ctx, "orders",
				encode.NewTables(m.registry).Table("public", table).Spec()); err != nil {
				t.Fatal(err)
			}
		}
		m.config.TombstoneTTL *= 2 // the second time there is an index with other options
		clear(m.prepared)
	}
	specs, err := m.database.Collection("orders").Indexes().ListSpecifications(ctx)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, s := range specs {
		keys[s.KeysDocument.String()] = s.ExpireAfterSeconds != nil && *s.ExpireAfterSeconds == ttl
	}
	for key, ends := range map[string]bool{`{"cdcMetadata.deletedAt": {"$numberInt":"1"}}`: true,
		`{"customerId": {"$numberInt":"1"}}`:        false,
		`{"cdcEmbedded.items": {"$numberInt":"1"}}`: false} {
		if got, there := keys[key]; !there || got != ends {
			t.Errorf("no index %s (expiring: %t) among %v", key, ends, keys)
		}
	}
	wantKept(t, m)
	step(t, m, slices.Repeat([]string{telemetry.OutcomeApplied}, 6),
		row("live", 1, consumertest.Insert, set("status", "new")),
		row("ended", 1, consumertest.Remove),
		itemRow("live", "i1", 1, consumertest.Insert, set("quantity", 1)),
		itemRow("live", "i2", 1, consumertest.Remove),
		itemRow("shell", "i3", 1, consumertest.Insert), row("empty", 1, consumertest.Insert))
	cursor, err := m.database.Collection("orders"+LiveSuffix).Find(ctx, bson.D{},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	var seen []bson.M
	if err := cursor.All(ctx, &seen); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, document := range seen {
		raw, _ := bson.Marshal(document)
		items, _ := bson.Raw(raw).Lookup("items").Document().Elements()
		for _, i := range items {
			got = append(got, fmt.Sprint(document["_id"], " with ", i.Key()))
		}
		if got = append(got, fmt.Sprint(document["_id"])); document[EmbeddedMember] != nil {
			t.Errorf("the view shows %s of %v", EmbeddedMember, document["_id"])
		}
	}
	if diff := cmp.Diff([]string{"empty", "live with i1", "live"}, got); diff != "" {
		t.Errorf("the view (-want +got):\n%s", diff)
	}
	wantRelated(t, m)
}

// wantRelated: the view of orders has each order with its customer.
func wantRelated(t *testing.T, m *Mongo) {
	t.Helper()
	buyer := row("c", 1, consumertest.Insert, set("email", "c@x.org"))
	buyer.Spec, buyer.Place = specOf("customer"), Place{Collection: "customers", ID: "c"}
	step(t, m, []string{telemetry.OutcomeApplied, telemetry.OutcomeApplied},
		row("live", 2, consumertest.Update, set("customerId", "c")), buyer)
	var order struct{ Customer struct{ Email string } }
	if err := m.database.Collection("orders"+RelatedSuffix).FindOne(context.Background(),
		bson.D{{Key: "_id", Value: "live"}}).Decode(&order); err != nil {
		t.Fatal(err)
	}
	if order.Customer.Email != "c@x.org" {
		t.Errorf("the order is shown with %+v", order)
	}
}

// wantKept: rows put aside by a change of key are there as long as a tombstone.
func wantKept(t *testing.T, m *Mongo) {
	t.Helper()
	ctx, ttl := context.Background(), int32(DefaultConfig().TombstoneTTL.Seconds())
	m.config.TombstoneTTL = DefaultConfig().TombstoneTTL
	if err := m.prepareCollection(ctx, KeptCollection, nil); err != nil {
		t.Fatal(err)
	}
	specs, err := m.database.Collection(KeptCollection).Indexes().ListSpecifications(ctx)
	if err != nil || len(specs) != 2 || specs[1].ExpireAfterSeconds == nil ||
		*specs[1].ExpireAfterSeconds != ttl {
		t.Errorf("the indexes of %s are %+v, %v; want one that expires after %d s", KeptCollection,
			specs, err, ttl)
	}
}

// TestPrepareFollowsSpecs: a table with rows embedded only later is in the view of the collection
// made before.
func TestPrepareFollowsSpecs(t *testing.T) {
	t.Parallel()
	m := testMongo(t, servertest.MongoURI(t, servertest.ChangeableView))
	ctx := context.Background()
	const head = "\nkey: id\nfields: [{column: id, kind: int}, {column: parent, kind: int}]\n"
	specs := fstest.MapFS{"doc.yaml": &fstest.MapFile{
		Data: []byte("entity: doc\ntable: public.doc\ncollection: docs" + head)}}
	var err error
	if m.registry, err = entity.Load(specs); err != nil {
		t.Fatal(err)
	}
	write := func(table string, at Place, op debezium.Op) {
		w := row(at.ID, 1, op)
		w.Spec, w.Place = encode.NewTables(m.registry).Table("public", table).Spec(), at
		step(t, m, applied, w)
	}
	write("doc", Place{Collection: "docs", ID: "1"}, consumertest.Insert)
	specs["part.yaml"] = &fstest.MapFile{Data: []byte("entity: part\ntable: public.part\n" +
		"collection: docs\nembed: {into: doc, field: parts, parent: parent}" + head)}
	if changed, err := encode.NewTables(m.registry).Reload(specs); !changed || err != nil {
		t.Fatal(changed, err)
	}
	for range 2 {
		write("part", Place{"docs", "1", "parts", "ended"}, consumertest.Remove)
		write("part", Place{"docs", "1", "parts", "lives"}, consumertest.Insert)
		var document struct{ Parts map[string]bson.M }
		if err := m.database.Collection("docs"+LiveSuffix).FindOne(ctx,
			bson.D{}).Decode(&document); err != nil {
			t.Fatal(err)
		}
		if len(document.Parts) != 1 || document.Parts["lives"] == nil {
			t.Errorf("the view shows the parts %v", document.Parts)
		}
		if _, err := m.database.Collection("docs").DeleteMany(ctx, bson.D{}); err != nil {
			t.Fatal(err)
		}
		write("doc", Place{Collection: "docs", ID: "1"}, consumertest.Insert)
		clear(m.prepared)
	}
}

// TestErrorsAreClassifiedOnce: the writes to a collection leave the outcomes of other collections
// alone, because a second pass loses what the first pass said before the server's words.
func TestErrorsAreClassifiedOnce(t *testing.T) {
	t.Parallel()
	m := testMongo(t, servertest.MongoURI(t))
	said := m.classify("customers", fmt.Errorf("create the index of customers: %w",
		mongo.CommandError{Code: 18, Name: "AuthenticationFailed", Message: "words"}))
	other := row("c", 1, consumertest.Insert)
	other.Spec, other.Place = specOf("customer"), Place{Collection: "customers", ID: "c"}
	outcomes := []Outcome{{Err: said}, {}}
	m.writeCollection(t.Context(), "orders",
		[]Write{other, row("o", 1, consumertest.Insert)}, []int{1}, outcomes)
	if outcomes[0].Err != said || outcomes[1].Err != nil {
		t.Errorf("outcomes %v, want %v and none", outcomes, said)
	}
}

func testMongo(t *testing.T, uri string) *Mongo {
	t.Helper()
	config := DefaultConfig()
	config.URI, config.Database = uri, servertest.MongoDatabase(t)
	m, err := Open(config, entity.Default(), telemetry.NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.database.Drop(context.Background())
		m.Close(context.Background())
	})
	return m
}
