package apply

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"weak"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
)

func TestOrphanWaitsForItsParent(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending"),
		orderRow(consumertest.Insert, 2, 8, 2, "pending"),
		consumertest.Customer(consumertest.Insert, 8, 1, "b@x"))
	p.tick(t, time.Second)
	if p.document(t, "orders", consumertest.UUID(1)) != nil {
		t.Error("an order without its customer is shown")
	}
	if p.document(t, "orders", consumertest.UUID(2)) == nil {
		t.Error("the order beside it is not shown, though its customer has come")
	}
	if p.marked != 0 {
		t.Errorf("offset %d marked, past the parked record 0", p.marked)
	}
	p.feed(t, orderRow(consumertest.Update, 1, 7, 3, "paid"))
	if p.document(t, "orders", consumertest.UUID(1)) != nil {
		t.Error("a later event of a parked order went before it")
	}
	p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
	if len(p.parking.wake) != 1 {
		t.Error("the parked order is not told that its customer has come")
	}
	p.tick(t, time.Second)
	if got := p.document(t, "orders", consumertest.UUID(1)); got["status"] != "paid" {
		t.Errorf("after its customer came the order is %v", got)
	}
	if p.marked != 5 || p.parking.count != 0 || p.parking.bytes != 0 {
		t.Errorf("offset %d marked, want 5; %d parked", p.marked, p.parking.count)
	}
}

// TestParkedKeepsLargeValue: an update without an unchanged large value waits behind the row with
// the value.
func TestParkedKeepsLargeValue(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	address := func(op debezium.Op, commit int, street string, customer int) {
		p.feed(t, consumertest.Record("address", op, commit,
			consumertest.Columns("id", consumertest.UUID(1)), nil,
			consumertest.Columns("id", consumertest.UUID(1),
				"customer_id", consumertest.UUID(customer), "type", "home", "street", street,
				"is_default", true,
				"updated_at", "2026-11-22T07:55:47Z", "lab_version", int64(commit))))
	}
	p.feed(t, consumertest.Customer(consumertest.Insert, 8, 1, "b@x"))
	address(consumertest.Insert, 2, "a long street", 7)
	address(consumertest.Update, 3, debezium.Unavailable, 8) // the new customer is there
	if got := p.document(t, "addresses", consumertest.UUID(1)); got["street"] != "a long street" ||
		got["customerId"] != consumertest.UUID(8) {
		t.Errorf("the address is %v", got)
	}
}

func TestGraceEnds(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*pipeline){"stored": nil,
		"dead letter": func(p *pipeline) {
			p.planner.tables = tablesWith(t, "missing: dead_letter")
		}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipeline()
			if change != nil {
				change(p)
			}
			p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending"))
			p.tick(t, 2*time.Second)
			if p.parking.count != 1 {
				t.Fatal("the order was not parked for its grace period")
			}
			p.tick(t, time.Minute)
			stored := p.document(t, "orders", consumertest.UUID(1)) != nil
			if want := change == nil; stored != want || (len(p.letters) == 0) != want {
				t.Errorf("stored: %t, dead letters %+v", stored, p.letters)
			}
			if change != nil && p.letters[0].Rule() != fate.RuleReference {
				t.Errorf("the rule is %s", p.letters[0].Rule())
			}
			if p.marked != 1 {
				t.Errorf("offset %d marked, want 1", p.marked)
			}
			severity := map[bool]entity.Severity{true: entity.Warn, false: entity.Reject}[stored]
			broken := p.metrics.Failed.WithLabelValues(fate.RuleReference, "order",
				string(severity))
			if n := consumertest.ValueOf(t, broken); n != 1 ||
				p.violations(t, fate.RuleReference) != 1 {
				t.Errorf("the reference is counted %v times, want once as %s", n, severity)
			}
			p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending")) // again
			p.tick(t, time.Minute)
			if n := consumertest.ValueOf(t, broken); stored && n != 1 {
				t.Errorf("after a replay the reference is counted %v times", n)
			}
		})
	}
}

// TestOrphanThatMoved: the row's newest state has the customer. A customer still missing from an
// older state is no alarm.
func TestOrphanThatMoved(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.planner.tables = tablesWith(t, "missing: dead_letter")
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending"),
		orderRow(consumertest.Update, 1, 8, 3, "pending"))
	p.feed(t, consumertest.Customer(consumertest.Insert, 8, 1, "b@x"))
	p.tick(t, time.Second)
	got := p.document(t, "orders", consumertest.UUID(1))
	if got["customerId"] != consumertest.UUID(8) || len(p.letters) > 0 {
		t.Errorf("the order is %v, dead letters %+v", got, p.letters)
	}
}

// TestOlderStateHasItsParent: the grace of a row's newest state is over. An older state is rejected
// only if the state's own reference is not there, however old the last sighting.
func TestOlderStateHasItsParent(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.planner.tables = tablesWith(t, "missing: dead_letter")
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending"),
		orderRow(consumertest.Update, 1, 8, 3, "pending"))
	p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
	for i := range 3 * sightingsMax {
		p.parents.noteSighting("customers", strconv.Itoa(i), "")
	}
	p.tick(t, time.Minute)
	got := p.document(t, "orders", consumertest.UUID(1))
	if got["customerId"] != consumertest.UUID(7) || len(p.letters) != 1 {
		t.Errorf("the order is %v, %d dead letters, want one", got, len(p.letters))
	}
}

// TestSightings: rows found by a batch stay found for the batch, however many rows others see
// meanwhile, and are forgotten soon after.
func TestSightings(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
	parents := p.parents
	refs := []encode.Ref{{Collection: "customers", ID: consumertest.UUID(7)},
		{Collection: "customers", ID: consumertest.UUID(8)}}
	found, err := parents.findParents(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * sightingsMax {
		parents.noteSighting("customers", strconv.Itoa(i), "")
		if n := len(parents.known) + len(parents.older); n > sightingsMax {
			t.Fatalf("%d sightings are kept, at most %d", n, sightingsMax)
		}
	}
	if lacks := found.missingParents(&draft{references: refs}); len(lacks) != 1 ||
		lacks[0].ID != consumertest.UUID(8) {
		t.Errorf("missing: %+v, want what was never there", lacks)
	}
	for range 3 {
		p.clock = p.clock.Add(2 * sightingTTL)
		parents.noteSighting("customers", consumertest.UUID(7), "")
	}
	if n := len(parents.known) + len(parents.older); n > 2 {
		t.Errorf("%d sightings are kept, all but one or two are old", n)
	}
}

func TestDeleteEndsParking(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending"))
	p.feed(t, orderRow(consumertest.Remove, 1, 7, 3, ""))
	if got := p.document(t, "orders", consumertest.UUID(1)); got["ended"] != true {
		t.Errorf("the deleted order is %v", got)
	}
	if p.parking.count != 0 || p.marked != 2 {
		t.Errorf("%d parked, offset %d marked", p.parking.count, p.marked)
	}
}

func TestParkingIsBounded(t *testing.T) {
	t.Parallel()
	p := newPipeline(func(c *Config) { c.ParkedMax = 3 })
	for i := range 4 {
		p.feed(t, orderRow(consumertest.Insert, i+1, 7, 2, "pending"))
	}
	if !p.parking.takesNoMore() {
		t.Error("four are parked of three at most, and more are taken")
	}
	other := newPipeline()
	other.parking.room = p.parking.room
	p.parking.room.max = p.parking.bytes
	if other.parking.takesNoMore() {
		t.Error("a partition that has parked nothing must go on while others fill the room")
	}
}

// TestOrphansElsewhere: where the orphans of an entity fill the room, another entity with some
// orphans goes on, until the other's share is used up.
func TestOrphansElsewhere(t *testing.T) {
	t.Parallel()
	flood := newPipeline(func(c *Config) { c.HeldMaxBytes = 64 << 10 })
	for i := 0; i < 1000 && !flood.parking.takesNoMore(); i++ {
		flood.feed(t, orderRow(consumertest.Insert, i+1, 7, 2, "pending"))
	}
	p := pipelineBeside(flood)
	row := func(id, customer int) *kgo.Record {
		return consumertest.Record("address", consumertest.Insert, 2,
			consumertest.Columns("id", consumertest.UUID(id)), nil,
			consumertest.Columns("id", consumertest.UUID(id),
				"customer_id", consumertest.UUID(customer), "type", "home", "is_default", true,
				"updated_at", "2026-11-22T07:55:47Z", "lab_version", int64(2)))
	}
	p.feed(t, row(1, 7))
	if p.parking.count != 1 || p.parking.takesNoMore() {
		t.Errorf("%d parked, and the partition takes no more", p.parking.count)
	}
	taken := 1
	for !p.parking.takesNoMore() && taken < 100 {
		taken++
		p.feed(t, row(taken, 7))
	}
	if share := 64 << 10 / shares; taken == 100 || p.parking.bytes < share {
		t.Errorf("%d bytes of %d events are parked, want hardly more than %d", p.parking.bytes,
			taken, share)
	}
}

// TestParkedHoldsNoBatch: a single parked record does not keep the whole fetch.
func TestParkedHoldsNoBatch(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	const batches, large = 64, 1 << 20
	fetched := make([]weak.Pointer[[large]byte], batches)
	for i := range batches {
		whole := new([large]byte)
		fetched[i] = weak.Make(whole)
		within := whole[:0]
		alias := func(b []byte) []byte {
			within = append(within, b...)
			return within[len(within)-len(b):]
		}
		r := orderRow(consumertest.Insert, i+1, 7, 2, "pending")
		r.Key, r.Value = alias(r.Key), alias(r.Value)
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "header",
			Value: alias([]byte("its value"))})
		p.feed(t, r)
	}
	// The last batch is still at hand.
	p.feed(t, consumertest.Customer(consumertest.Insert, 8, 1, "b@x"))
	runtime.GC()
	kept := 0
	for _, whole := range fetched {
		if whole.Value() != nil {
			kept++
		}
	}
	if kept > 1 || p.parking.count != batches {
		t.Errorf("%d parked events keep %d of as many batches", p.parking.count, kept)
	}
	runtime.KeepAlive(p)
	p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
	p.tick(t, time.Second)
	if p.document(t, "orders", consumertest.UUID(1)) == nil {
		t.Error("what was parked is not stored")
	}
}

// TestEndedParent: a row waits if the referenced row ended before, and does not if the row came
// before the end.
func TestEndedParent(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"),
		consumertest.Customer(consumertest.Remove, 7, 5, nil))
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 4, "pending"),
		orderRow(consumertest.Insert, 2, 7, 6, "pending"))
	if p.document(t, "orders", consumertest.UUID(1)) == nil ||
		p.document(t, "orders", consumertest.UUID(2)) != nil {
		t.Errorf("before the end: %v, after it: %v", p.document(t, "orders", consumertest.UUID(1)),
			p.document(t, "orders", consumertest.UUID(2)))
	}
}

// TestEndedElsewhere: a parent is not believed for ever, because another member of the group may
// end the parent.
func TestEndedElsewhere(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending"))
	other := member(DefaultConfig(), p.memory).pipeline(p.memory)
	other.feed(t, consumertest.Customer(consumertest.Remove, 7, 5, nil))
	p.clock = p.clock.Add(sightingTTL + time.Second)
	p.feed(t, orderRow(consumertest.Insert, 2, 7, 6, "pending"))
	if p.document(t, "orders", consumertest.UUID(1)) == nil ||
		p.document(t, "orders", consumertest.UUID(2)) != nil {
		t.Errorf("before the end: %v, after it: %v", p.document(t, "orders", consumertest.UUID(1)),
			p.document(t, "orders", consumertest.UUID(2)))
	}
}

// TestShellIsNoParent: a document made only for embedded rows is not the row.
func TestShellIsNoParent(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.memory.Documents["customers"] = map[string]bson.M{
		consumertest.UUID(7): {"_id": consumertest.UUID(7),
			documents.MetadataMember: bson.M{"position": "", "shell": true}}}
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending"))
	if got := p.document(t, "orders", consumertest.UUID(1)); got != nil {
		t.Errorf("before its customer came the order is %v", got)
	}
}

// tablesWith returns the tables of the built-in specs, with more said of each reference.
func tablesWith(t *testing.T, more string) *encode.Tables {
	t.Helper()
	specs := fstest.MapFS{}
	paths, err := filepath.Glob("../entity/specs/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal("no specs", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		specs[filepath.Base(path)] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(text),
			"entity: customer}", "entity: customer, "+more+"}"))}
	}
	registry, err := entity.Load(specs)
	if err != nil {
		t.Fatal(err)
	}
	return encode.NewTables(registry)
}
