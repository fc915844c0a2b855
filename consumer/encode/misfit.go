package encode

import (
	"slices"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// Drifted is a value of an update that does not fit its column's stored type. An older row keeps
// the old value; a row made since has values of the new type already. Elements and Absent are as in
// Encoded. The consumer writes them where the stored value has the type of Elements, or where there
// is no stored value.
type Drifted struct {
	Member   string
	Elements []byte
	Absent   []string
}

// handleMisfit decides on a value that does not fit its column's kind.
func (e *Encoder) handleMisfit(c *column, v debezium.Value, op debezium.Op) {
	severity := e.table.severity[entity.RuleKind]
	switch {
	case e.noRules || !c.loose && severity == entity.Warn:
		if !c.key {
			e.storeAsItIs(c, v)
		}
		if e.noRules {
			return
		}
	case c.loose:
		e.lost(c)
		shown, fate := e.shown(c, v), e.storeDrifted(c, v, op)
		e.reportViolation(entity.RuleDrift, c, shown,
			"has another type now, in which the value does not fit the stored ones: "+fate)
		return
	}
	e.reportViolation(entity.RuleKind, c, e.shown(c, v), "cannot be read as "+string(c.kind))
}

// storeDrifted stores a value of a new type. An older row keeps its value, and a Field's values
// stay of the declared kind.
func (e *Encoder) storeDrifted(c *column, v debezium.Value, op debezium.Op) string {
	const left = "left as it was"
	if c.field != nil {
		return left
	}
	o := &e.out
	elements, absent := len(o.Elements), len(o.Absent)
	e.storeAsItIs(c, v)
	if op != debezium.Update {
		return "stored by its own type"
	}
	o.Drifted = append(o.Drifted, Drifted{c.member, slices.Clone(o.Elements[elements:]),
		slices.Clone(o.Absent[absent:])})
	o.Elements, o.Absent = o.Elements[:elements], o.Absent[:absent]
	return left + ", unless the row is newer than the type"
}

// storeAsItIs stores a value by its own type.
func (e *Encoder) storeAsItIs(c *column, v debezium.Value) {
	plain := column{member: c.member, exact: c.exact, t: c.t, kind: entity.Any,
		form: formOfType(c.t), items: itemsOfType(entity.Any, c.t)}
	var s scalar
	if e.readCell(&plain, v, &s) {
		e.storeScalar(&plain, &s)
	}
}

// lost reports, once, a change of type after values turned out not to fit.
func (e *Encoder) lost(c *column) {
	if c.lost == "" {
		return
	}
	change := e.table.newSchemaChange(Incompatible, c.name, c.lost, describeType(c.t))
	e.table.mu.Lock()
	defer e.table.mu.Unlock()
	if !e.table.reported[change] && len(e.table.reported) < reportedMax {
		e.table.reported[change] = true
		e.out.Changes = append(e.out.Changes, change)
	}
}
