package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// round is as much of a job as one unordered bulk may hold: everything up to a draft that must see
// what is stored, or that draft alone.
type round struct {
	drafts []*draft
	built  bool
	writes []write // at most one for each place
	steps  []write // to be applied one after the other
}

// next takes the next round off the job; nil at its end.
func (j *job) next() *round {
	if len(j.drafts) == 0 {
		return nil
	}
	n := len(j.drafts)
	for i, d := range j.drafts {
		if d.alone() {
			n = max(i, 1)
			break
		}
		if i > 0 && d.readAt != 0 && j.drafts[i-1].readAt == 0 { // what is before it is to be stored first
			n = i
			break
		}
	}
	r := &round{drafts: j.drafts[:n]}
	j.drafts = j.drafts[n:]
	return r
}

// build makes the round's writes. It looks at the store where the events do not say enough, so that
// an error may be the store's, or errWaiting.
func (s *settler) build(ctx context.Context, j *job, r *round) error {
	held, err := s.look(ctx, r.drafts)
	if err != nil {
		return err
	}
	r.drafts = slices.DeleteFunc(r.drafts, s.truncatedSince)
	held.readAgain(r.drafts)
	if len(r.drafts) == 0 {
		r.built = true
		return nil
	}
	if only := r.drafts[0]; only.alone() {
		err := s.prepare(ctx, only, held)
		switch {
		case err == nil:
		case errors.Is(err, errStale):
			s.metrics.settled(only, OutcomeStale)
			r.drafts = nil
		case errors.Is(err, errFolded):
			s.metrics.settled(only, OutcomeFolded)
			r.drafts = nil
		case fateOf(err) == reject:
			j.rejected = append(j.rejected, only.letter(err))
			r.drafts = nil
		default:
			return err
		}
	}
	var changes []change
	for _, d := range r.drafts {
		if d.op == debezium.Truncate {
			continue // prepare has done it
		}
		if err := both(d.rejected, s.memo.judge(d)); err != nil {
			j.rejected = append(j.rejected, d.letter(err))
			continue
		}
		if !d.judged { // else it was counted when it was parked
			s.metrics.passed.Inc()
		}
		for _, ready := range s.unpark(d, held.parents) {
			changes = append(changes, ready.changes(held)...)
		}
	}
	r.writes, r.built = s.folder.fold(changes), true
	return nil
}

// unpark is the draft and those of its row that were parked before it, or none: then it is parked
// itself. The row's newest state decides, which a replayed event is not.
func (s *settler) unpark(d *draft, found sightings) []*draft {
	row := d.row()
	chain := s.parking.chains[row]
	if len(chain) == 0 && d.judged {
		return []*draft{d}
	}
	deciding := newest(append(chain[:len(chain):len(chain)], d))
	if !deciding.judged && len(found.missing(deciding)) > 0 {
		s.parking.add(d, s.now())
		s.metrics.park(d)
		return nil
	}
	if len(chain) == 0 {
		return []*draft{d}
	}
	return append(s.parking.take(row), d)
}

// held is what the store had of the rows of a round.
type held struct {
	places  map[string][]string // of embedded rows that live: the documents they are in
	rows    map[string]bson.Raw // of embedded rows: their newest state
	parents sightings           // of the rows that others refer to
}

// look asks the store for what the round's events leave open.
func (s *settler) look(ctx context.Context, drafts []*draft) (*held, error) {
	if err := s.truncates.load(ctx, s.store, drafts); err != nil {
		return nil, fmt.Errorf("look for truncates: %w", err)
	}
	var refs []entity.Ref
	var states, items []string
	s.memo.begin()
	for _, d := range drafts {
		if !d.judged && !d.deleted() && d.rejected == nil {
			refs = append(refs, d.references...)
		}
		if s.parking.count > 0 {
			if chain := s.parking.chains[d.row()]; len(chain) > 0 {
				refs = append(refs, newest(chain).references...)
			}
		}
		if s.memo.wants(d) {
			states = append(states, d.key)
		}
		if d.homeless() {
			items = append(items, d.key)
		}
	}
	h := &held{places: map[string][]string{}, rows: map[string]bson.Raw{}}
	if len(refs) > 0 {
		var err error
		if h.parents, err = s.parents.look(ctx, refs); err != nil {
			return nil, fmt.Errorf("look for referenced rows: %w", err)
		}
	}
	if len(states) > 0 {
		if err := s.memo.look(ctx, s.store, drafts[0].table.Spec(), states); err != nil {
			return nil, fmt.Errorf("look for earlier states: %w", err)
		}
	}
	if len(items) > 0 {
		if err := h.look(ctx, s.store, drafts[0].table.Spec(), items); err != nil {
			return nil, fmt.Errorf("look for embedded rows: %w", err)
		}
	}
	return h, nil
}

// homeless: the event does not say in which document the embedded row lives, or lived.
func (d *draft) homeless() bool {
	if d.table.Spec().Embed == nil {
		return false
	}
	switch d.op {
	case debezium.Update:
		return d.before == "" || len(d.missing) > 0
	case debezium.Delete:
		return d.parent == ""
	}
	return d.readAt != 0
}

func (h *held) look(ctx context.Context, s store, spec *entity.Spec, items []string) error {
	field := spec.Embed.Field
	slices.Sort(items)
	documents, err := s.holders(ctx, spec.Collection, field, slices.Compact(items))
	if err != nil {
		return err
	}
	newest := map[string]string{}
	for _, document := range documents {
		home := metadataOf(document).id
		for _, item := range items {
			row, is := document.Lookup(field, item).DocumentOK()
			if !is {
				continue
			}
			m := metadataOf(row)
			if !m.deleted && !slices.Contains(h.places[item], home) {
				h.places[item] = append(h.places[item], home)
			}
			// A move leaves a tombstone of the same position behind.
			if m.position > newest[item] || m.position == newest[item] && !m.deleted {
				newest[item], h.rows[item] = m.position, row
			}
		}
	}
	return nil
}

// changes are what the draft does, place by place. An embedded row that moved leaves a tombstone
// where it was.
func (d *draft) changes(h *held) []change {
	spec := d.table.Spec()
	c := change{draft: d, elements: d.members, absent: d.absent, deleted: d.deleted()}
	if spec.Embed == nil {
		c.place = place{collection: spec.Collection, id: d.key}
		return []change{c}
	}
	at := func(document string) place {
		return place{spec.Collection, document, spec.Embed.Field, d.key}
	}
	var left []string
	switch {
	case c.deleted && d.parent != "":
		left = []string{d.parent}
	case c.deleted || d.again || d.op == debezium.Update && d.before == "":
		left = h.places[d.key]
	case d.op == debezium.Update:
		left = []string{d.before}
	}
	var made []change
	if !c.deleted {
		c.place = at(d.parent)
		made = append(made, c)
		if !slices.Contains(h.places[d.key], d.parent) {
			h.places[d.key] = append(h.places[d.key], d.parent)
		}
	}
	for _, document := range left {
		if !c.deleted && document == d.parent {
			continue
		}
		gone := change{place: at(document), draft: d, deleted: true, aside: len(made) > 0}
		made = append(made, gone)
	}
	return made
}
