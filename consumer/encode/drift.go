package encode

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/value"
	"github.com/cdclab/cdclab/consumer/entity"
)

// SchemaChange is a difference between the known columns of a table and the columns of an event. A
// change is reported once; a shape seen before raises nothing.
type SchemaChange struct {
	Entity, Column string
	Kind           ChangeKind
	// From and To are types; of a rename, the columns' names; of an enum, its values.
	From, To string
	// Severity is Info, Warn or Error.
	Severity entity.Severity
}

// ChangeKind is the kind of a SchemaChange.
type ChangeKind string

// The kinds of changes.
const (
	Added    ChangeKind = "added"
	Removed  ChangeKind = "removed" // the documents keep the values
	Widened  ChangeKind = "widened" // every old value fits the new type
	Narrowed ChangeKind = "narrowed"
	// Incompatible: the stored value stays where the old type would lose a part of the new value.
	Incompatible ChangeKind = "incompatible"
	// Renamed comes besides one Added and one Removed of the same type, as a guess.
	Renamed     ChangeKind = "renamed"
	EnumChanged ChangeKind = "enum_changed"
	Nullability ChangeKind = "nullability"
)

var changeSeverity = map[ChangeKind]entity.Severity{
	Added: entity.Info, Widened: entity.Info, EnumChanged: entity.Info, Nullability: entity.Info,
	Removed: entity.Warn, Narrowed: entity.Warn, Renamed: entity.Warn, Incompatible: entity.Error,
}

// sight is an event's view of a column: the Connect type, or without schemas the JSON type of the
// value, which null does not tell.
type sight struct {
	name string
	t    *debezium.Type
	json debezium.Kind
}

func sightsOfRow(row debezium.Row) []sight {
	columns := make([]sight, len(row))
	for i := range row {
		columns[i] = sight{name: row[i].Name, t: row[i].Type}
		// A lone NaN does not make a column of texts: it tells as little as null.
		v := row[i].Value
		lone := v.Kind() == debezium.String && value.IsSpecial(v.Text())
		if row[i].Type == nil && !lone {
			columns[i].json = v.Kind()
		}
	}
	return columns
}

// agreesWith is true if both can be the same column of the same type.
func (s sight) agreesWith(other sight) bool {
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

var jsonNames = [...]string{
	debezium.Null: "unknown", debezium.Bool: "bool", debezium.Number: "number",
	debezium.String: "string", debezium.Array: "array", debezium.Object: "object",
}

func (s sight) String() string {
	if s.t == nil {
		return jsonNames[s.json]
	}
	return describeType(s.t)
}

func describeType(t *debezium.Type) string {
	text := t.Name
	if text == "" {
		text = t.Connect
	}
	switch f := formOfType(t); {
	case f == asDecimal:
		text += "(" + t.Parameters[debezium.ParameterPrecision] + "," + strconv.Itoa(t.Scale) + ")"
	case f == asArray && t.Items != nil:
		text += " of " + describeType(t.Items)
	case f == asString && t.Parameters[debezium.ParameterColumnLength] != "":
		text += "(" + t.Parameters[debezium.ParameterColumnLength] + ")"
	}
	return text
}

// relateTypes returns how a type became another: "" for the same storage.
func relateTypes(from, to sight, textual bool) ChangeKind {
	if from.t == nil || to.t == nil {
		return jsonRelation(from.json, to.json, from.t == nil && to.t == nil, textual)
	}
	wider, narrower := widens(from.t, to.t, textual), widens(to.t, from.t, textual)
	switch {
	case wider && narrower:
		return ""
	case wider:
		return Widened
	case narrower && formOfType(to.t).naturalKind() != entity.Any && formOfType(to.t) != asArray:
		return Narrowed
	case narrower && formOfType(from.t) == formOfType(to.t):
		return Narrowed
	}
	return Incompatible
}

// jsonRelation compares JSON types. With a schema on a single side nothing can be compared.
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

// ranks order the types of a family: each holds every value of the lower ranks.
var ranks = map[string]int{"int8": 1, "int16": 2, "int32": 3, "int64": 4,
	"float": 1, "float32": 1, "double": 2, "float64": 2}

// widens is true if every value of from is also a value of to. textual: any scalar is a text.
func widens(from, to *debezium.Type, textual bool) bool {
	a, b := formOfType(from), formOfType(to)
	switch {
	case a == asInt && b == asInt, a == asFloat && b == asFloat:
		return ranks[from.Connect] <= ranks[to.Connect]
	case a == asInt && b == asFloat:
		return ranks[from.Connect] <= ranks[to.Connect]+1
	case (a == asInt || a == asDecimal) && (b == asDecimal || b == asVariable):
		return b == asVariable || a == asDecimal && digitsFit(from, to) ||
			a == asInt && intFits(from, to)
	case a.naturalKind() == entity.Date && b.naturalKind() == entity.Timestamp:
		return true
	case a.naturalKind() == b.naturalKind() &&
		(a.naturalKind() == entity.Timestamp || a.naturalKind() == entity.Time):
		return resolution(a) <= resolution(b)
	case a == asString && b == asString && to.Name == "":
		return from.Name != "" || lengthFits(from, to)
	case a == asArray && b == asArray:
		return from.Items == nil || to.Items == nil || widens(from.Items, to.Items, textual)
	case textual && b == asString && to.Name == "":
		return true
	case b == asString && to.Name == "" && from.Connect == "string":
		return a.naturalKind() == entity.Text
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

// digitsFit is true if to has as many digits on both sides of the point.
func digitsFit(from, to *debezium.Type) bool {
	a, aKnown := strconv.Atoi(from.Parameters[debezium.ParameterPrecision])
	b, bKnown := strconv.Atoi(to.Parameters[debezium.ParameterPrecision])
	if aKnown != nil || bKnown != nil {
		return from.Scale <= to.Scale
	}
	return from.Scale <= to.Scale && a-from.Scale <= b-to.Scale
}

func intFits(from, to *debezium.Type) bool {
	digits := map[string]int{"int8": 3, "int16": 5, "int32": 10, "int64": 19}[from.Connect]
	precision, err := strconv.Atoi(to.Parameters[debezium.ParameterPrecision])
	return err != nil || precision-to.Scale >= digits
}

// lengthFits compares the lengths told by column.propagate.source.type.
func lengthFits(from, to *debezium.Type) bool {
	a, aKnown := strconv.Atoi(from.Parameters[debezium.ParameterColumnLength])
	b, bKnown := strconv.Atoi(to.Parameters[debezium.ParameterColumnLength])
	return aKnown != nil || bKnown != nil || a <= b
}

func (t *Table) newSchemaChange(kind ChangeKind, column, from, to string) SchemaChange {
	return SchemaChange{Entity: t.spec.Entity, Column: column, Kind: kind, From: cutType(from),
		To: cutType(to), Severity: changeSeverity[kind]}
}

// cutType cuts the description of a type: the record decides the length.
func cutType(text string) string {
	const most = 512
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// compareColumns appends the differences between two sets of columns.
func (t *Table) compareColumns(before, after []sight, all []SchemaChange) []SchemaChange {
	report := func(kind ChangeKind, column, from, to string) {
		all = append(all, t.newSchemaChange(kind, column, from, to))
	}
	clear(t.earlier)
	for i := range before {
		t.earlier[before[i].name] = i
	}
	stays := make([]bool, len(before))
	var added, removed sight // the last
	adds, removes := 0, 0
	for _, now := range after {
		place, known := t.earlier[now.name]
		if !known && t.optional(now.name) {
			continue
		}
		if !known {
			added, adds = now, adds+1
			report(Added, now.name, "", now.String())
			continue
		}
		was := before[place]
		stays[place] = true
		if kind := t.relateColumn(was, now); kind != "" {
			report(kind, now.name, was.String(), now.String())
		}
		reportMinorChanges(was, now, report)
	}
	for i, was := range before {
		if !stays[i] && !t.optional(was.name) {
			removed, removes = was, removes+1
			report(Removed, was.name, was.String(), "")
		}
	}
	if adds == 1 && removes == 1 && relateTypes(removed, added, false) == "" {
		report(Renamed, added.name, removed.name, added.name)
	}
	return all
}

func (t *Table) optional(column string) bool {
	f := t.fields[column]
	return f != nil && f.Optional
}

// reportMinorChanges reports changes without effect on the storage.
func reportMinorChanges(was, now sight, report func(kind ChangeKind, column, from, to string)) {
	if was.t == nil || now.t == nil {
		return
	}
	const allowed = debezium.ParameterAllowed
	if from, to := was.t.Parameters[allowed], now.t.Parameters[allowed]; from != to &&
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

// relateColumn compares two types of the table's column. A type that the Field's kind takes is
// never incompatible. A column without a Field is compared with its stored type.
func (t *Table) relateColumn(was, now sight) ChangeKind {
	f := t.fields[now.name]
	kind := relateTypes(was, now, f == nil)
	if kind == "" {
		return ""
	}
	if f == nil {
		if held := relateTypes(t.stored[now.name], now, true); held != "" {
			return held
		}
	}
	if kind == Incompatible && (f == nil || belongsTo(f.Kind, now.t)) {
		return Widened
	}
	return kind
}

func belongsTo(k entity.Kind, t *debezium.Type) bool {
	_, fit := formForField(k, t)
	return fit && t != nil
}

// compareWithSpec appends the differences between the first event's columns and the Spec's, the
// only columns known of the table.
func (t *Table) compareWithSpec(columns []sight, all []SchemaChange) []SchemaChange {
	report := func(kind ChangeKind, column, from, to string) {
		all = append(all, t.newSchemaChange(kind, column, from, to))
	}
	there := map[string]bool{}
	var added []sight
	for _, c := range columns {
		there[c.name] = true
		f := t.fields[c.name]
		if f == nil {
			added = append(added, c)
			report(Added, c.name, "", c.String())
		} else if _, fit := formForField(f.Kind, c.t); !fit {
			report(Incompatible, c.name, string(f.Kind), c.String())
		}
	}
	var removed []*entity.Field
	for i := range t.spec.Fields {
		if f := &t.spec.Fields[i]; !there[f.Column] && !f.Optional {
			removed = append(removed, f)
			report(Removed, f.Column, string(f.Kind), "")
		}
	}
	if len(added) == 1 && len(removed) == 1 {
		if _, fit := formForField(removed[0].Kind, added[0].t); fit {
			report(Renamed, added[0].name, removed[0].Column, added[0].name)
		}
	}
	return all
}

func (c SchemaChange) String() string {
	return fmt.Sprintf("%s.%s %s: %q -> %q", c.Entity, c.Column, c.Kind, c.From, c.To)
}
