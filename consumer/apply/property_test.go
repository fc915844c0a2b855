package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/documents/documentstest"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// group is a consumer group of two members over a store. Each partition has an owner; earlier
// owners may still be writing.
type group struct {
	t       *rapid.T
	source  *source
	memory  *documentstest.WatchedStore
	members [2]*Shared
	owned   map[topicPartition]*owner
	zombies []*owner
	clock   time.Time
	seen    map[documents.Place]string // the newest position seen by a reader
}

// owner is a member's work on a partition. at is the next record to take.
type owner struct {
	*pipeline
	at      int
	pending bool // the job is under way
	from    topicPartition
}

func newGroup(t *rapid.T, s *source) *group {
	g := &group{t: t, source: s, memory: documentstest.NewWatchedStore(),
		owned: map[topicPartition]*owner{},
		clock: consumertest.Time, seen: map[documents.Place]string{}}
	for i := range g.members {
		g.members[i] = member(DefaultConfig(), g.memory)
	}
	for _, at := range s.partitions() {
		g.assign(at, 0)
	}
	return g
}

// assign gives the partition to a member, beginning at the group's last commit.
func (g *group) assign(at topicPartition, member int) {
	from := 0
	if before := g.owned[at]; before != nil {
		if !before.pending {
			before.Leave()
		}
		from = int(max(before.marked, 0))
	}
	p := g.members[member].pipeline(g.memory)
	p.marked = int64(from)
	now := func() time.Time { return g.clock }
	p.now, p.planner.now, g.members[member].parents.now = now, now, now
	g.owned[at] = &owner{pipeline: p, at: from, from: at}
}

func (g *group) records(o *owner) int { return len(g.source.log[o.from]) }

// begin plans the owner's next batch.
func (g *group) begin(o *owner, most int) {
	n := min(most, g.records(o)-o.at)
	if n == 0 || o.parking.takesNoMore() {
		return
	}
	var batch []telemetry.Arrival
	for _, r := range g.source.log[o.from][o.at : o.at+n] {
		batch = append(batch, telemetry.Arrival{Record: r, Polled: consumertest.Time})
	}
	o.Take(batch)
	o.at, o.pending = o.at+n, true
}

// look does the part before the writes of the next round.
func (g *group) look(o *owner) {
	if o.job.round == nil {
		o.job.round = o.job.nextRound()
	}
	if r := o.job.round; r != nil && !r.built {
		if err := o.buildRound(context.Background(), r); err != nil && !errors.Is(err, ErrWaiting) {
			g.t.Fatal(err)
		}
	}
}

// end does the rest; a job waiting for another partition stays pending.
func (g *group) end(o *owner) {
	err := o.Step(context.Background())
	if errors.Is(err, ErrWaiting) {
		return
	}
	if err != nil {
		g.t.Fatal(err)
	}
	o.pending = false
	o.commit()
	g.none(o)
}

func (g *group) none(o *owner) {
	for i := range o.letters {
		g.t.Fatalf("a legal history: %s at %s/%d was rejected: %v", o.letters[i].Record.Value,
			o.from.topic, o.letters[i].Record.Offset, o.letters[i].Err)
	}
}

func (g *group) unpark(o *owner) {
	if o.pending || o.parking.count == 0 {
		return
	}
	if err := o.release(); err != nil {
		g.t.Fatal(err)
	}
	g.none(o)
}

// step does a single thing in the group.
func (g *group) step() {
	at := rapid.SampledFrom(g.source.partitions()).Draw(g.t, "partition")
	o := g.owned[at]
	switch rapid.IntRange(0, 9).Draw(g.t, "step") {
	case 0: // the partition goes to another member; the old goes on
		if o.pending {
			g.zombies = append(g.zombies, o)
		}
		g.assign(at, rapid.IntRange(0, 1).Draw(g.t, "member"))
	case 1: // a look at the store, stopped before the write
		if o.pending {
			g.look(o)
		}
	case 2, 3:
		if len(g.zombies) > 0 {
			i := rapid.IntRange(0, len(g.zombies)-1).Draw(g.t, "zombie")
			z := g.zombies[i]
			g.end(z)
			if !z.pending {
				g.zombies = append(g.zombies[:i], g.zombies[i+1:]...)
			}
		}
	case 4:
		g.unpark(o)
	case 5:
		g.clock = g.clock.Add(50 * time.Millisecond)
	default:
		if !o.pending {
			g.begin(o, rapid.IntRange(1, 6).Draw(g.t, "batch"))
		} else {
			g.end(o)
		}
	}
	g.read()
}

// drain lets everything come to an end.
func (g *group) drain() {
	for range 1000 {
		busy := false
		for _, at := range g.source.partitions() {
			o := g.owned[at]
			if !o.pending {
				g.begin(o, 500)
			}
			if o.pending {
				g.end(o)
			}
			g.unpark(o)
			g.read()
			busy = busy || o.pending || o.at < g.records(o) || o.parking.count > 0
		}
		g.clock = g.clock.Add(100 * time.Millisecond)
		if !busy {
			break
		}
	}
	for _, z := range g.zombies {
		g.end(z)
		g.read()
	}
	for at, o := range g.owned {
		if o.pending || o.parking.count > 0 || o.marked != int64(g.records(o)) {
			g.t.Fatalf("%v is not at its end: pending %t, %d parked, offset %d of %d", at,
				o.pending,
				o.parking.count, o.marked, g.records(o))
		}
	}
}

// read is a reader: a row is never older than when seen before, and always in a state from the
// row's history.
func (g *group) read() {
	for collection, rows := range g.memory.Documents {
		if collection == documents.KeptCollection {
			continue
		}
		for id, document := range rows {
			entity := map[string]string{"customers": "customer", "addresses": "address",
				"orders": "order"}[collection]
			g.readRow(documents.Place{Collection: collection, ID: id}, entity, id, document)
			items, _ := document["items"].(bson.M)
			for item, row := range items {
				g.readRow(documents.Place{Collection: collection, ID: id, Field: "items",
					Item: item}, "order_item", item, row.(bson.M))
			}
		}
	}
}

func (g *group) readRow(at documents.Place, entity, id string, row bson.M) {
	position := documents.PositionOf(row)
	if position < g.seen[at] {
		g.t.Fatalf("%+v went back from %s to %s", at, g.seen[at], position)
	}
	g.seen[at] = position
	own := row[documents.MetadataMember].(bson.M)
	if own["shell"] == true || own["deleted"] == true {
		return
	}
	if own["orphan"] != nil {
		g.t.Fatalf("%+v: a legal row is called an orphan", at)
	}
	key := rowKey{entity: entity}
	fmt.Sscanf(strings.TrimLeft(id[24:], "0"), "%d", &key.id)
	was := g.source.was[key][position]
	if was == nil {
		g.t.Fatalf("%+v is shown at %s, where the source had no such row", at, position)
	}
	g.compare(at, key.shown(was), row)
	if customer, refers := row["customerId"].(string); refers {
		if g.memory.Documents["customers"][customer] == nil {
			g.t.Fatalf("%+v is shown before its customer", at)
		}
	}
}

func (g *group) compare(at documents.Place, want map[string]any, row bson.M) {
	for member, value := range want {
		if row[member] != value {
			g.t.Fatalf("%+v shows %s = %v, the source had %v then", at, member, row[member], value)
		}
	}
}

// equal: in the end readers see the rows of the source, and no others.
func (g *group) equal() {
	live := map[rowKey]bson.M{}
	note := func(entity, id string, row bson.M) {
		own := row[documents.MetadataMember].(bson.M)
		if own["deleted"] == true || own["shell"] == true {
			return
		}
		key := rowKey{entity: entity}
		fmt.Sscanf(strings.TrimLeft(id[24:], "0"), "%d", &key.id)
		if live[key] != nil {
			g.t.Fatalf("%v is there twice", key)
		}
		live[key] = row
	}
	for collection, entity := range map[string]string{"customers": "customer",
		"addresses": "address", "orders": "order"} {
		for id, document := range g.memory.Documents[collection] {
			note(entity, id, document)
			items, _ := document["items"].(bson.M)
			for item, row := range items {
				note("order_item", item, row.(bson.M))
			}
		}
	}
	for key, row := range g.source.rows {
		if live[key] == nil {
			g.t.Fatalf("%v is lost", key)
		}
		g.compare(documents.Place{ID: fmt.Sprint(key)}, key.shown(&row), live[key])
	}
	for key := range live {
		if _, there := g.source.rows[key]; !there {
			g.t.Fatalf("%v is shown and not in the source", key)
		}
	}
}

// TestInvariant: under any redelivery, by any member and in any order of the partitions, no reader
// sees a row go back or a deleted row return, nothing legal is rejected, and in the end the
// documents are the rows. -rapid.checks sets the number of histories.
func TestInvariant(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newSource(t)
		s.draw()
		if len(s.log) == 0 {
			return
		}
		g := newGroup(t, s)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			g.step()
		}
		g.drain()
		g.equal()
	})
}
