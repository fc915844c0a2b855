package experiments

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// PeerWatched is what a reader saw of the rows that were updated and of those that were deleted, of
// peerKeys each, while duplicates of their events were replayed.
type PeerWatched struct {
	Sink string `json:"sink"`
	// Looks of the reader, each at all keys.
	Looks int `json:"looks"`
	// WentBack are updated rows of which an older version was seen after a newer one, Reappeared deleted
	// rows that were there again.
	WentBack   int `json:"wentBack"`
	Reappeared int `json:"reappeared"`
	// Example is one of either, "" without one.
	Example string `json:"example,omitempty"`
}

// peerWatcher remembers what was seen of each key.
type peerWatcher struct {
	seen       PeerWatched
	newest     map[int64]int64
	back, here map[int64]bool
}

func newPeerWatcher(sink string) *peerWatcher {
	return &peerWatcher{PeerWatched{Sink: sink}, map[int64]int64{}, map[int64]bool{}, map[int64]bool{}}
}

// look takes one look: an updated row that is gone went back as well.
func (w *peerWatcher) look(rows map[int64]peerRow) {
	w.seen.Looks++
	for _, key := range peerCaseKeys(caseUpdated) {
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
	for _, key := range peerCaseKeys(caseDeleted) {
		if row, is := rows[key]; is && !w.here[key] {
			w.here[key] = true
			w.example(fmt.Sprintf("key %d: version %d of a deleted row", key, row.version()))
		}
	}
	w.seen.WentBack, w.seen.Reappeared = len(w.back), len(w.here)
}

func (w *peerWatcher) example(text string) {
	if w.seen.Example == "" {
		w.seen.Example = text
	}
}

// watchPeer begins to look; the function it returns waits until ctx has ended and hands over what was
// seen.
func watchPeer(ctx context.Context, store *peerStore) (func() (PeerWatched, error), error) {
	keys := slices.Concat(peerCaseKeys(caseUpdated), peerCaseKeys(caseDeleted))
	w := newPeerWatcher(store.sink)
	rows, err := store.some(ctx, keys)
	if err != nil {
		return nil, err
	}
	w.look(rows)
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
			w.look(rows)
		}
	}()
	return func() (PeerWatched, error) {
		err := <-done
		if w.seen.Looks < 2 {
			err = errors.Join(err, fmt.Errorf("the reader of %s did not look while the duplicates were replayed", store.sink))
		}
		return w.seen, err
	}, nil
}
