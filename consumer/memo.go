package consumer

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// memo remembers the last state of the rows of one partition, as far as rules about transitions
// need it: what is stored is read once.
type memo struct {
	states map[string]rowState
	ahead  map[string][]entity.State // values that the round at hand brings
	log    *ruleLog
}

// rowState is a position and the values at it; none for a row that ended. asked: it is not older than
// what was stored when this partition first met the row.
type rowState struct {
	position string
	values   []stateValue
	asked    bool
}

// stateValue is the value of a member whose transitions are ruled. A row has one or two: a map for
// each row would take more than all else.
type stateValue struct{ member, value string }

func (r rowState) value(member string) (value string, there bool) {
	for _, v := range r.values {
		if v.member == member {
			return v.value, true
		}
	}
	return "", false
}

// statesMax bounds the rows of a partition that are remembered, but for those of one round; all are
// forgotten at once then, and read again when they are needed.
const statesMax = 4_000

// begin is for a round that has not looked yet.
func (m *memo) begin() {
	clear(m.ahead)
	if m.states == nil || len(m.states) >= statesMax {
		m.states = map[string]rowState{}
	}
}

// wants: whether the draft breaks a rule about transitions is for the store to say. Its value before
// is not known, or the transition would be an alarm: one that was raised before, if the event is a
// replay. To be called for all drafts of a round, in their order.
func (m *memo) wants(d *draft) bool {
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
			from, there = state.value(s.Member)
		}
		doubt = doubt || !known && !s.BeforeKnown || there && d.table.Transition(s.Member, from, s.Value) != nil
	}
	if known {
		if m.ahead == nil {
			m.ahead = map[string][]entity.State{}
		}
		m.ahead[d.key] = d.states
	}
	return doubt
}

func valueOfState(states []entity.State, member string) (value string, there bool) {
	for _, s := range states {
		if s.Member == member {
			return s.Value, true
		}
	}
	return "", false
}

func (m *memo) look(ctx context.Context, s store, spec *entity.Spec, ids []string) error {
	members := []string{metadataMember}
	for _, f := range spec.Fields {
		if len(f.Transitions) > 0 {
			members = append(members, f.Member())
		}
	}
	found, err := s.find(ctx, spec.Collection, ids, members...)
	if err != nil {
		return err
	}
	for _, id := range ids {
		document := found[id]
		about := metadataOf(document)
		state := rowState{position: about.position, asked: true}
		for _, member := range members[1:] {
			if text, is := document.Lookup(member).StringValueOK(); is && !about.deleted {
				state.values = append(state.values, stateValue{member, text})
			}
		}
		if known, is := m.states[id]; is && known.position >= state.position {
			state.position, state.values = known.position, known.values
		}
		m.states[id] = state
	}
	return nil
}

// judge compares with the state before, if this one is newer: what is replayed was judged when it
// came. The error is a rejection.
func (m *memo) judge(d *draft) error {
	if len(d.states) == 0 && !d.deleted() {
		return nil
	}
	before, known := m.states[d.key]
	if known && before.position >= d.position {
		return nil
	}
	var violations []entity.Violation
	state := rowState{position: d.position, asked: before.asked}
	for _, s := range d.states {
		from, there := before.value(s.Member)
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
		if err := m.log.judge(d, violations); err != nil {
			return err
		}
	}
	if d.rejected == nil && (known || len(d.states) > 0) {
		m.states[d.key] = state
	}
	return nil
}

// metadataMember holds what is the consumer's own of a row.
const metadataMember = "cdcMetadata"

// metadata is the part of a row's cdcMetadata that decides.
type metadata struct {
	id              string
	position        string
	deleted, shell  bool
	sourceTimestamp int64
}

func (m *metadata) ended() string {
	if m.deleted {
		return m.position
	}
	return ""
}

func metadataOf(row bson.Raw) metadata {
	var m metadata
	m.id, _ = row.Lookup("_id").StringValueOK()
	own, is := row.Lookup(metadataMember).DocumentOK()
	if !is {
		return m
	}
	m.position, _ = own.Lookup("position").StringValueOK()
	m.deleted, _ = own.Lookup("deleted").BooleanOK()
	m.shell, _ = own.Lookup("shell").BooleanOK()
	m.sourceTimestamp, _ = own.Lookup("sourceTimestamp").Int64OK()
	return m
}
