package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// A change of a row's key is a delete under the old key and a create under the new one, at one
// position and perhaps in two partitions. Large values that did not change are in neither: the
// delete puts the row's last state aside, and the create takes them from there.

// errWaiting: the delete of the row's old key has not come yet, which has the values that this event
// was sent without.
var errWaiting = errors.New("waiting for the delete of the row's old key")

// keyChangeBound ends the wait for a delete that Kafka may not have any more. While it lasts the
// partition shows as paused. The values are not lost even then: a replay of the dead letter takes
// them from a delete that came later.
const keyChangeBound = 5 * time.Minute

// errStale: the row has a newer state already.
var errStale = errors.New("stale")

// errFolded: the row stays where it is, and the create that follows writes it.
var errFolded = errors.New("folded")

// prepare does what a draft that is alone needs besides its write.
func (s *settler) prepare(ctx context.Context, d *draft, h *held) error {
	switch {
	case d.op == debezium.Truncate:
		return s.truncate(ctx, d)
	case d.leaves:
		err := s.keepOld(ctx, d)
		if err == nil && d.otherID == d.key {
			return errFolded
		}
		return err
	case d.comes:
		return s.takeOld(ctx, d)
	case len(d.drifted) > 0:
		return s.drift(ctx, d)
	}
	return d.complete(h.rows[d.key])
}

// stored is the newest state that the store has of the draft's row under a key, and where the row
// lives.
func (s *settler) stored(ctx context.Context, d *draft, key string) (bson.Raw, []place, error) {
	spec := d.table.Spec()
	if spec.Embed == nil {
		found, err := s.store.find(ctx, spec.Collection, []string{key})
		if err != nil {
			return nil, nil, fmt.Errorf("look for the row whose key changes: %w", err)
		}
		return found[key], []place{{collection: spec.Collection, id: key}}, nil
	}
	h := &held{places: map[string][]string{}, rows: map[string]bson.Raw{}}
	if err := h.look(ctx, s.store, spec, []string{key}); err != nil {
		return nil, nil, fmt.Errorf("look for the embedded row whose key changes: %w", err)
	}
	var places []place
	for _, document := range h.places[key] {
		places = append(places, place{spec.Collection, document, spec.Embed.Field, key})
	}
	return h.rows[key], places, nil
}

// keepOld puts the row's last state aside under its old key, for the create under the new one: by
// then the old key may have another row. Where it has one now, that state is not to be had.
func (s *settler) keepOld(ctx context.Context, d *draft) error {
	row, _, err := s.stored(ctx, d, d.key)
	if err != nil || metadataOf(row).position > d.position {
		return err
	}
	row = d.upon(row, s.parking.chains[d.row()])
	kept := bsoncore.NewDocumentBuilder().
		AppendString("_id", d.keptID()).
		AppendDateTime("keptAt", s.now().UnixMilli()).
		AppendDocument("row", bsoncore.Document(row)).Build()
	if err := s.store.keep(ctx, bson.Raw(kept)); err != nil {
		return fmt.Errorf("keep the row whose key changes: %w", err)
	}
	return nil
}

// upon is the row with what is parked of it, which is older than the draft.
func (d *draft) upon(row bson.Raw, chain []*draft) bson.Raw {
	last := change{draft: &draft{position: metadataOf(row).position}}
	if len(row) > 0 {
		last.elements = row[4 : len(row)-1]
	}
	for _, parked := range chain {
		c := change{draft: parked, elements: parked.members, absent: parked.absent}
		if parked.position > last.position && parked.position < d.position {
			last = c.over(&last)
		}
	}
	return asDocument(last.elements)
}

// keptID: both events of a change of key have the same position, and no others have it. The old key
// in the header may be written otherwise than in the record of the delete.
func (d *draft) keptID() string {
	return d.table.Spec().Collection + "/" + d.entity + "@" + d.position
}

// takeOld completes the row with what the delete of its old key put aside. It waits for that delete
// until the store shows that it has been there and had nothing to put aside.
func (s *settler) takeOld(ctx context.Context, d *draft) error {
	// The old key first: what is put aside is there before the delete is written.
	old, _, err := s.stored(ctx, d, d.otherID)
	if err != nil {
		return err
	}
	id := d.keptID()
	found, err := s.store.find(ctx, keptCollection, []string{id})
	if err != nil {
		return fmt.Errorf("look for the values under the old key: %w", err)
	}
	row, places, err := s.stored(ctx, d, d.key)
	if err != nil {
		return err
	}
	newer := metadataOf(row).position >= d.position
	if kept, is := found[id].Lookup("row").DocumentOK(); is {
		if !newer {
			return d.complete(kept)
		}
		return cmp.Or(s.fill(ctx, d, places, kept), errStale)
	}
	if newer && d.complete(row) == nil {
		return errStale
	}
	if metadataOf(old).position >= d.position {
		return d.complete(nil)
	}
	if d.waiting.IsZero() {
		d.waiting = s.now()
	}
	if s.now().Sub(d.waiting) < keyChangeBound {
		return errWaiting
	}
	return rejectf(ruleIncomplete, "%s of a new row left out as unchanged, and the delete of its old key, which has"+
		" the value, did not come within %s: replay this letter when it has come", d.missing, keyChangeBound)
}

// fill gives a row that later events made without the values those of them that it still lacks.
func (s *settler) fill(ctx context.Context, d *draft, places []place, kept bson.Raw) error {
	for _, member := range d.missing {
		value := elementsOf(kept, member)
		if value == nil {
			continue
		}
		for _, at := range places {
			if err := s.store.fill(ctx, at, d.position, member, value); err != nil {
				return fmt.Errorf("fill in %s: %w", member, err)
			}
		}
	}
	return nil
}

// elementsOf are a member's value and the exact text beside it; nil where there is none.
func elementsOf(row bson.Raw, member string) []byte {
	var elements []byte
	for _, name := range []string{member, member + entity.ExactSuffix} {
		value, err := row.LookupErr(name)
		if err != nil {
			break
		}
		elements = bsoncore.AppendValueElement(elements, name,
			bsoncore.Value{Type: bsoncore.Type(value.Type), Data: value.Value})
	}
	return elements
}

// complete takes the members that the event was sent without from an earlier state of the row.
func (d *draft) complete(row bson.Raw) error {
	var lacking []string
	members := d.members[:len(d.members):len(d.members)]
	for _, member := range d.missing {
		value := elementsOf(row, member)
		if value == nil {
			lacking = append(lacking, member)
		}
		members = append(members, value...)
	}
	if len(lacking) > 0 {
		return rejectf(ruleIncomplete, "%s of a new row left out as unchanged, and not stored under its old key",
			lacking)
	}
	d.members, d.missing = members, nil
	return nil
}
