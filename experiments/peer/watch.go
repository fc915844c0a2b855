package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Watched is what a reader saw of the updated rows and of the deleted rows, keysOfCase each, while
// duplicates of their events were replayed.
type Watched struct {
	Sink string `json:"sink"`
	// Looks is how often the reader read all keys.
	Looks int `json:"looks"`
	// WentBack are updated rows with an older version seen after a newer version, Reappeared
	// deleted rows seen again.
	WentBack   int `json:"wentBack"`
	Reappeared int `json:"reappeared"`
	// Example is a key of either kind, "" without any.
	Example string `json:"example,omitempty"`
}

// watcher remembers what was seen of each key.
type watcher struct {
	seen       Watched
	newest     map[int64]int64
	back, here map[int64]bool
}

func newWatcher(sink string) *watcher {
	return &watcher{Watched{Sink: sink}, map[int64]int64{}, map[int64]bool{}, map[int64]bool{}}
}

// check compares the rows read with the rows read before: an updated row that is gone went back as
// well.
func (w *watcher) check(rows map[int64]rowTexts) {
	w.seen.Looks++
	for _, key := range caseKeys(caseUpdated) {
		version := int64(-1)
		if row, is := rows[key]; is {
			version = row.version()
		}
		newest, before := w.newest[key]
		if before && version < newest && !w.back[key] {
			w.back[key] = true
			w.example(fmt.Sprintf("key %d: version %d after %d", key, version, newest))
		}
		if !before || version > newest {
			w.newest[key] = version
		}
	}
	for _, key := range caseKeys(caseDeleted) {
		if row, is := rows[key]; is && !w.here[key] {
			w.here[key] = true
			w.example(fmt.Sprintf("key %d: version %d of a deleted row", key, row.version()))
		}
	}
	w.seen.WentBack, w.seen.Reappeared = len(w.back), len(w.here)
}

func (w *watcher) example(text string) {
	if w.seen.Example == "" {
		w.seen.Example = text
	}
}

// watch begins to read; the returned function waits until ctx has ended and hands over what was
// seen.
func watch(ctx context.Context, store *store) (func() (Watched, error), error) {
	keys := slices.Concat(caseKeys(caseUpdated), caseKeys(caseDeleted))
	w := newWatcher(store.sink)
	rows, err := store.some(ctx, keys)
	if err != nil {
		return nil, err
	}
	w.check(rows)
	done := make(chan error, 1)
	go func() {
		for {
			rows, err := store.some(ctx, keys)
			if ctx.Err() != nil {
				err = nil
			}
			if err != nil || ctx.Err() != nil {
				done <- err
				return
			}
			w.check(rows)
		}
	}()
	return func() (Watched, error) {
		err := <-done
		if w.seen.Looks < 2 {
			err = errors.Join(err, fmt.Errorf(
				"the reader of %s read nothing while the duplicates were replayed", store.sink))
		}
		return w.seen, err
	}, nil
}
