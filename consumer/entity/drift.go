package entity

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// SchemaChange is a difference between the columns of a table that were known and those of an event.
// It is reported once: whatever shape was seen before raises nothing.
type SchemaChange struct {
	Entity, Column string
	Kind           ChangeKind
	// From and To are types; of a rename, the columns' names; of an enum, its values.
	From, To string
	// Severity is Info, Warn or Error.
	Severity Severity
}

// ChangeKind is what a SchemaChange is about.
type ChangeKind string

// The kinds of changes.
const (
	Added    ChangeKind = "added"
	Removed  ChangeKind = "removed" // its values stay in the documents
	Widened  ChangeKind = "widened" // every value of the old type is one of the new
	Narrowed ChangeKind = "narrowed"
	// Incompatible: where a value cannot be stored as the old type without loss, the stored one stays.
	Incompatible ChangeKind = "incompatible"
	// Renamed comes besides one Added and one Removed of the same type: it is a guess.
	Renamed     ChangeKind = "renamed"
	EnumChanged ChangeKind = "enum_changed"
	Nullability ChangeKind = "nullability"
)

var changeSeverity = map[ChangeKind]Severity{
	Added: Info, Widened: Info, EnumChanged: Info, Nullability: Info,
	Removed: Warn, Narrowed: Warn, Renamed: Warn, Incompatible: Error,
}

// sight is what an event shows of a column: its Connect type, or without schemas the JSON type of
// its value, which null does not tell.
type sight struct {
	name string
	t    *debezium.Type
	json debezium.Kind
}

func sights(row debezium.Row) []sight {
	columns := make([]sight, len(row))
	for i := range row {
		columns[i] = sight{name: row[i].Name, t: row[i].Type}
		// A lone NaN does not make a column one of texts: it tells as little as null.
		if v := row[i].Value; row[i].Type == nil && !(v.Kind() == debezium.String && special64(v.Text(), new(scalar))) {
			columns[i].json = v.Kind()
		}
	}
	return columns
}

// agrees: both can be the same column of the same type.
func (s sight) agrees(other sight) bool {
	if s.name != other.name || (s.t == nil) != (other.t == nil) {
		return false
	}
	if s.t != nil {
		return sameType(s.t, other.t)
	}
	return s.json == other.json || s.json == debezium.Null || other.json == debezium.Null
}

func sameType(a, b *debezium.Type) bool {
	if a == b || a == nil || b == nil {
		return a == b
	}
	return a.Connect == b.Connect && a.Name == b.Name && a.Optional == b.Optional &&
		a.Scale == b.Scale && maps.Equal(a.Parameters, b.Parameters) && sameType(a.Items, b.Items)
}

var jsonNames = map[debezium.Kind]string{
	debezium.Null: "unknown", debezium.Bool: "bool", debezium.Number: "number",
	debezium.String: "string", debezium.Array: "array", debezium.Object: "object",
}

// lengthParameter is there with Debezium's column.propagate.source.type.
const lengthParameter = "__debezium.source.column.length"

func (s sight) String() string {
	if s.t == nil {
		return jsonNames[s.json]
	}
	return typeText(s.t)
}

func typeText(t *debezium.Type) string {
	text := t.Name
	if text == "" {
		text = t.Connect
	}
	switch f := formOf(t); {
	case f == asDecimal:
		text += "(" + t.Parameters["connect.decimal.precision"] + "," + strconv.Itoa(t.Scale) + ")"
	case f == asArray && t.Items != nil:
		text += " of " + typeText(t.Items)
	case f == asString && t.Parameters[lengthParameter] != "":
		text += "(" + t.Parameters[lengthParameter] + ")"
	}
	return text
}

// relation is how a type became another: "" for the same storage.
func relation(from, to sight, textual bool) ChangeKind {
	if from.t == nil || to.t == nil {
		return jsonRelation(from.json, to.json, from.t == nil && to.t == nil, textual)
	}
	wider, narrower := widens(from.t, to.t, textual), widens(to.t, from.t, textual)
	switch {
	case wider && narrower:
		return ""
	case wider:
		return Widened
	case narrower && formOf(to.t).natural() != Any && formOf(to.t) != asArray:
		return Narrowed
	case narrower && formOf(from.t) == formOf(to.t):
		return Narrowed
	}
	return Incompatible
}

// jsonRelation compares JSON types; with a schema on one side only there is nothing to compare.
func jsonRelation(from, to debezium.Kind, both, textual bool) ChangeKind {
	switch {
	case !both || from == to || from == debezium.Null || to == debezium.Null:
		return ""
	case textual && to == debezium.String:
		return Widened
	case textual && from == debezium.String && to < debezium.String:
		return Narrowed
	}
	return Incompatible
}

// ranks order the types of a family: each holds every value of those below it.
var ranks = map[string]int{"int8": 1, "int16": 2, "int32": 3, "int64": 4,
	"float": 1, "float32": 1, "double": 2, "float64": 2}

// widens: every value of from is one of to. textual: any scalar is a text.
func widens(from, to *debezium.Type, textual bool) bool {
	a, b := formOf(from), formOf(to)
	switch {
	case a == asInt && b == asInt, a == asFloat && b == asFloat:
		return ranks[from.Connect] <= ranks[to.Connect]
	case a == asInt && b == asFloat:
		return ranks[from.Connect] <= ranks[to.Connect]+1
	case (a == asInt || a == asDecimal) && (b == asDecimal || b == asVariable):
		return b == asVariable || a == asDecimal && digitsFit(from, to) || a == asInt && intFits(from, to)
	case a.natural() == Date && b.natural() == Timestamp:
		return true
	case a.natural() == b.natural() && (a.natural() == Timestamp || a.natural() == Time):
		return resolution(a) <= resolution(b)
	case a == asString && b == asString && to.Name == "":
		return from.Name != "" || lengthFits(from, to)
	case a == asArray && b == asArray:
		return from.Items == nil || to.Items == nil || widens(from.Items, to.Items, textual)
	case textual && b == asString && to.Name == "":
		return true
	case b == asString && to.Name == "" && from.Connect == "string":
		return a.natural() == Text
	}
	return a == b && from.Name == to.Name
}

func resolution(f form) int {
	switch f {
	case asMillis, asTimeMillis:
		return 1
	case asMicros, asTimeMicros:
		return 2
	case asNanos, asTimeNanos:
		return 3
	}
	return 4 // texts with a zone
}

// digitsFit: as many digits on both sides of the point.
func digitsFit(from, to *debezium.Type) bool {
	const precision = "connect.decimal.precision"
	a, aKnown := strconv.Atoi(from.Parameters[precision])
	b, bKnown := strconv.Atoi(to.Parameters[precision])
	if aKnown != nil || bKnown != nil {
		return from.Scale <= to.Scale
	}
	return from.Scale <= to.Scale && a-from.Scale <= b-to.Scale
}

func intFits(from, to *debezium.Type) bool {
	digits := map[string]int{"int8": 3, "int16": 5, "int32": 10, "int64": 19}[from.Connect]
	precision, err := strconv.Atoi(to.Parameters["connect.decimal.precision"])
	return err != nil || precision-to.Scale >= digits
}

// lengthFits compares the lengths that column.propagate.source.type tells.
func lengthFits(from, to *debezium.Type) bool {
	a, aKnown := strconv.Atoi(from.Parameters[lengthParameter])
	b, bKnown := strconv.Atoi(to.Parameters[lengthParameter])
	return aKnown != nil || bKnown != nil || a <= b
}

// changes lists what became different from one set of columns to the next.
func (t *Table) changes(before, after []sight) []SchemaChange {
	var all []SchemaChange
	report := func(kind ChangeKind, column, from, to string) {
		all = append(all, SchemaChange{Entity: t.spec.Entity, Column: column, Kind: kind, From: from,
			To: to, Severity: changeSeverity[kind]})
	}
	find := func(columns []sight, name string) *sight {
		if i := slices.IndexFunc(columns, func(s sight) bool { return s.name == name }); i >= 0 {
			return &columns[i]
		}
		return nil
	}
	var added, removed []sight
	for _, now := range after {
		was := find(before, now.name)
		if was == nil && t.optional(now.name) {
			continue
		}
		if was == nil {
			added = append(added, now)
			report(Added, now.name, "", now.String())
			continue
		}
		if kind := t.relation(*was, now); kind != "" {
			report(kind, now.name, was.String(), now.String())
		}
		minor(*was, now, report)
	}
	for _, was := range before {
		if find(after, was.name) == nil && !t.optional(was.name) {
			removed = append(removed, was)
			report(Removed, was.name, was.String(), "")
		}
	}
	if len(added) == 1 && len(removed) == 1 && relation(removed[0], added[0], false) == "" {
		report(Renamed, added[0].name, removed[0].name, added[0].name)
	}
	return all
}

func (t *Table) optional(column string) bool {
	f := t.fields[column]
	return f != nil && f.Optional
}

// minor reports what does not touch the storage.
func minor(was, now sight, report func(kind ChangeKind, column, from, to string)) {
	if was.t == nil || now.t == nil {
		return
	}
	if from, to := was.t.Parameters["allowed"], now.t.Parameters["allowed"]; from != to &&
		was.t.Name == now.t.Name {
		report(EnumChanged, now.name, from, to)
	}
	if was.t.Optional != now.t.Optional {
		report(Nullability, now.name, nullable(was.t), nullable(now.t))
	}
}

func nullable(t *debezium.Type) string {
	if t.Optional {
		return "null"
	}
	return "not null"
}

// relation of a column of the table: types that the kind of a Spec's takes are never incompatible,
// and any other column's are held against what it is stored as.
func (t *Table) relation(was, now sight) ChangeKind {
	f := t.fields[now.name]
	kind := relation(was, now, f == nil)
	if kind == "" {
		return ""
	}
	if f == nil {
		if held := relation(t.stored[now.name], now, true); held != "" {
			return held
		}
	}
	if kind == Incompatible && (f == nil || belongsTo(f.Kind, now.t)) {
		return Widened
	}
	return kind
}

func belongsTo(k Kind, t *debezium.Type) bool {
	_, fit := formFor(k, t)
	return fit && t != nil
}

// first compares the first event's columns with the Spec's, which are what is known of the table.
func (t *Table) first(columns []sight) []SchemaChange {
	var all []SchemaChange
	report := func(kind ChangeKind, column, from, to string) {
		all = append(all, SchemaChange{Entity: t.spec.Entity, Column: column, Kind: kind, From: from,
			To: to, Severity: changeSeverity[kind]})
	}
	there := map[string]bool{}
	var added []sight
	for _, c := range columns {
		there[c.name] = true
		f := t.fields[c.name]
		if f == nil {
			added = append(added, c)
			report(Added, c.name, "", c.String())
		} else if _, fit := formFor(f.Kind, c.t); !fit {
			report(Incompatible, c.name, string(f.Kind), c.String())
		}
	}
	var removed []*Field
	for i := range t.spec.Fields {
		if f := &t.spec.Fields[i]; !there[f.Column] && !f.Optional {
			removed = append(removed, f)
			report(Removed, f.Column, string(f.Kind), "")
		}
	}
	if len(added) == 1 && len(removed) == 1 {
		if _, fit := formFor(removed[0].Kind, added[0].t); fit {
			report(Renamed, added[0].name, removed[0].Column, added[0].name)
		}
	}
	return all
}

func (c SchemaChange) String() string {
	return fmt.Sprintf("%s.%s %s: %q -> %q", c.Entity, c.Column, c.Kind, c.From, c.To)
}
