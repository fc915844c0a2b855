package entity

import (
	"strings"
	"time"
)

// Spec describes one entity: one table of the source and its place in MongoDB.
type Spec struct {
	// Entity is its name: customer, address, order, order_item.
	Entity string `yaml:"entity"`
	// Table is the table in PostgreSQL, schema.name, unquoted: public.order.
	Table string `yaml:"table"`
	// Collection holds its documents; for an embedded entity, those of the entity it lives in.
	Collection string `yaml:"collection"`
	// Key is the column whose text is the document's _id (or the map key of an embedded one). In the
	// Spec of a table that has none in YAML it is "": the table's own key serves.
	Key    string  `yaml:"key"`
	Fields []Field `yaml:"fields"`
	// Embed is set for an entity that lives inside another's document.
	Embed *Embed `yaml:"embed,omitempty"`
	// References are its foreign keys; the first is its parent.
	References []Reference `yaml:"references,omitempty"`
	// Severity overrides what follows from a broken rule, by rule: warn or reject.
	Severity map[string]Severity `yaml:"severity,omitempty"`
	// Skew is how far the source's clock may be ahead of the record's Kafka timestamp; 0: no rule.
	Skew time.Duration `yaml:"skew,omitempty"`
	// Late is how much later than its commit a streamed event may be recorded in Kafka; 0: no rule.
	Late time.Duration `yaml:"late,omitempty"`
}

// Field is one column and the document's member it becomes. Columns that no Field names are stored
// too, by their type.
type Field struct {
	Column string `yaml:"column"`
	// Name is the member; left out, the column's name in camelCase.
	Name string `yaml:"name,omitempty"`
	Kind Kind   `yaml:"kind"`
	// Items is the kind of an array's items; left out, any.
	Items    Kind `yaml:"items,omitempty"`
	Required bool `yaml:"required,omitempty"`
	// Optional: the table may lack the column, and that is no drift.
	Optional bool `yaml:"optional,omitempty"`
	// Secret: no violation shows a value.
	Secret bool `yaml:"secret,omitempty"`
	// Enum are the values it may have.
	Enum   []string `yaml:"enum,omitempty"`
	Format Format   `yaml:"format,omitempty"`
	// Min and Max are decimal numbers, both allowed themselves; "" is none.
	Min string `yaml:"min,omitempty"`
	Max string `yaml:"max,omitempty"`
	// Transitions are the values that may follow each value. A value may always stay; what follows a
	// value that is not in here is not judged.
	Transitions map[string][]string `yaml:"transitions,omitempty"`
	// NotAfter is how far beyond the commit a timestamp may be; 0: no rule.
	NotAfter time.Duration `yaml:"not_after,omitempty"`
	// NotBefore is how long before the commit a timestamp may be that is new: a created row's, or one
	// that an update changes where the event has the value before. What a snapshot reads, or a row keeps,
	// may be as old as it likes. 0: no rule.
	NotBefore time.Duration `yaml:"not_before,omitempty"`
}

// Format is what a text must look like.
type Format string

// The formats.
const (
	Email      Format = "email"
	FormatUUID Format = "uuid"
)

// Embed says where an embedded entity lives: documents of entity Into, in the map Field, under the
// embedded row's key. Parent is the column that holds the _id of the document.
type Embed struct {
	Into   string `yaml:"into"`
	Field  string `yaml:"field"`
	Parent string `yaml:"parent"`
}

// Reference is a foreign key: Column holds the key of a row of Entity.
type Reference struct {
	Column string `yaml:"column"`
	Entity string `yaml:"entity"`
	// Grace is how long the referenced row is waited for; left out, DefaultGrace.
	Grace time.Duration `yaml:"grace,omitempty"`
	// Missing is what happens after that; left out, Store.
	Missing Missing `yaml:"missing,omitempty"`
}

// Missing is what becomes of a row that refers to one that does not come.
type Missing string

// The fates of such a row.
const (
	Store      Missing = "store"       // stored, and marked as an orphan
	DeadLetter Missing = "dead_letter" // rejected
)

// DefaultGrace is the Grace of a Reference that names none.
const DefaultGrace = 10 * time.Second

// Severity is what follows from a broken rule, or says how much a change of schema matters.
type Severity string

// The severities. A rule has one of the first two, a SchemaChange one of the last three.
const (
	Reject Severity = "reject" // the row is not stored
	Warn   Severity = "warn"   // stored, and counted
	Info   Severity = "info"
	Error  Severity = "error" // a column's values cannot be stored any more
)

// field finds a Field by its column; nil if there is none.
func (s *Spec) field(column string) *Field {
	for i := range s.Fields {
		if s.Fields[i].Column == column {
			return &s.Fields[i]
		}
	}
	return nil
}

// Member is the name of the document's member: Name, or else the column in camelCase (lab_version
// is labVersion). In a Spec from Load the key column's is KeyMember.
func (f Field) Member() string {
	if f.Name != "" {
		return f.Name
	}
	return camelCase(f.Column)
}

func camelCase(column string) string {
	var b strings.Builder
	upper := false
	for _, r := range column {
		switch {
		case r == '_' && b.Len() > 0:
			upper = true
		case upper:
			b.WriteString(strings.ToUpper(string(r)))
			upper = false
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
