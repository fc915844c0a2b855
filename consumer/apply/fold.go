package apply

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/order"
)

// change is the effect of an event at a place.
type change struct {
	documents.Place
	*draft
	// elements are the members to set, as BSON elements in a row; absent the names of the members
	// to remove.
	elements []byte
	absent   []string
	deleted  bool
	aside    bool // true at the place left by an item, and for a row ended by a truncate
	// fresh is the earliest change at the place, if the change makes a row; the place must be free.
	fresh *draft
	// shared is the position from which on another row has the key, "" where none has.
	shared string
	reborn bool // true if the row ended before, in the same round
}

// raisedPosition returns the position to store: above all to come where two rows share the place.
func (c *change) raisedPosition() string {
	if c.shared == "" {
		return c.position
	}
	return order.Raise(c.position, c.comes)
}

// describeRow fills in the content left at the change's place.
func (c *change) describeRow(w *documents.Write) {
	*w = documents.Write{Place: c.Place, Spec: c.table.Spec(), Elements: c.elements,
		Absent: c.absent, Deleted: c.deleted, Fresh: c.fresh != nil,
		About: documents.About{Position: c.raisedPosition(), Operation: c.operation,
			TxID: c.change.TxID, SourceAt: c.sourceAt, ProcessedAt: c.processedAt,
			DeletedAt: c.deletedAt, Unknown: c.unknown, Shared: c.shared}}
	if c.record != nil {
		w.Topic, w.Partition, w.Offset = c.record.Topic, c.record.Partition, c.record.Offset
		w.Incarnation = c.anew
	}
	for i := range c.orphan {
		w.Orphan = append(w.Orphan, c.orphan[i].Field)
	}
}

// appendChanges appends the draft's changes, place by place. A moved embedded row leaves a
// tombstone at the old place.
func (d *draft) appendChanges(made []change, h *held) []change {
	spec := d.table.Spec()
	c := change{draft: d, elements: d.members, absent: d.absent, deleted: d.endsTheRow()}
	if spec.Embed == nil {
		if d.op == debezium.Create {
			c.fresh = d
		}
		c.Place = documents.Place{Collection: spec.Collection, ID: d.key}
		return append(made, c)
	}
	at := func(document string) documents.Place {
		return documents.Place{Collection: spec.Collection, ID: document, Field: spec.Embed.Field,
			Item: d.key}
	}
	from := len(made)
	var left []string
	switch {
	case c.deleted && d.parent != "":
		left = []string{d.parent}
	case c.deleted || d.again || d.op == debezium.Update && d.before == "":
		left = h.places[d.key]
	case d.op == debezium.Update:
		left = []string{d.before}
	}
	if !c.deleted {
		c.Place = at(d.parent)
		made = append(made, c)
	}
	for _, document := range left {
		if !c.deleted && document == d.parent {
			continue
		}
		gone := change{Place: at(document), draft: d, deleted: true, aside: len(made) > from}
		made = append(made, gone)
	}
	d.unfound = d.op == debezium.Update && d.before == "" && len(left) == 0
	h.noteMove(d, len(left) > 0)
	return made
}

// noteMove notes the place of an embedded row. An event newer than all before that left the other
// places leaves nothing there for the next event; otherwise the work for many moves of a row would
// grow with the square of their number.
func (h *held) noteMove(d *draft, hasLeft bool) {
	if d.endsTheRow() {
		return
	}
	newest := d.position > h.newest[d.key]
	if newest {
		h.newest[d.key] = d.position
	}
	switch {
	case newest && hasLeft && (d.again || d.before == ""):
		h.places[d.key] = []string{d.parent}
	case !slices.Contains(h.places[d.key], d.parent):
		h.places[d.key] = append(h.places[d.key], d.parent)
	}
}

// write is the changes of a round at a place, folded into the change of the last position. Members
// left out by a change come from the change before.
type write struct {
	change
	from []change // all changes, in the order of the log; nil where there is only one
}

// eachChange visits the changes of the write, in the order of the log.
func (w *write) eachChange(visit func(*change)) {
	if w.from == nil {
		visit(&w.change)
	}
	for i := range w.from {
		visit(&w.from[i])
	}
}

// wasMadeByUpdates returns true if a write, applied, made a row, and no event of the write is the
// row's beginning.
func (w *write) wasMadeByUpdates(done documents.Outcome) bool {
	if done.Stale || !done.New && !w.Embedded() {
		return false
	}
	made := !w.Embedded()
	w.eachChange(func(c *change) {
		if w.Embedded() {
			made = made || c.unfound && !c.comes
		} else {
			made = made && c.op == debezium.Update && !c.comes
		}
	})
	return made
}

// folder folds the changes of a round, and keeps the memory for the next.
type folder struct {
	changes []change // of the round, in the order of the log
	at      map[documents.Place]int
	writes  []write
	refused []change // by a place that another row has
	behind  []change // of a lower position, and perhaps newer
}

// foldByPlace keeps the order of the first change at each place. A replayed older event adds
// nothing, not even a member, because a member's value may have changed since. The result is valid
// until the next fold.
func (f *folder) foldByPlace() []write {
	if f.at == nil {
		f.at = map[documents.Place]int{}
	}
	clear(f.at)
	clear(f.writes)
	f.writes, f.refused, f.behind = f.writes[:0], nil, nil
	for i := range f.changes {
		c := &f.changes[i]
		n, seen := f.at[c.Place]
		if !seen {
			f.at[c.Place] = len(f.writes)
			f.writes = append(f.writes, write{change: *c})
			continue
		}
		w := &f.writes[n]
		later := c.position > w.position || c.position == w.position && c.readAt != 0 &&
			deadletter.OriginOffset(c.record) > deadletter.OriginOffset(w.record)
		if later && c.position == w.position {
			c.position = c.place().AfterStored(w.position)
		}
		if later && !f.isFreeFor(c, w) {
			continue
		}
		if c.position < w.position && c.mayBeNewer() {
			f.behind = append(f.behind, *c)
			continue
		}
		if w.from == nil {
			w.from = []change{w.change}
		}
		w.from = append(w.from, *c)
		if later {
			fresh, reborn := w.fresh, w.deleted || w.reborn
			w.change = *c
			w.fresh, w.reborn = fresh, reborn
		}
	}
	for i := range f.writes {
		if w := &f.writes[i]; w.from != nil {
			top := w.change
			w.change = laidOver(w.from)
			w.fresh, w.shared, w.reborn = top.fresh, top.shared, top.reborn
		}
	}
	return f.writes
}

// isFreeFor returns true if the change may follow the write at the write's place. Otherwise another
// row has the key: the change is refused, or is the end of a row whose key the write took.
func (f *folder) isFreeFor(c *change, w *write) bool {
	if w.shared != "" && w.shared < c.position && c.position < w.raisedPosition() {
		f.refused = append(f.refused, *c)
		return false
	}
	if c.fresh == nil || w.deleted || w.aside || w.op != debezium.Create &&
		w.op != debezium.Update {
		return true
	}
	switch c.place().JudgeClaim(w.metadata()) {
	case order.Displaced:
		c.shared = c.position
	case order.Occupied:
		w.shared = c.position
		f.refused = append(f.refused, *c)
		return false
	}
	return true
}

// laidOver lays each change of a place over the changes before, in the order of the log: members
// unknown to the newer stay as in the older. The work is in proportion to all members.
func laidOver(changes []change) change {
	var newer []*change // each of a later position than all before
	for i := range changes {
		c := &changes[i]
		if len(newer) == 0 || c.position > newer[len(newer)-1].position {
			newer = append(newer, c)
		}
	}
	last := newer[len(newer)-1]
	both := *last
	both.absent = slices.Clip(last.absent)
	runs := [][]byte{last.elements}
	var known map[string]struct{} // members of the changes so far, from the last on
	ended := len(newer)           // what the changes from here on lack is known
	for i := len(newer) - 2; i >= 0; i-- {
		c := newer[i]
		if known == nil && len(c.absent) == 0 && documents.SameMembers(c.elements, last.elements) {
			continue // the usual case: all rows have all the columns
		}
		if known == nil {
			members := 0
			for _, one := range newer[:i+2] {
				members += documents.CountMembers(one.elements)
			}
			known = make(map[string]struct{}, members)
			last.addMemberNames(known)
		}
		if c.deleted { // older values are of a row that ended
			for _, after := range newer[i+1 : ended] {
				for _, name := range after.missing {
					known[name] = struct{}{}
				}
			}
			ended = i + 1
		}
		isNew := func(name string) bool {
			before := len(known)
			known[name] = struct{}{}
			return len(known) > before
		}
		from, to := 0, 0 // a run of new members
		for to < len(c.elements) {
			element, _, ok := bsoncore.ReadElement(c.elements[to:])
			if !ok {
				break
			}
			if !isNew(element.Key()) {
				runs, from = append(runs, c.elements[from:to]), to+len(element)
			}
			to += len(element)
		}
		runs = append(runs, c.elements[from:to])
		for _, name := range c.absent {
			if isNew(name) {
				both.absent = append(both.absent, name)
			}
		}
	}
	if len(runs) > 1 {
		both.elements = slices.Concat(runs...)
	}
	return both
}

// addMemberNames adds the names of the members that the change sets or removes.
func (c *change) addMemberNames(names map[string]struct{}) {
	for rest := c.elements; len(rest) > 0; {
		element, after, ok := bsoncore.ReadElement(rest)
		if !ok {
			break
		}
		names[element.Key()], rest = struct{}{}, after
	}
	for _, name := range c.absent {
		names[name] = struct{}{}
	}
}

// noteUnknown notes the values that an update leaves out as unchanged, and that neither the round
// nor the store has: the row's history is gone.
func (w *write) noteUnknown(stored bson.Raw) {
	m := documents.MetadataOf(stored)
	lacks := w.reborn || m.Position == "" || m.Deleted
	have := map[string]struct{}{}
	w.addMemberNames(have)
	for _, member := range w.missing {
		if _, has := have[member]; has || !lacks && stored.Lookup(member).Type != 0 {
			continue
		}
		w.unknown = append(w.unknown, member)
		if lacks && len(stored) > 0 {
			w.absent = append(slices.Clip(w.absent), member) // of an earlier row
		}
	}
}

// refuseFolded returns the reason to refuse a change at a place of two rows; nil for the end of the
// row that had the key before.
func (a *Applier) refuseFolded(c *change, w write) error {
	if w.comes && a.endsAnotherRow(c, documents.AsDocument(w.elements)) {
		return nil
	}
	return c.occupiedError(w.metadata())
}

// endsAnotherRow returns true for the end of the row that had the key before the row that has the
// key now.
func (a *Applier) endsAnotherRow(c *change, row bson.Raw) bool {
	if !c.deleted {
		return false
	}
	told, _, err := a.planner.rowBefore(c.draft)
	return err == nil && !documents.HasMembers(row, told)
}
