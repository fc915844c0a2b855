package encode

import (
	"slices"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/names"
	"github.com/cdclab/cdclab/consumer/encode/value"
	"github.com/cdclab/cdclab/consumer/entity"
)

// Bounds of the memory of a Table: the shapes, the columns of all shapes but the last, the columns
// that were ever there, and the changes told once.
const (
	plansMax        = 64
	plansColumnsMax = 8_192
	columnsMax      = 10_000
	reportedMax     = 1_000
)

// plan is how the rows of a single shape become members.
type plan struct {
	sights  []sight
	columns []column
	keyed   bool     // the key is the single column id
	late    bool     // first seen after a newer shape
	absent  []*field // the required fields that the shape lacks
}

// column is a single column of a shape.
type column struct {
	name  string
	t     *debezium.Type
	json  debezium.Kind
	field *field // nil: by t
	// exact is the member of the exact text; empty where the member needs no exact text.
	member, exact string
	kind          entity.Kind
	form          form
	items         items
	// loose: the column's type changed. Values that do not fit any more are left out.
	loose bool
	// lost is the column's type before, where every value of the new type might still fit.
	lost string
	// key: not a member, but the document's _id.
	key bool
	// nameless: a part of the name is lost, or the name is empty.
	nameless bool
}

// fits is true if the row has this shape, with the very same Types.
func (p *plan) fits(row debezium.Row, keyed bool) bool {
	if len(row) != len(p.columns) || keyed != p.keyed {
		return false
	}
	for i := range p.columns {
		c, cell := &p.columns[i], &row[i]
		if c.t != cell.Type || c.name != cell.Name {
			return false
		}
		if c.t == nil {
			kind := cell.Value.Kind()
			if kind != c.json && kind != debezium.Null && !c.isSpecialNumber(cell.Value) {
				return false
			}
		}
	}
	return true
}

// isSpecialNumber is true if a column of numbers has the text of NaN or of an infinity.
func (c *column) isSpecialNumber(v debezium.Value) bool {
	return c.json == debezium.Number && v.Kind() == debezium.String && value.IsSpecial(v.Text())
}

// findOrMakePlan finds the shape of a row, or makes it and says what is new. commit is the event's,
// in microseconds since 1970, or 0 where the commit is not known.
func (t *Table) findOrMakePlan(row debezium.Row, keyed bool, commit int64,
	changes []SchemaChange) (*plan, []SchemaChange) {
	columns := sightsOfRow(row)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, p := range t.plans {
		if p.keyed != keyed || !slices.EqualFunc(p.sights, columns, sight.agreesWith) {
			continue
		}
		known := p.merge(columns)
		if known == nil {
			return p, changes
		}
		known = t.compilePlan(known.sights, keyed, p.late)
		if t.plans[i] = known; p == t.current {
			t.current = known
		}
		return known, changes
	}
	// A shape older than the current one is a replay, or a partition that lags: no news.
	late := t.current != nil && commit != 0 && commit < t.since
	switch {
	case late:
	case t.current != nil:
		changes = t.compareColumns(t.current.sights, columns, changes)
	case len(t.spec.Fields) > 0:
		changes = t.compareWithSpec(columns, changes)
	}
	made := t.compilePlan(columns, keyed, late)
	t.rememberPlan(made)
	if !late {
		t.current, t.since = made, commit
	}
	return made, changes
}

// rememberPlan puts the plan before the others, and forgets the oldest beyond the bounds.
func (t *Table) rememberPlan(made *plan) {
	kept, columns := 0, 0
	for kept < min(len(t.plans), plansMax-1) {
		if columns += len(t.plans[kept].columns); columns > plansColumnsMax {
			break
		}
		kept++
	}
	t.plans = append([]*plan{made}, t.plans[:kept]...)
}

// merge returns a copy of the plan that also knows the types of columns that were null until this
// row, or other Types of the same content; nil where nothing is new.
func (p *plan) merge(columns []sight) *plan {
	merged := slices.Clone(p.sights)
	for i, c := range columns {
		if merged[i].t = c.t; merged[i].json == debezium.Null {
			merged[i].json = c.json
		}
	}
	if slices.Equal(merged, p.sights) {
		return nil
	}
	return &plan{sights: merged}
}

// compilePlan makes the plan of a shape, and notes how columns are stored. The types of a late
// shape are neither noted nor compared with the stored types.
func (t *Table) compilePlan(columns []sight, keyed, late bool) *plan {
	p := &plan{sights: columns, keyed: keyed, late: late, columns: make([]column, len(columns))}
	free, named := make([]*column, 0, len(columns)), make([]names.Name, 0, len(columns))
	if !late && len(t.stored) > columnsMax {
		clear(t.stored)
	}
	for i, s := range columns {
		c := &p.columns[i]
		*c = column{name: s.name, t: s.t, json: s.json, field: t.fields[s.name]}
		_, whole := entity.EscapeName(s.name)
		c.nameless = !whole || s.name == ""
		if c.field != nil {
			if !late && c.t != nil && t.declared[c.name] == nil {
				t.declared[c.name] = c.t
			}
			t.compileField(c)
			continue
		}
		was, relation := s, ChangeKind("")
		if !late {
			was, relation = t.noteStored(s)
		}
		if c.nameless {
			continue // never written
		}
		c.kind, c.form, c.items = entity.Any, formOfType(s.t), itemsOfType(entity.Any, s.t)
		if c.key = keyed && s.name == "id"; c.key {
			c.member = entity.KeyMember
			continue
		}
		c.holdTo(was, relation)
		free = append(free, c)
		named = append(named, names.Name{Column: s.name, Exact: c.mayNeedExact()})
	}
	t.names.Name(named)
	for i, n := range named {
		free[i].setMemberName(n.Member, n.Exact)
	}
	t.unkept.Store(t.names.IsOpen())
	for i := range t.spec.Fields {
		f := t.fields[t.spec.Fields[i].Column]
		named := func(s sight) bool { return s.name == f.Column }
		if f.Required && !slices.ContainsFunc(columns, named) {
			p.absent = append(p.absent, f)
		}
	}
	return p
}

// mayNeedExact is true if values of the column may need an exact text.
func (c *column) mayNeedExact() bool {
	return c.form.naturalKind() == entity.Timestamp || c.kind == entity.Timestamp ||
		c.form == asArray && c.items.form.naturalKind() == entity.Timestamp
}

func (c *column) setMemberName(member string, exact bool) {
	if c.member = member; exact {
		c.exact = member + entity.ExactSuffix
	}
}

func (t *Table) compileField(c *column) {
	f := c.field
	var fit bool
	c.kind = f.Kind
	c.form, fit = formForField(f.Kind, c.t)
	c.loose = !fit
	if c.kind == entity.Array {
		c.items = itemsOfType(f.Items, c.t)
	} else {
		c.items = itemsOfType(entity.Any, c.t)
	}
	c.key = f.Column == t.spec.Key
	exact := f.HasExact() && c.mayNeedExact() || t.names.Known(c.name).Exact
	c.setMemberName(f.member, exact)
	t.names.Give(names.Name{Column: c.name, Member: f.member, Exact: exact})
	if first := t.declared[c.name]; fit && first != nil && c.t != nil {
		if relateTypes(sight{t: first}, sight{t: c.t}, false) == Incompatible {
			c.loose, c.lost = true, describeType(first)
		}
	}
}

// noteStored notes how a column without a Field is stored, and returns the stored type, and how the
// column's own type differs.
func (t *Table) noteStored(s sight) (stored sight, relation ChangeKind) {
	stored, known := t.stored[s.name]
	if known && (stored.t != nil || stored.json != debezium.Null) {
		relation = relateTypes(stored, s, true)
	}
	if relation != "" && relation != Widened {
		return stored, relation
	}
	if stored != s {
		t.stored[s.name] = s
	}
	return s, ""
}

// holdTo keeps a column without a Field to its stored type.
func (c *column) holdTo(was sight, relation ChangeKind) {
	switch relation {
	case Narrowed:
		c.loose = true
		if k := was.naturalKind(); k != c.form.naturalKind() {
			c.kind = k
		}
	case Incompatible:
		c.loose, c.kind = true, was.naturalKind()
		if c.kind == entity.Array && was.t != nil {
			c.items = itemsOfType(formOfType(was.t.Items).naturalKind(), c.t)
		}
	}
}

// naturalKind returns the kind that stores the column's values; "" where only the type itself can
// store them.
func (s sight) naturalKind() entity.Kind {
	if s.t == nil {
		return map[debezium.Kind]entity.Kind{debezium.Bool: entity.Bool,
			debezium.String: entity.Text, debezium.Array: entity.Array}[s.json]
	}
	if k := formOfType(s.t).naturalKind(); k != entity.Any {
		return k
	}
	return ""
}
