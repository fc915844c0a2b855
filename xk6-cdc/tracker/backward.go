package tracker

import (
	"sync"

	"github.com/cdclab/cdclab/ledger"
)

// backward notices documents that go back: an event of the change stream shows a version of a row,
// and an earlier event showed a later version at the same place, or the end of the row. A check of
// the documents after the load sees none of that where the document came forward again. Polls may
// leave versions out, and read between two events, so they are not asked.
type backward struct {
	mu sync.Mutex
	// newest are the places of the last events, and before those of earlier events; both together
	// are bounded.
	newest, before map[place]shown
	count          int64
	first          *ledger.Backward
}

// place is a document and, of an embedded row, the row's key.
type place struct{ document, key string }

// shown is what the events showed at a place: the highest version, and whether the row ended.
type shown struct {
	version int64
	ended   bool
}

// placesMax bounds each of the two maps: some 100 bytes a place.
const placesMax = 1 << 16

func newBackward() *backward { return &backward{newest: map[place]shown{}} }

// note takes the rows of an event in the order of the stream.
func (b *backward) note(document string, seen []sighting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range seen {
		if one.version == 0 && !one.deleted {
			continue // the event tells nothing of the row
		}
		at := place{document, one.key}
		last, known := b.newest[at]
		if !known {
			last = b.before[at]
		}
		switch {
		case one.deleted:
			last.ended = true
		case one.version > last.version:
			last = shown{version: one.version}
		case one.version < last.version || last.ended:
			if b.count++; b.first == nil {
				b.first = &ledger.Backward{Document: document, Key: one.key, Shown: last.version,
					Ended: last.ended, Then: one.version}
			}
		}
		if len(b.newest) >= placesMax && !known {
			b.newest, b.before = map[place]shown{}, b.newest
		}
		b.newest[at] = last
	}
}

// Backward returns how many events showed an older state of a row than an event before, and the
// first of them; nil for none. A poll tells of none.
func (t *Tracker) Backward() (count int64, first *ledger.Backward) {
	t.backward.mu.Lock()
	defer t.backward.mu.Unlock()
	return t.backward.count, t.backward.first
}
