package consumer

import (
	"context"
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

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

func TestPrepare(t *testing.T) {
	t.Parallel()
	m := testMongo(t, anyServer(t))
	ctx, ttl := context.Background(), int32(m.config.TombstoneTTL.Seconds())
	for range 2 {
		for _, table := range []string{"order", "order_item"} {
			if err := m.prepare(ctx, "orders", m.registry.Table("public", table)); err != nil {
				t.Fatal(err)
			}
		}
		m.config.TombstoneTTL *= 2 // the second time there is one with other options
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
		`{"customerId": {"$numberInt":"1"}}`: false, `{"cdcEmbedded.items": {"$numberInt":"1"}}`: false} {
		if got, there := keys[key]; !there || got != ends {
			t.Errorf("no index %s (expiring: %t) among %v", key, ends, keys)
		}
	}
	wantKept(t, m)
	step(t, m, []string{OutcomeApplied, OutcomeApplied, OutcomeApplied, OutcomeApplied, OutcomeApplied, OutcomeApplied},
		row("live", 1, insert, set("status", "new")), row("ended", 1, remove),
		itemRow("live", "i1", 1, insert, set("quantity", 1)), itemRow("live", "i2", 1, remove),
		itemRow("shell", "i3", 1, insert), row("empty", 1, insert))
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
		if got = append(got, fmt.Sprint(document["_id"])); document[embeddedMember] != nil {
			t.Errorf("the view shows %s of %v", embeddedMember, document["_id"])
		}
	}
	if diff := cmp.Diff([]string{"empty", "live with i1", "live"}, got); diff != "" {
		t.Errorf("the view (-want +got):\n%s", diff)
	}
	buyer := row("c", 1, insert, set("email", "c@x.org"))
	buyer.table, buyer.place = m.registry.Table("public", "customer"), place{collection: "customers", id: "c"}
	step(t, m, []string{OutcomeApplied, OutcomeApplied}, row("live", 2, update, set("customerId", "c")), buyer)
	var order struct{ Customer struct{ Email string } }
	if err := m.database.Collection("orders"+RelatedSuffix).FindOne(ctx, bson.D{{Key: "_id", Value: "live"}}).Decode(&order); err != nil {
		t.Fatal(err)
	}
	if order.Customer.Email != "c@x.org" {
		t.Errorf("the order is shown with %+v", order)
	}
}

// wantKept: what a change of key puts aside is there as long as a tombstone.
func wantKept(t *testing.T, m *mongoStore) {
	t.Helper()
	ctx, ttl := context.Background(), int32(DefaultConfig().TombstoneTTL.Seconds())
	m.config.TombstoneTTL = DefaultConfig().TombstoneTTL
	if err := m.prepare(ctx, keptCollection, nil); err != nil {
		t.Fatal(err)
	}
	specs, err := m.database.Collection(keptCollection).Indexes().ListSpecifications(ctx)
	if err != nil || len(specs) != 2 || specs[1].ExpireAfterSeconds == nil || *specs[1].ExpireAfterSeconds != ttl {
		t.Errorf("the indexes of %s are %+v, %v; want one that expires after %d s", keptCollection, specs, err, ttl)
	}
}

// TestPrepareFollowsSpecs: a table whose rows get embedded later is in the view of the collection that
// was there before.
func TestPrepareFollowsSpecs(t *testing.T) {
	t.Parallel()
	m := testMongo(t, anyServer(t))
	ctx := context.Background()
	const head = "\nkey: id\nfields: [{column: id, kind: int}, {column: parent, kind: int}]\n"
	specs := fstest.MapFS{"doc.yaml": &fstest.MapFile{Data: []byte("entity: doc\ntable: public.doc\ncollection: docs" + head)}}
	var err error
	if m.registry, err = entity.Load(specs); err != nil {
		t.Fatal(err)
	}
	write := func(table string, at place, op debezium.Op) {
		w := row(at.id, 1, op)
		w.table, w.entity, w.place = m.registry.Table("public", table), table, at
		step(t, m, applied, w)
	}
	write("doc", place{collection: "docs", id: "1"}, insert)
	specs["part.yaml"] = &fstest.MapFile{Data: []byte("entity: part\ntable: public.part\ncollection: docs\n" +
		"embed: {into: doc, field: parts, parent: parent}" + head)}
	if changed, err := m.registry.Reload(specs); !changed || err != nil {
		t.Fatal(changed, err)
	}
	for range 2 {
		write("part", place{"docs", "1", "parts", "ended"}, remove)
		write("part", place{"docs", "1", "parts", "lives"}, insert)
		var document struct{ Parts map[string]bson.M }
		if err := m.database.Collection("docs"+LiveSuffix).FindOne(ctx, bson.D{}).Decode(&document); err != nil {
			t.Fatal(err)
		}
		if len(document.Parts) != 1 || document.Parts["lives"] == nil {
			t.Errorf("the view shows the parts %v", document.Parts)
		}
		if _, err := m.database.Collection("docs").DeleteMany(ctx, bson.D{}); err != nil {
			t.Fatal(err)
		}
		write("doc", place{collection: "docs", id: "1"}, insert)
		clear(m.prepared)
	}
}
