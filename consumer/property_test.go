package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// group is a consumer group of two members over one store. Each partition has an owner; whoever had
// it before may still be writing.
type group struct {
	t       *rapid.T
	source  *source
	memory  *memoryStore
	members [2]*Consumer
	owned   map[topicPartition]*owner
	zombies []*owner
	clock   time.Time
	seen    map[place]string // the newest position that a reader saw
}

// owner is a member's work on a partition. at is the next record to take.
type owner struct {
	*pipeline
	at      int
	pending bool // its job is under way
	from    topicPartition
}

func newGroup(t *rapid.T, s *source) *group {
	g := &group{t: t, source: s, memory: newMemoryStore(), owned: map[topicPartition]*owner{},
		clock: testTime, seen: map[place]string{}}
	for i := range g.members {
		g.members[i] = newTestConsumer(DefaultConfig(), g.memory)
	}
	for _, at := range s.partitions() {
		g.assign(at, 0)
	}
	return g
}

// assign gives the partition to a member that begins where the group last committed.
func (g *group) assign(at topicPartition, member int) {
	from := 0
	if before := g.owned[at]; before != nil {
		if !before.pending {
			before.leave()
		}
		from = int(max(before.marked, 0))
	}
	p := g.members[member].pipeline(g.memory, at.topic, at.number)
	p.marked = int64(from)
	now := func() time.Time { return g.clock }
	p.settler.now, p.planner.now, g.members[member].parents.now = now, now, now
	g.owned[at] = &owner{pipeline: p, at: from, from: at}
}

func (g *group) records(o *owner) int { return len(g.source.log[o.from]) }

// begin plans the owner's next batch.
func (g *group) begin(o *owner, most int) {
	n := min(most, g.records(o)-o.at)
	if n == 0 || o.settler.parking.full() {
		return
	}
	var batch []arrival
	for _, r := range g.source.log[o.from][o.at : o.at+n] {
		batch = append(batch, arrival{r, testTime})
	}
	o.planner.plan(&o.job, batch)
	o.last = batch[n-1].record
	o.at, o.pending = o.at+n, true
}

// look does what comes before the writes of the next round.
func (g *group) look(o *owner) {
	if o.job.round == nil {
		o.job.round = o.job.next()
	}
	if r := o.job.round; r != nil && !r.built {
		if err := o.settler.build(context.Background(), &o.job, r); err != nil && !errors.Is(err, errWaiting) {
			g.t.Fatal(err)
		}
	}
}

// end does the rest; the job stays pending where it waits for another partition.
func (g *group) end(o *owner) {
	err := o.settler.try(context.Background(), &o.job)
	if errors.Is(err, errWaiting) {
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
		g.t.Fatalf("a legal history: %s at %s/%d was rejected: %v", o.letters[i].record.Value,
			o.from.topic, o.letters[i].record.Offset, o.letters[i].err)
	}
}

func (g *group) unpark(o *owner) {
	if o.pending || o.settler.parking.count == 0 {
		return
	}
	if err := o.partition.unpark(context.Background()); err != nil {
		g.t.Fatal(err)
	}
	g.none(o)
}

// step is one thing that happens in the group.
func (g *group) step() {
	at := rapid.SampledFrom(g.source.partitions()).Draw(g.t, "partition")
	o := g.owned[at]
	switch rapid.IntRange(0, 9).Draw(g.t, "step") {
	case 0: // the partition goes to another member; this one goes on with what it has
		if o.pending {
			g.zombies = append(g.zombies, o)
		}
		g.assign(at, rapid.IntRange(0, 1).Draw(g.t, "member"))
	case 1: // it looks at the store, and is stopped before it writes
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

// drain lets everything come to its end.
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
			busy = busy || o.pending || o.at < g.records(o) || o.settler.parking.count > 0
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
		if o.pending || o.settler.parking.count > 0 || o.marked != int64(g.records(o)) {
			g.t.Fatalf("%v is not at its end: pending %t, %d parked, offset %d of %d", at, o.pending,
				o.settler.parking.count, o.marked, g.records(o))
		}
	}
}

// read is a reader: what it sees of a row is never older than what it saw before, and always a
// state that the row had.
func (g *group) read() {
	for collection, documents := range g.memory.documents {
		if collection == keptCollection {
			continue
		}
		for id, document := range documents {
			entity := map[string]string{"customers": "customer", "addresses": "address", "orders": "order"}[collection]
			g.readRow(place{collection: collection, id: id}, entity, id, document)
			items, _ := document["items"].(bson.M)
			for item, row := range items {
				g.readRow(place{collection, id, "items", item}, "order_item", item, row.(bson.M))
			}
		}
	}
}

func (g *group) readRow(at place, entity, id string, row bson.M) {
	position := positionOf(row)
	if position < g.seen[at] {
		g.t.Fatalf("%+v went back from %s to %s", at, g.seen[at], position)
	}
	g.seen[at] = position
	own := row[metadataMember].(bson.M)
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
		if g.memory.documents["customers"][customer] == nil {
			g.t.Fatalf("%+v is shown before its customer", at)
		}
	}
}

func (g *group) compare(at place, want map[string]any, row bson.M) {
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
		own := row[metadataMember].(bson.M)
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
	for collection, entity := range map[string]string{"customers": "customer", "addresses": "address", "orders": "order"} {
		for id, document := range g.memory.documents[collection] {
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
		g.compare(place{id: fmt.Sprint(key)}, key.shown(&row), live[key])
	}
	for key := range live {
		if _, there := g.source.rows[key]; !there {
			g.t.Fatalf("%v is shown and not in the source", key)
		}
	}
}

// TestInvariant: whatever is delivered again, by whomever and in whatever order the partitions come,
// no reader sees a row go back or a deleted one return, nothing legal is rejected, and in the end
// the documents are the rows. -rapid.checks sets the number of histories.
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
