package tracker

import (
	"fmt"
	"strings"
	"testing"
)

// TestBackward: a version after a later version is told, and so is a row that lives again in the
// version that ended. Replays, moves, new rows under an old key and events without a version are
// not told.
func TestBackward(t *testing.T) {
	t.Parallel()
	row := func(version int64) []sighting { return []sighting{{key: "r", version: version}} }
	ended := []sighting{{key: "r", deleted: true}}
	type event struct {
		document string
		seen     []sighting
	}
	for name, c := range map[string]struct {
		events []event
		count  int64
		first  string
	}{
		"forward":        {[]event{{"r", row(1)}, {"r", row(2)}, {"r", row(5)}}, 0, ""},
		"the same again": {[]event{{"r", row(2)}, {"r", row(2)}}, 0, ""},
		"nothing told":   {[]event{{"r", row(2)}, {"r", row(0)}}, 0, ""},
		"a new row":      {[]event{{"r", row(2)}, {"r", ended}, {"r", row(3)}}, 0, ""},
		"a move": {[]event{{"a", row(2)}, {"b", row(3)}, {"a", ended}, {"b", row(3)}},
			0, ""},
		"the end again":  {[]event{{"r", row(2)}, {"r", ended}, {"r", ended}}, 0, ""},
		"the end unseen": {[]event{{"r", ended}, {"r", row(2)}}, 0, ""},
		"an older version": {[]event{{"r", row(4)}, {"r", row(2)}}, 1,
			"document r showed version 4, and then version 2"},
		"and forward again": {[]event{{"r", row(4)}, {"r", row(2)}, {"r", row(3)}, {"r", row(4)}},
			2, "then version 2"},
		"an ended row": {[]event{{"r", row(4)}, {"r", ended}, {"r", row(4)}}, 1,
			"document r showed the end of version 4, and then version 4"},
		"an embedded row": {[]event{{"d", row(4)}, {"d", row(2)}}, 1,
			"document d showed version 4 of the row r, and then version 2"},
	} {
		b := newBackward()
		for _, e := range c.events {
			b.note(e.document, e.seen)
		}
		if b.count != c.count || !strings.Contains(b.first.String(), c.first) ||
			(b.first == nil) != (c.count == 0) {
			t.Errorf("%s: %d, %q, want %d, %q", name, b.count, b.first, c.count, c.first)
		}
	}
}

// TestBackwardIsBounded: places of long ago are forgotten, and recent places are not.
func TestBackwardIsBounded(t *testing.T) {
	t.Parallel()
	b := newBackward()
	see := func(n int, version int64) {
		key := fmt.Sprint(n)
		b.note(key, []sighting{{key: key, version: version}})
	}
	for n := range 5 * placesMax / 2 {
		see(n, 2)
		see(0, 2) // seen again and again
	}
	if held := len(b.newest) + len(b.before); held > 2*placesMax {
		t.Errorf("%d places are held", held)
	}
	see(5*placesMax/2-1, 1)
	see(0, 1)
	if b.count != 2 {
		t.Errorf("%d of 2 recent places are known to have gone back", b.count)
	}
}
