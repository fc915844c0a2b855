package consumer

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

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

func TestOrphanWaitsForItsParent(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, orderRow(insert, 1, 7, 2, "pending"), orderRow(insert, 2, 8, 2, "pending"), customer(insert, 8, 1, "b@x"))
	p.tick(t, time.Second)
	if p.document(t, "orders", uuid(1)) != nil {
		t.Error("an order without its customer is shown")
	}
	if p.document(t, "orders", uuid(2)) == nil {
		t.Error("the order beside it is not shown, though its customer has come")
	}
	if p.marked != 0 {
		t.Errorf("offset %d marked, past the parked record 0", p.marked)
	}
	p.feed(t, orderRow(update, 1, 7, 3, "paid"))
	if p.document(t, "orders", uuid(1)) != nil {
		t.Error("a later event of a parked order went before it")
	}
	p.feed(t, customer(insert, 7, 1, "a@x"))
	if len(p.settler.parking.wake) != 1 {
		t.Error("the parked order is not told that its customer has come")
	}
	p.tick(t, time.Second)
	if got := p.document(t, "orders", uuid(1)); got["status"] != "paid" {
		t.Errorf("after its customer came the order is %v", got)
	}
	if p.marked != 5 || p.settler.parking.count != 0 || p.settler.parking.bytes != 0 {
		t.Errorf("offset %d marked, want 5; %d parked", p.marked, p.settler.parking.count)
	}
}

// TestParkedKeepsLargeValue: an update without an unchanged large value waits behind the row that
// has it.
func TestParkedKeepsLargeValue(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	address := func(op debezium.Op, commit int, street string, customer int) {
		p.feed(t, record("address", op, commit, columns("id", uuid(1)), nil, columns("id", uuid(1),
			"customer_id", uuid(customer), "type", "home", "street", street, "is_default", true,
			"updated_at", "2026-11-22T07:55:47Z", "lab_version", int64(commit))))
	}
	p.feed(t, customer(insert, 8, 1, "b@x"))
	address(insert, 2, "a long street", 7)
	address(update, 3, debezium.Unavailable, 8) // its new customer is there
	if got := p.document(t, "addresses", uuid(1)); got["street"] != "a long street" || got["customerId"] != uuid(8) {
		t.Errorf("the address is %v", got)
	}
}

func TestGraceEnds(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*pipeline){"stored": nil, "dead letter": func(p *pipeline) {
		p.planner.registry = registryWith(t, "missing: dead_letter")
	}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipeline()
			if change != nil {
				change(p)
			}
			p.feed(t, orderRow(insert, 1, 7, 2, "pending"))
			p.tick(t, 2*time.Second)
			if p.settler.parking.count != 1 {
				t.Fatal("the order was not parked for its grace period")
			}
			p.tick(t, time.Minute)
			stored := p.document(t, "orders", uuid(1)) != nil
			if want := change == nil; stored != want || (len(p.letters) == 0) != want {
				t.Errorf("stored: %t, dead letters %+v", stored, p.letters)
			}
			if change != nil && p.letters[0].rule() != ruleReference {
				t.Errorf("the rule is %s", p.letters[0].rule())
			}
			if p.marked != 1 {
				t.Errorf("offset %d marked, want 1", p.marked)
			}
			severity := map[bool]entity.Severity{true: entity.Warn, false: entity.Reject}[stored]
			broken := p.settler.metrics.failed.WithLabelValues(ruleReference, "order", string(severity))
			if n := valueOf(t, broken); n != 1 || p.violations(t, ruleReference) != 1 {
				t.Errorf("the reference is counted %v times, want once as %s", n, severity)
			}
			p.feed(t, orderRow(insert, 1, 7, 2, "pending")) // again
			p.tick(t, time.Minute)
			if n := valueOf(t, broken); stored && n != 1 {
				t.Errorf("after a replay the reference is counted %v times", n)
			}
		})
	}
}

// TestOrphanThatMoved: the row's newest state has its customer; that an older one lacks its own yet
// is no alarm.
func TestOrphanThatMoved(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.planner.registry = registryWith(t, "missing: dead_letter")
	p.feed(t, orderRow(insert, 1, 7, 2, "pending"), orderRow(update, 1, 8, 3, "pending"))
	p.feed(t, customer(insert, 8, 1, "b@x"))
	p.tick(t, time.Second)
	if got := p.document(t, "orders", uuid(1)); got["customerId"] != uuid(8) || len(p.letters) > 0 {
		t.Errorf("the order is %v, dead letters %+v", got, p.letters)
	}
}

// TestOlderStateHasItsParent: the grace of a row's newest state is over. An older one is rejected only if
// its own reference is not there, however long ago that was seen.
func TestOlderStateHasItsParent(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.planner.registry = registryWith(t, "missing: dead_letter")
	p.feed(t, orderRow(insert, 1, 7, 2, "pending"), orderRow(update, 1, 8, 3, "pending"))
	p.feed(t, customer(insert, 7, 1, "a@x"))
	for i := range 3 * sightingsMax {
		p.settler.parents.see("customers", strconv.Itoa(i), "")
	}
	p.tick(t, time.Minute)
	if got := p.document(t, "orders", uuid(1)); got["customerId"] != uuid(7) || len(p.letters) != 1 {
		t.Errorf("the order is %v, %d dead letters, want one", got, len(p.letters))
	}
}

// TestSightings: what a batch has found stays found for it, however many rows others see meanwhile, and
// is forgotten soon after.
func TestSightings(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, customer(insert, 7, 1, "a@x"))
	parents := p.settler.parents
	refs := []entity.Ref{{Collection: "customers", ID: uuid(7)}, {Collection: "customers", ID: uuid(8)}}
	found, err := parents.look(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * sightingsMax {
		parents.see("customers", strconv.Itoa(i), "")
		if n := len(parents.known) + len(parents.older); n > sightingsMax {
			t.Fatalf("%d sightings are kept, at most %d", n, sightingsMax)
		}
	}
	if lacks := found.missing(&draft{references: refs}); len(lacks) != 1 || lacks[0].ID != uuid(8) {
		t.Errorf("missing: %+v, want what was never there", lacks)
	}
	for range 3 {
		p.clock = p.clock.Add(2 * sightingTTL)
		parents.see("customers", uuid(7), "")
	}
	if n := len(parents.known) + len(parents.older); n > 2 {
		t.Errorf("%d sightings are kept, all but one or two are old", n)
	}
}

func TestDeleteEndsParking(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, orderRow(insert, 1, 7, 2, "pending"))
	p.feed(t, orderRow(remove, 1, 7, 3, ""))
	if got := p.document(t, "orders", uuid(1)); got["ended"] != true {
		t.Errorf("the deleted order is %v", got)
	}
	if p.settler.parking.count != 0 || p.marked != 2 {
		t.Errorf("%d parked, offset %d marked", p.settler.parking.count, p.marked)
	}
}

func TestParkingIsBounded(t *testing.T) {
	t.Parallel()
	p := newPipeline(func(c *Config) { c.ParkedMax, c.BatchMax = 3, 2 })
	for i := range 4 {
		p.feed(t, orderRow(insert, i+1, 7, 2, "pending"))
	}
	if !p.settler.parking.full() {
		t.Error("four are parked of three at most, and more are taken")
	}
	other := newPipeline()
	other.settler.parking.room = p.settler.parking.room
	p.settler.parking.room.max = p.settler.parking.bytes
	if other.settler.parking.full() {
		t.Error("a partition that has parked nothing must go on while others fill the room")
	}
}

// TestOrphansElsewhere: where the orphans of one entity fill the room, an entity with some of its own
// goes on, until it has had its share.
func TestOrphansElsewhere(t *testing.T) {
	t.Parallel()
	flood := newPipeline(func(c *Config) { c.ParkedMaxBytes = 64 << 10 })
	for i := 0; i < 1000 && !flood.settler.parking.full(); i++ {
		flood.feed(t, orderRow(insert, i+1, 7, 2, "pending"))
	}
	p := pipelineBeside(flood, 1)
	row := func(id, customer int) *kgo.Record {
		return record("address", insert, 2, columns("id", uuid(id)), nil, columns("id", uuid(id),
			"customer_id", uuid(customer), "type", "home", "is_default", true,
			"updated_at", "2026-11-22T07:55:47Z", "lab_version", int64(2)))
	}
	p.feed(t, row(1, 7))
	if p.settler.parking.count != 1 || p.settler.parking.full() {
		t.Errorf("%d parked, and the partition takes no more", p.settler.parking.count)
	}
	taken := 1
	for !p.settler.parking.full() && taken < 100 {
		taken++
		p.feed(t, row(taken, 7))
	}
	if share := 64 << 10 / shares; taken == 100 || p.settler.parking.bytes < share {
		t.Errorf("%d bytes of %d events are parked, want hardly more than %d", p.settler.parking.bytes, taken, share)
	}
}

// TestParkedHoldsNoBatch: one parked record does not keep all that was fetched with it.
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
		r := orderRow(insert, i+1, 7, 2, "pending")
		r.Key, r.Value = alias(r.Key), alias(r.Value)
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "header", Value: alias([]byte("its value"))})
		p.feed(t, r)
	}
	p.feed(t, customer(insert, 8, 1, "b@x")) // the last batch is still at hand
	runtime.GC()
	kept := 0
	for _, whole := range fetched {
		if whole.Value() != nil {
			kept++
		}
	}
	if kept > 1 || p.settler.parking.count != batches {
		t.Errorf("%d parked events keep %d of as many batches", p.settler.parking.count, kept)
	}
	runtime.KeepAlive(p)
	p.feed(t, customer(insert, 7, 1, "a@x"))
	p.tick(t, time.Second)
	if p.document(t, "orders", uuid(1)) == nil {
		t.Error("what was parked is not stored")
	}
}

// TestEndedParent: a row that refers to one that has ended before it waits; one that came before
// the end does not.
func TestEndedParent(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, customer(insert, 7, 1, "a@x"), customer(remove, 7, 5, nil))
	p.feed(t, orderRow(insert, 1, 7, 4, "pending"), orderRow(insert, 2, 7, 6, "pending"))
	if p.document(t, "orders", uuid(1)) == nil || p.document(t, "orders", uuid(2)) != nil {
		t.Errorf("before the end: %v, after it: %v", p.document(t, "orders", uuid(1)), p.document(t, "orders", uuid(2)))
	}
}

// TestEndedElsewhere: that a parent is there is not believed for ever, as another member of the group may
// end it.
func TestEndedElsewhere(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, customer(insert, 7, 1, "a@x"))
	p.feed(t, orderRow(insert, 1, 7, 2, "pending"))
	other := newTestConsumer(DefaultConfig(), p.memory).pipeline(p.memory, p.topic, 1)
	other.feed(t, customer(remove, 7, 5, nil))
	p.clock = p.clock.Add(sightingTTL + time.Second)
	p.feed(t, orderRow(insert, 2, 7, 6, "pending"))
	if p.document(t, "orders", uuid(1)) == nil || p.document(t, "orders", uuid(2)) != nil {
		t.Errorf("before the end: %v, after it: %v", p.document(t, "orders", uuid(1)), p.document(t, "orders", uuid(2)))
	}
}

// TestShellIsNoParent: a document that is there only for what is embedded in it is not the row.
func TestShellIsNoParent(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.memory.documents["customers"] = map[string]bson.M{
		uuid(7): {"_id": uuid(7), metadataMember: bson.M{"position": "", "shell": true}}}
	p.feed(t, orderRow(insert, 1, 7, 2, "pending"))
	if got := p.document(t, "orders", uuid(1)); got != nil {
		t.Errorf("before its customer came the order is %v", got)
	}
}

// registryWith is the built-in specs, with more said of each reference.
func registryWith(t *testing.T, more string) *entity.Registry {
	t.Helper()
	specs := fstest.MapFS{}
	paths, err := filepath.Glob("entity/specs/*.yaml")
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
	return registry
}
