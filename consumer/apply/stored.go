package apply

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
)

// stored remembers the last state of the rows of a partition, as far as the rules of transitions
// need, so that a stored row is read once.
type stored struct {
	table  *encode.Table // of the states
	states map[string]rowState
	bytes  int                       // of the keys of states
	ahead  map[string][]encode.State // values from the present round
	log    *ruleLog
}

// rowState is a position and the values at the position; no values for an ended row. asked is true
// if the state is not older than the row stored when this partition first met the row.
type rowState struct {
	position string
	values   []stateValue
	asked    bool
}

// stateValue is the value of a member with rules of transitions. A row has one or two: a map for
// each row would take more than all else.
type stateValue struct{ member, value string }

func (r rowState) valueOf(member string) (value string, there bool) {
	for _, v := range r.values {
		if v.member == member {
			return v.value, true
		}
	}
	return "", false
}

// statesMax and statesMaxBytes bound the remembered rows of a partition and their keys, except for
// the rows of a round. At the bound all rows are forgotten at once, and read again when needed.
const (
	statesMax      = 4_000
	statesMaxBytes = 2 << 20
)

// held is the store's knowledge of the rows of a round.
type held struct {
	places  map[string][]string // of live embedded rows: the parent documents
	newest  map[string]string   // of embedded rows: the position of the newest event or state
	rows    map[string]bson.Raw // of embedded rows: their newest state
	parents sightings           // of the referenced rows
}

// beginRound prepares for a round before the look at the store.
func (m *stored) beginRound(of *encode.Table) {
	clear(m.ahead)
	if m.states == nil || m.table != of || len(m.states) >= statesMax || m.bytes >= statesMaxBytes {
		m.table, m.states, m.bytes = of, map[string]rowState{}, 0
	}
}

// mustBeFound returns true if only the store can tell whether the draft breaks a rule of
// transitions: the value before is unknown, or the transition would be an alarm, raised already if
// the event is a replay. Call mustBeFound for all drafts of a round, in order.
func (m *stored) mustBeFound(d *draft) bool {
	if len(d.states) == 0 || d.table.Spec().Embed != nil {
		return false
	}
	state, known := m.states[d.key]
	if state.asked {
		return false
	}
	doubt := false
	for _, s := range d.states {
		if d.op != debezium.Update {
			break
		}
		from, there := s.Before, s.BeforeKnown
		if !there {
			from, there = valueOfState(m.ahead[d.key], s.Member)
		}
		if !there {
			from, there = state.valueOf(s.Member)
		}
		doubt = doubt || !known && !s.BeforeKnown || there &&
			d.table.Transition(s.Member, from, s.Value) != nil
	}
	if known {
		if m.ahead == nil {
			m.ahead = map[string][]encode.State{}
		}
		m.ahead[d.key] = d.states
	}
	return doubt
}

func valueOfState(states []encode.State, member string) (value string, there bool) {
	for _, s := range states {
		if s.Member == member {
			return s.Value, true
		}
	}
	return "", false
}

func (m *stored) findStates(ctx context.Context, s documents.Store, spec *entity.Spec,
	ids []string) error {
	members := []string{documents.MetadataMember}
	for _, f := range spec.Fields {
		if len(f.Transitions) > 0 {
			members = append(members, f.Member())
		}
	}
	found, err := s.Find(ctx, spec.Collection, ids, members...)
	if err != nil {
		return err
	}
	for _, id := range ids {
		document := found[id]
		about := documents.MetadataOf(document)
		state := rowState{position: about.Position, asked: true}
		for _, member := range members[1:] {
			if text, is := document.Lookup(member).StringValueOK(); is && !about.Deleted {
				state.values = append(state.values, stateValue{member, encode.CutState(text)})
			}
		}
		if known, is := m.states[id]; is && known.position >= state.position {
			state.position, state.values = known.position, known.values
		}
		m.remember(id, state)
	}
	return nil
}

func (m *stored) remember(key string, state rowState) {
	if _, known := m.states[key]; !known {
		m.bytes += len(key)
	}
	m.states[key] = state
}

// judgeTransitions compares with the state before, if the draft is newer: a replayed draft was
// judged at the first delivery. The error is a rejection.
func (m *stored) judgeTransitions(d *draft) error {
	if len(d.states) == 0 && !d.endsTheRow() {
		return nil
	}
	before, known := m.states[d.key]
	if known && before.position >= d.position {
		return nil
	}
	var violations []entity.Violation
	state := rowState{position: d.position, asked: before.asked}
	for _, s := range d.states {
		from, there := before.valueOf(s.Member)
		if s.BeforeKnown {
			from, there = s.Before, true
		}
		if there && d.op == debezium.Update {
			if v := d.table.Transition(s.Member, from, s.Value); v != nil {
				violations = append(violations, *v)
			}
		}
		state.values = append(state.values, stateValue{s.Member, s.Value})
	}
	if len(violations) > 0 {
		if err := m.log.rejectionFor(d, violations); err != nil {
			return err
		}
	}
	if d.rejected == nil && (known || len(d.states) > 0) {
		m.remember(d.key, state)
	}
	return nil
}

// addRetypedMembers adds values of a new type where the stored row has a value of the new type
// already, or none: other rows are older than the change of type, and stay unchanged.
func (d *draft) addRetypedMembers(ctx context.Context, s documents.Store) error {
	found, err := s.Find(ctx, d.table.Spec().Collection, []string{d.key})
	if err != nil {
		return fmt.Errorf("look for the row whose column has another type: %w", err)
	}
	for _, one := range d.drifted {
		stored, err := found[d.key].LookupErr(one.Member)
		if err == nil && stored.Type != bson.TypeNull &&
			!documents.HasTypeOf(stored, one.Elements) {
			continue
		}
		d.members = append(slices.Clip(d.members), one.Elements...)
		d.absent = append(slices.Clip(d.absent), one.Absent...)
	}
	d.drifted = nil
	return nil
}
