package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
)

// A change of a row's key is a delete under the old key and a create under the new, at the same
// position and perhaps in two partitions. Unchanged large values are in neither: the delete puts
// the row's last state aside, and the create takes the values from there.

// ErrWaiting says that the event lacks values, and the delete of the row's old key, which has the
// values, has not come yet.
var ErrWaiting error = waitingError{}

type waitingError struct{}

func (waitingError) Error() string { return "waiting for the delete of the row's old key" }

// Reason is the label of the metric of retries.
func (waitingError) Reason() string { return "key_change" }

// keyChangeBound ends the wait for a delete that Kafka may no longer have. Meanwhile the partition
// shows as paused. Even then the values are not lost: a replay of the dead letter takes the values
// from a later delete.
const keyChangeBound = 5 * time.Minute

// mayWait begins the draft's wait for another event, and returns true until keyChangeBound is over.
func (d *draft) mayWait(now time.Time) bool {
	if d.waiting.IsZero() {
		d.waiting = now
	}
	return now.Sub(d.waiting) < keyChangeBound
}

// errStale: the row has a newer state already.
var errStale = errors.New("stale")

// errFolded says that the row stays in place, for the following create to write.
var errFolded = errors.New("folded")

// keyChange is a draft of a row leaving a key or coming to a key.
type keyChange struct {
	*draft
	store   documents.Store
	parking *parking
	now     func() time.Time
}

// storedState returns the store's newest state of the draft's row under a key, and the places of
// the row.
func (k *keyChange) storedState(ctx context.Context, key string) (bson.Raw, []documents.Place,
	error) {
	spec := k.table.Spec()
	if spec.Embed == nil {
		found, err := k.store.Find(ctx, spec.Collection, []string{key})
		if err != nil {
			return nil, nil, fmt.Errorf("look for the row whose key changes: %w", err)
		}
		return found[key], []documents.Place{{Collection: spec.Collection, ID: key}}, nil
	}
	h := newHeld()
	if err := h.findEmbedded(ctx, k.store, spec, []string{key}); err != nil {
		return nil, nil, fmt.Errorf("look for the embedded row whose key changes: %w", err)
	}
	var places []documents.Place
	for _, document := range h.places[key] {
		places = append(places, documents.Place{Collection: spec.Collection, ID: document,
			Field: spec.Embed.Field, Item: key})
	}
	return h.rows[key], places, nil
}

// keepOldState puts the row's last state aside under the old key, for the create under the new key,
// because by then the old key may have another row. Where the old key has another row now, the last
// state is lost.
func (k *keyChange) keepOldState(ctx context.Context) error {
	row, _, err := k.storedState(ctx, k.key)
	if err != nil || documents.MetadataOf(row).Position > k.position {
		return err
	}
	row = k.withParkedOver(row, k.parking.draftsOf(k.rowName()))
	kept := bsoncore.NewDocumentBuilder().
		AppendString("_id", k.keptDocumentID()).
		AppendDateTime("keptAt", k.now().UnixMilli()).
		AppendDocument("row", bsoncore.Document(row)).Build()
	if err := k.store.Keep(ctx, bson.Raw(kept)); err != nil {
		return fmt.Errorf("keep the row whose key changes: %w", err)
	}
	return nil
}

// withParkedOver returns the row with the row's parked events older than the draft laid over.
func (d *draft) withParkedOver(row bson.Raw, parked []*draft) bson.Raw {
	states := []change{{draft: &draft{position: documents.MetadataOf(row).Position}}}
	if len(row) > 0 {
		states[0].elements = row[4 : len(row)-1]
	}
	for _, p := range parked {
		if p.position < d.position {
			states = append(states, change{draft: p, elements: p.members, absent: p.absent})
		}
	}
	return documents.AsDocument(laidOver(states).elements)
}

// keptDocumentID builds on the position, which only the two events of a change of key share. The
// old key in the header may be written otherwise than in the record of the delete.
func (d *draft) keptDocumentID() string {
	return d.table.Spec().Collection + "/" + d.entity + "@" + d.position
}

// takeOldState completes the row with the values put aside by the delete of the old key. The wait
// for the delete ends once the store shows a delete with nothing to put aside.
func (k *keyChange) takeOldState(ctx context.Context) error {
	// The old key first, because values are put aside before the delete is written.
	var old bson.Raw
	if !k.otherUnread {
		var err error
		if old, _, err = k.storedState(ctx, k.otherID); err != nil {
			return err
		}
	}
	id := k.keptDocumentID()
	found, err := k.store.Find(ctx, documents.KeptCollection, []string{id})
	if err != nil {
		return fmt.Errorf("look for the values under the old key: %w", err)
	}
	row, places, err := k.storedState(ctx, k.key)
	if err != nil {
		return err
	}
	newer := documents.MetadataOf(row).Position >= k.position
	if kept, is := found[id].Lookup("row").DocumentOK(); is {
		if !newer {
			return k.completeFrom(kept)
		}
		return cmp.Or(k.fillLaterRow(ctx, places, kept), errStale)
	}
	if newer && k.completeFrom(row) == nil {
		return k.staleBeside(documents.MetadataOf(row))
	}
	switch ended := documents.MetadataOf(old); {
	case ended.Position >= k.position:
		return k.completeFrom(nil)
	case ended.Operation == documents.OperationTombstone: // the delete is gone
		return k.completeFrom(old)
	}
	if k.mayWait(k.now()) {
		return ErrWaiting
	}
	return fate.Rejectf(fate.RuleIncomplete,
		"%s of a new row left out as unchanged, and the delete of its old key, which has"+
			" the value, did not come within %s: replay this letter when it has come", k.missing,
		keyChangeBound)
}

// fillLaterRow fills in the values still lacking in a row made by later events.
func (k *keyChange) fillLaterRow(ctx context.Context, places []documents.Place,
	kept bson.Raw) error {
	for _, member := range k.missing {
		value := documents.ElementsOf(kept, member)
		if value == nil {
			continue
		}
		for _, at := range places {
			if err := k.store.Fill(ctx, at, k.position, member, value); err != nil {
				return fmt.Errorf("fill in %s: %w", member, err)
			}
		}
	}
	return nil
}

// completeFrom takes the members missing from the event from an earlier state of the row.
func (d *draft) completeFrom(row bson.Raw) error {
	var lacking []string
	members := d.members[:len(d.members):len(d.members)]
	for _, member := range d.missing {
		value := documents.ElementsOf(row, member)
		if value == nil {
			lacking = append(lacking, member)
		}
		members = append(members, value...)
	}
	if len(lacking) > 0 {
		return fate.Rejectf(fate.RuleIncomplete,
			"%s of a new row left out as unchanged, and not stored under its old key",
			lacking)
	}
	d.members, d.missing = members, nil
	return nil
}

// readOtherKey reads the header of a change of the primary key. A change that keeps the id changes
// a row. A header that cannot be read leaves otherID empty, and rejects an event only where the key
// has columns besides the id, because then the change may keep the id.
func (d *draft) readOtherKey(event *debezium.Event) (err error) {
	key := event.OldKey
	if d.comes = event.Comes; !d.comes {
		key = event.NewKey
		if d.leaves = event.Leaves; !d.leaves {
			return nil
		}
	}
	if event.OtherKeyUnread != nil {
		if len(event.Key) > 1 && d.table.Spec().Key != "" {
			return fate.Rejectf(fate.RuleKey, "the other key: %v", event.OtherKeyUnread)
		}
		d.otherUnread = true
		return nil
	}
	if d.otherID, err = d.table.KeyText(key, event.Key); err != nil {
		return fate.Rejectf(fate.RuleKey, "the other key: %v", err)
	}
	if d.comes && d.otherID == d.key {
		d.op, d.operation = debezium.Update, operations[debezium.Update]
	}
	return nil
}

// itemKeyMax bounds the key of an embedded row, because the update of a document names the key with
// each of the row's columns.
const itemKeyMax = 256

// embeddable refuses a row that cannot be a member of another document.
func (d *draft) embeddable(embed *entity.Embed) error {
	if d.key == "" || strings.ContainsAny(d.key, ".\x00") || d.key[0] == '$' {
		return fate.Rejectf(fate.RuleKey, "the key cannot be the name of a member")
	}
	if len(d.key) > itemKeyMax {
		return fate.Rejectf(fate.RuleKey,
			"the key has %d bytes, and the name of a member at most %d",
			len(d.key), itemKeyMax)
	}
	if d.parent == "" && !d.endsTheRow() {
		return fate.Rejectf(fate.RuleParent,
			"the row's %s is empty: it names no document to live in",
			embed.Parent)
	}
	return nil
}
