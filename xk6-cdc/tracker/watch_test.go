package tracker

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// Both trackers see the consumer's ways to write.
func TestTrackersSeeTheConsumersWrites(t *testing.T) {
	t.Parallel()
	s := servertest.StartMongo(t)
	for _, kind := range []string{ChangeStream, Poll} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := watchOn(t, s, Target{Database: "as" + kind, Kind: kind})
			database := s.Client(t).Database("as" + kind)
			set := func(collection, id string, fields bson.D) {
				t.Helper()
				upsert(t, database.Collection(collection), id, fields)
			}
			version := func(id int64) bson.D { return bson.D{{Key: VersionMember, Value: id}} }
			item := func(id int64) bson.D {
				return append(version(id), bson.E{Key: "quantity", Value: 1})
			}
			customer := tables.Place{Collection: "customers", Document: "c"}
			setCustomer := func(id int64) { set("customers", "c", version(id)) }
			orders := func(key string) tables.Place {
				if key == "o" {
					return tables.Place{Collection: "orders", Document: "o"}
				}
				return tables.Place{Collection: "orders", Document: "o", Field: "items"}
			}
			for id, step := range []struct {
				op    ledger.Op
				key   string
				place tables.Place
				do    func(id int64)
			}{
				{ledger.Insert, "c", customer, setCustomer},
				{ledger.Update, "c", customer, setCustomer},
				{ledger.Delete, "c", customer, func(int64) {
					set("customers", "c", bson.D{{Key: deletedMember, Value: true}})
				}},
				{ledger.Insert, "i", orders("i"), func(id int64) {
					set("orders", "o", bson.D{{Key: MetadataMember + ".shell", Value: true},
						{Key: "items.i", Value: item(id)}})
				}},
				{ledger.Insert, "o", orders("o"), func(id int64) {
					set("orders", "o", version(id))
				}},
				{ledger.Update, "i", orders("i"), func(id int64) {
					set("orders", "o", bson.D{{Key: "items.i", Value: item(id)}})
				}},
				{ledger.Update, "i", orders("i"), func(id int64) {
					set("orders", "o", bson.D{{Key: "items.i." + VersionMember, Value: id}})
				}},
				{ledger.Insert, "j", orders("j"), func(id int64) {
					set("orders", "o", bson.D{{Key: "items.j", Value: item(id)}})
				}},
				{ledger.Delete, "i", orders("i"), func(int64) {
					deleted := bson.D{{Key: "deleted", Value: true}}
					set("orders", "o", bson.D{{Key: "items.i",
						Value: bson.D{{Key: MetadataMember, Value: deleted}}}})
				}},
				{ledger.Delete, "j", orders("j"), func(int64) {
					set("orders", "o", bson.D{{Key: "items.j." + deletedMember, Value: true}})
				}},
			} {
				p := awaited(int64(id)+1, step.op, step.key, step.place)
				w.expectSeen(t, p, func() { step.do(p.ID) })
			}
			w.Stop()
			if len(w.recorded) != 10 {
				t.Errorf("%d writes", len(w.recorded))
			}
		})
	}
}

// upsert sets fields of a document, or makes the document.
func upsert(t *testing.T, collection *mongo.Collection, id string, fields bson.D) {
	t.Helper()
	if _, err := collection.UpdateByID(t.Context(), id, bson.D{{Key: "$set", Value: fields}},
		options.UpdateOne().SetUpsert(true)); err != nil {
		t.Fatal(err)
	}
}

// awaited returns a write with a row at a place.
func awaited(id int64, op ledger.Op, key string, at tables.Place) *Pending {
	return &Pending{
		Kind: &Kind{Op: op, Shelf: &tables.Shelf{Collection: at.Collection, Field: at.Field}},
		Row:  &tables.Row{Key: key, Parent: &tables.Row{Key: at.Document}}, ID: id,
		Seen: make(chan struct{}),
	}
}

// watching is a tracker watching a server, and the tracker's records.
type watching struct {
	*Watch
	recorded []ledger.Write
}

// watchOn watches a database of the server until the test ends.
func watchOn(t *testing.T, s *servertest.Mongo, at Target) *watching {
	t.Helper()
	w, began, nothing := &watching{}, time.Now(), func(*Pending) {}
	tracker := New(20*time.Second, func() int64 {
		return time.Since(began).Nanoseconds()
	}, Observer{
		Settled: nothing, Visible: nothing, Unseen: nothing,
		Record: func(p *Pending) { w.recorded = append(w.recorded, p.Line()) },
	})
	at.URI = s.URI()
	var err error
	if w.Watch, err = tracker.Open(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	w.Start()
	t.Cleanup(w.Stop)
	return w
}

// expectSeen makes a write, and acknowledges the write when the tracker has seen the change.
func (w *watching) expectSeen(t *testing.T, p *Pending, write func()) {
	t.Helper()
	p.IntendedNs = w.tracker.now()
	w.tracker.Expect(p)
	write()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case <-p.Seen:
	case <-ctx.Done():
		t.Fatalf("%s %s %d was never seen", p.Op, p.Row.Key, p.ID)
	}
	w.tracker.Settle(p, ledger.Acked, w.tracker.now(), nil)
}

// A crash of the server in the middle: the stream comes back and misses nothing.
func TestStreamSurvivesACrash(t *testing.T) {
	t.Parallel()
	s := servertest.StartMongo(t)
	w := watchOn(t, s, Target{Database: "crashed", Kind: Auto})
	customers := s.Client(t).Database("crashed").Collection("customers")
	for id, crash := range []bool{false, true, false} {
		p := awaited(int64(id)+1, ledger.Update, "c",
			tables.Place{Collection: "customers", Document: "c"})
		w.expectSeen(t, p, func() {
			if crash {
				s.Kill()
				s.Start(t)
			}
			if _, err := customers.UpdateByID(t.Context(), "c",
				bson.D{{Key: "$set", Value: bson.D{{Key: VersionMember, Value: p.ID}}}},
				options.UpdateOne().SetUpsert(true)); err != nil {
				t.Fatal(err)
			}
		})
	}
	w.Stop()
	if errors := w.tracker.Errors(); len(w.recorded) != 3 || errors < 1 {
		t.Errorf("%d writes, %d errors", len(w.recorded), errors)
	}
}
