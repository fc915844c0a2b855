package entity

import (
	"slices"
	"sync"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// Table is a Spec at work: its Fields ready to be applied, and the shapes that the table's events
// have had. All partitions share it; it is safe for concurrent use.
type Table struct {
	spec     *Spec
	fields   map[string]*field // by column
	taken    map[string]bool   // members that columns without a Field cannot have
	severity map[string]Severity
	members  map[string]*field // those with transitions

	mu      sync.Mutex
	plans   []*plan // the last first
	current *plan
	since   int64 // the commit at which current was first seen, microseconds
	// stored is what a column without a Field is stored as: the widest type so far.
	stored map[string]sight
	// declared are the types that the Spec's columns had first.
	declared map[string]*debezium.Type
	reported map[SchemaChange]bool
}

// field is a Field with all that is made of it once.
type field struct {
	Field
	member string
	rules  *rules
	refs   []Ref // without their ID
}

// Bounds of what is remembered: shapes, and the columns that were ever there.
const (
	plansMax   = 64
	columnsMax = 10_000
)

// Spec is the table's; it is not to be changed.
func (t *Table) Spec() *Spec { return t.spec }

// newTable readies a Spec. s is what it refers to.
func newTable(spec *Spec, s *state) *Table {
	t := &Table{spec: spec, fields: map[string]*field{}, taken: map[string]bool{},
		members: map[string]*field{}, severity: map[string]Severity{}, stored: map[string]sight{},
		declared: map[string]*debezium.Type{}, reported: map[SchemaChange]bool{}}
	for rule, severity := range severities {
		t.severity[rule] = severity
	}
	for rule, severity := range spec.Severity {
		t.severity[rule] = severity
	}
	for _, member := range own(spec.Embed != nil) {
		t.taken[member] = true
	}
	for _, other := range s.all {
		if other.Embed != nil && other.Embed.Into == spec.Entity {
			t.taken[other.Embed.Field] = true
		}
	}
	for _, f := range spec.Fields {
		ready := &field{Field: f, member: f.Member(), rules: newRules(&f)}
		t.fields[f.Column] = ready
		t.taken[ready.member] = true
		if f.exact() {
			t.taken[ready.member+ExactSuffix] = true
		}
		if len(f.Transitions) > 0 {
			t.members[ready.member] = ready
		}
	}
	for _, r := range spec.References {
		target := s.byEntity[r.Entity]
		inside := spec.Embed != nil && spec.Embed.Into == r.Entity && spec.Embed.Parent == r.Column
		if inside || target.Embed != nil {
			continue // a shell stands in; embedded rows cannot be found by their key
		}
		f := t.fields[r.Column]
		f.refs = append(f.refs, Ref{Collection: target.Collection, Column: r.Column,
			Missing: r.Missing, Grace: r.Grace})
	}
	return t
}

// Transition judges that a member's value follows another; nil where it may. The consumer calls it
// with what is stored.
func (t *Table) Transition(member, from, to string) *Violation {
	f := t.members[member]
	if f == nil || f.rules.legal(from, to) {
		return nil
	}
	v := &Violation{Rule: RuleTransition, Field: f.Column, Severity: t.severity[RuleTransition],
		Reason: "may not follow the stored value"}
	if !f.Secret {
		v.Value = shorten(from + " -> " + to)
	}
	return v
}

// plan is how the rows of one shape become members.
type plan struct {
	sights  []sight
	columns []column
	keyed   bool     // the key is one column id
	late    bool     // it was first seen after a newer one
	absent  []*field // the required ones that the shape lacks
}

// column is one column of a shape.
type column struct {
	name  string
	t     *debezium.Type
	json  debezium.Kind
	field *field // nil: by its type
	// member, and exact for its exact text, end in NUL, as in BSON; exact is empty where there is none.
	member, exact string
	kind          Kind
	form          form
	items         items
	// loose: the column's type changed. Values that do not fit any more are left out.
	loose bool
	// lost says what the column was before, where every value of its type might still fit.
	lost string
	// key: not a member, but the document's _id.
	key bool
	// nameless: a part of its name is lost.
	nameless bool
}

func (c *column) memberName() string { return c.member[:len(c.member)-1] }

// fits: the row has this shape, with the very same Types.
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
			if kind := cell.Value.Kind(); kind != c.json && kind != debezium.Null && !c.number(cell.Value) {
				return false
			}
		}
	}
	return true
}

// number: NaN and the infinities of a column of numbers are written as texts.
func (c *column) number(v debezium.Value) bool {
	return c.json == debezium.Number && v.Kind() == debezium.String && special64(v.Text(), new(scalar))
}

// plan finds the shape of a row, or makes it and says what is new. commit is the event's,
// microseconds since 1970, 0 where it is not known.
func (t *Table) plan(row debezium.Row, keyed bool, commit int64) (*plan, []SchemaChange) {
	columns := sights(row)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, p := range t.plans {
		if p.keyed != keyed || !slices.EqualFunc(p.sights, columns, sight.agrees) {
			continue
		}
		known := p.merge(columns)
		if known == nil {
			return p, nil
		}
		if !p.late {
			t.settle(known.sights)
		}
		known = t.compile(known.sights, keyed, p.late)
		if t.plans[i] = known; p == t.current {
			t.current = known
		}
		return known, nil
	}
	// What is older than the current shape is a replay, or a partition that lags: no news.
	late := t.current != nil && commit != 0 && commit < t.since
	var changes []SchemaChange
	switch {
	case late:
	case t.current != nil:
		changes = t.changes(t.current.sights, columns)
	case len(t.spec.Fields) > 0:
		changes = t.first(columns)
	}
	if !late {
		t.settle(columns)
	}
	made := t.compile(columns, keyed, late)
	t.plans = append([]*plan{made}, t.plans[:min(len(t.plans), plansMax-1)]...)
	if !late {
		t.current, t.since = made, commit
	}
	return made, changes
}

// merge is the plan with what the row tells of columns that were null so far, or with other Types of
// the same content; nil where there is nothing new.
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

// settle notes what columns are stored as.
func (t *Table) settle(columns []sight) {
	if len(t.stored) > columnsMax {
		clear(t.stored)
	}
	for _, c := range columns {
		if t.fields[c.name] != nil {
			if first := t.declared[c.name]; first == nil && c.t != nil {
				t.declared[c.name] = c.t
			}
			continue
		}
		was, known := t.stored[c.name]
		if !known || was.t == nil && was.json == debezium.Null {
			t.stored[c.name] = c
		} else if kind := relation(was, c, true); kind == "" || kind == Widened {
			t.stored[c.name] = c
		}
	}
}

// compile makes the plan of a shape. The types of a late one are not held against what is stored.
func (t *Table) compile(columns []sight, keyed, late bool) *plan {
	p := &plan{sights: columns, keyed: keyed, late: late, columns: make([]column, len(columns))}
	var names []*naming
	there := map[string]bool{}
	for i, s := range columns {
		there[s.name] = true
		c := &p.columns[i]
		*c = column{name: s.name, t: s.t, json: s.json, field: t.fields[s.name]}
		_, whole := escapeName(s.name)
		c.nameless = !whole
		if c.field != nil {
			t.compileField(c)
			continue
		}
		c.kind, c.form, c.items = Any, formOf(s.t), itemsOf(Any, s.t)
		if c.key = keyed && s.name == "id"; c.key {
			c.member = KeyMember + "\x00"
			continue
		}
		if !late {
			t.hold(c)
		}
		names = append(names, &naming{column: s.name, exact: c.dated()})
	}
	name(names, t.taken)
	for i := range p.columns {
		if c := &p.columns[i]; c.field == nil && !c.key {
			c.rename(names[0].member, names[0].exact)
			names = names[1:]
		}
	}
	for i := range t.spec.Fields {
		if f := t.fields[t.spec.Fields[i].Column]; f.Required && !there[f.Column] {
			p.absent = append(p.absent, f)
		}
	}
	return p
}

// dated: values of the column may need an exact text.
func (c *column) dated() bool {
	return c.form.natural() == Timestamp || c.form == asArray && c.items.form.natural() == Timestamp ||
		c.kind == Timestamp
}

func (c *column) rename(member string, exact bool) {
	if c.member = member + "\x00"; exact {
		c.exact = member + ExactSuffix + "\x00"
	}
}

func (t *Table) compileField(c *column) {
	f := c.field
	var fit bool
	c.kind = f.Kind
	c.form, fit = formFor(f.Kind, c.t)
	c.loose = !fit
	if c.kind == Array {
		c.items = itemsOf(f.Items, c.t)
	} else {
		c.items = itemsOf(Any, c.t)
	}
	c.key = f.Column == t.spec.Key
	c.rename(f.member, f.exact() && c.dated())
	if first := t.declared[c.name]; fit && first != nil && c.t != nil {
		if relation(sight{t: first}, sight{t: c.t}, false) == Incompatible {
			c.loose, c.lost = true, typeText(first)
		}
	}
}

// hold keeps a column without a Field to what it is stored as.
func (t *Table) hold(c *column) {
	was, known := t.stored[c.name]
	if !known {
		return
	}
	switch relation(was, sight{t: c.t, json: c.json}, true) {
	case Narrowed:
		c.loose = true
		if k := was.natural(); k != c.form.natural() {
			c.kind = k
		}
	case Incompatible:
		c.loose, c.kind = true, was.natural()
		if c.kind == Array && was.t != nil {
			c.items = itemsOf(formOf(was.t.Items).natural(), c.t)
		}
	}
}

// natural is the kind that the column's values are stored as; "" for those that only their own type
// can be.
func (s sight) natural() Kind {
	if s.t == nil {
		return map[debezium.Kind]Kind{debezium.Bool: Bool, debezium.String: Text, debezium.Array: Array}[s.json]
	}
	if k := formOf(s.t).natural(); k != Any {
		return k
	}
	return ""
}
