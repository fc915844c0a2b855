package consumer

import (
	"bytes"
	"slices"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// place is where a row lives: a document, or the member field.item of one.
type place struct{ collection, id, field, item string }

func (p place) embedded() bool { return p.field != "" }

// change is what one event does at one place.
type change struct {
	place
	*draft
	// elements are the members to set, as BSON elements one after the other; absent the names of those
	// to remove.
	elements []byte
	absent   []string
	deleted  bool
	aside    bool // the place an item moved away from, or a row that a truncate ends
}

// write is the changes of one round at one place, folded into one: the last position's, and for
// the members that one left out, those of the change before it.
type write struct {
	change
	from []change // all of them, in the order of the log; nil where there is only the one
}

// each visits the changes that the write stands for, in the order of the log.
func (w *write) each(visit func(*change)) {
	if w.from == nil {
		visit(&w.change)
	}
	for i := range w.from {
		visit(&w.from[i])
	}
}

// folder folds the changes of one round. It keeps its memory for the next.
type folder struct {
	at     map[place]int
	writes []write
}

// fold keeps the order in which places were first met. A replayed older event adds nothing, not
// even a member: what it holds may have changed since. The result is valid until the next fold.
func (f *folder) fold(changes []change) []write {
	if f.at == nil {
		f.at = map[place]int{}
	}
	clear(f.at)
	clear(f.writes)
	f.writes = f.writes[:0]
	for i := range changes {
		c := &changes[i]
		n, seen := f.at[c.place]
		if !seen {
			f.at[c.place] = len(f.writes)
			f.writes = append(f.writes, write{change: *c})
			continue
		}
		w := &f.writes[n]
		if w.from == nil {
			w.from = []change{w.change}
		}
		w.from = append(w.from, *c)
		if c.position > w.position {
			w.change = c.over(&w.change)
		}
	}
	return f.writes
}

// over is the change on top of an older one: members that the newer does not speak of stay as the
// older has them.
func (c *change) over(old *change) change {
	both := *c
	if sameNames(c.elements, old.elements) && len(c.absent) == 0 && len(old.absent) == 0 {
		return both
	}
	set := names(c.elements)
	for rest := old.elements; len(rest) > 0; {
		element, after, ok := bsoncore.ReadElement(rest)
		if !ok {
			break
		}
		rest = after
		if name := element.Key(); !slices.Contains(set, name) && !slices.Contains(c.absent, name) {
			both.elements = append(both.elements[:len(both.elements):len(both.elements)], element...)
		}
	}
	for _, name := range old.absent {
		if !slices.Contains(set, name) && !slices.Contains(c.absent, name) {
			both.absent = append(both.absent[:len(both.absent):len(both.absent)], name)
		}
	}
	return both
}

func names(elements []byte) []string {
	var all []string
	for len(elements) > 0 {
		element, rest, ok := bsoncore.ReadElement(elements)
		if !ok {
			break
		}
		all, elements = append(all, element.Key()), rest
	}
	return all
}

// sameNames spares the usual case: both rows have all the columns.
func sameNames(a, b []byte) bool {
	for len(a) > 0 && len(b) > 0 {
		one, restA, okA := bsoncore.ReadElement(a)
		other, restB, okB := bsoncore.ReadElement(b)
		if !okA || !okB || !bytes.Equal(one.KeyBytes(), other.KeyBytes()) {
			return false
		}
		a, b = restA, restB
	}
	return len(a) == len(b)
}
