package entity

import (
	"slices"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// Drifted is a value of an update that does not fit what its column is stored as: an older row keeps
// what it has, a row that was made since has such values already. Elements and Absent are as in Encoded,
// to be written where the stored value is of the same type as Elements, or there is none.
type Drifted struct {
	Member   string
	Elements []byte
	Absent   []string
}

// misfit decides on a value that cannot be stored as its column's kind.
func (e *Encoder) misfit(c *column, v debezium.Value, op debezium.Op) {
	severity := e.table.severity[RuleKind]
	switch {
	case e.noRules || !c.loose && severity == Warn:
		if !c.key {
			e.asItIs(c, v)
		}
		if e.noRules {
			return
		}
	case c.loose:
		e.lost(c)
		e.report(RuleDrift, c, e.shown(c, v), "has another type now, in which the value does not fit the stored ones: "+e.drift(c, v, op))
		return
	}
	e.report(RuleKind, c, e.shown(c, v), "cannot be read as "+string(c.kind))
}

// drift stores a value of a new type: a row that is older keeps what it has, and what a Field declares
// stays of its kind.
func (e *Encoder) drift(c *column, v debezium.Value, op debezium.Op) string {
	const left = "left as it was"
	if c.field != nil {
		return left
	}
	o := &e.out
	elements, absent := len(o.Elements), len(o.Absent)
	e.asItIs(c, v)
	if op != debezium.Update {
		return "stored by its own type"
	}
	o.Drifted = append(o.Drifted, Drifted{c.memberName(), slices.Clone(o.Elements[elements:]), slices.Clone(o.Absent[absent:])})
	o.Elements, o.Absent = o.Elements[:elements], o.Absent[:absent]
	return left + ", unless the row is newer than the type"
}

// asItIs stores a value by its own type.
func (e *Encoder) asItIs(c *column, v debezium.Value) {
	plain := column{member: c.member, exact: c.exact, t: c.t, kind: Any, form: formOf(c.t), items: itemsOf(Any, c.t)}
	var s scalar
	if e.readCell(&plain, v, &s) {
		e.store(&plain, &s)
	}
}

// lost reports, once, a change of type that turns out to be one that the values do not fit.
func (e *Encoder) lost(c *column) {
	if c.lost == "" {
		return
	}
	change := SchemaChange{Entity: e.table.spec.Entity, Column: c.name, Kind: Incompatible,
		From: c.lost, To: typeText(c.t), Severity: Error}
	e.table.mu.Lock()
	defer e.table.mu.Unlock()
	if !e.table.reported[change] {
		e.table.reported[change] = true
		e.out.Changes = append(slices.Clip(e.out.Changes), change)
	}
}
