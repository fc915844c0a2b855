package entity

import (
	"maps"
	"strings"
	"time"
)

// Spec describes a single entity: a table of the source and its place in MongoDB.
type Spec struct {
	// Entity is the entity's name: customer, address, order, order_item.
	Entity string `yaml:"entity"`
	// Table is the table in PostgreSQL, schema.name, unquoted: public.order.
	Table string `yaml:"table"`
	// Collection holds the entity's documents. An embedded entity has the collection of the entity
	// around it.
	Collection string `yaml:"collection"`
	// Key is the column with the text of the document's _id, or with the map key of an embedded
	// row. A Spec without a YAML has the Key "", so that the table's own key serves.
	Key    string  `yaml:"key"`
	Fields []Field `yaml:"fields"`
	// Embed is set for an entity inside another's document.
	Embed *Embed `yaml:"embed,omitempty"`
	// References are the entity's foreign keys; the first is the parent.
	References []Reference `yaml:"references,omitempty"`
	// Severity overrides the consequence of a broken rule, by rule: warn or reject.
	Severity map[string]Severity `yaml:"severity,omitempty"`
	// Skew is how far the source's clock may be ahead of the record's Kafka timestamp; 0: no rule.
	Skew time.Duration `yaml:"skew,omitempty"`
	// Late is how much later than its commit a streamed event may be recorded in Kafka; 0: no rule.
	Late time.Duration `yaml:"late,omitempty"`
}

// Field is a single column and the column's member of the document. Columns without a Field are
// stored too, by their type.
type Field struct {
	Column string `yaml:"column"`
	// Name is the member; left out, the column's name in camelCase.
	Name string `yaml:"name,omitempty"`
	Kind Kind   `yaml:"kind"`
	// Items is the kind of an array's items; left out, any.
	Items    Kind `yaml:"items,omitempty"`
	Required bool `yaml:"required,omitempty"`
	// Optional: the table may lack the column without a drift.
	Optional bool `yaml:"optional,omitempty"`
	// Secret: no violation shows a value.
	Secret bool `yaml:"secret,omitempty"`
	// Enum are the allowed values.
	Enum   []string `yaml:"enum,omitempty"`
	Format Format   `yaml:"format,omitempty"`
	// Min and Max are decimal numbers, both allowed themselves; "" is none.
	Min string `yaml:"min,omitempty"`
	Max string `yaml:"max,omitempty"`
	// Transitions are the values that may follow each value. A value may always stay. Any value may
	// follow a value that is not in here.
	Transitions map[string][]string `yaml:"transitions,omitempty"`
	// NotAfter is how far beyond the commit a timestamp may be; 0: no rule.
	NotAfter time.Duration `yaml:"not_after,omitempty"`
	// NotBefore is how long before the commit a new timestamp may be. Timestamps of a created row
	// are new, and timestamps changed by an update that has the value before. Values read by a
	// snapshot, or kept by a row, may have any age. 0: no rule.
	NotBefore time.Duration `yaml:"not_before,omitempty"`
}

// Format is the required form of a text.
type Format string

// The formats.
const (
	Email      Format = "email"
	FormatUUID Format = "uuid"
)

// Embed says where an embedded entity lives: documents of entity Into, in the map Field, under the
// embedded row's key. Parent is the column with the _id of the document.
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
	// Missing is the fate of the row after Grace; left out, Store.
	Missing Missing `yaml:"missing,omitempty"`
}

// Missing is the fate of a row with a reference to a row that does not come.
type Missing string

// The fates of such a row.
const (
	Store      Missing = "store"       // stored, and marked as an orphan
	DeadLetter Missing = "dead_letter" // rejected
)

// DefaultGrace is the Grace of a Reference without a Grace.
const DefaultGrace = 10 * time.Second

// Severity is the consequence of a broken rule, or says how much a change of schema matters.
type Severity string

// The severities. A rule has one of the first two, a SchemaChange has any of the last three.
const (
	Reject Severity = "reject" // the row is not stored
	Warn   Severity = "warn"   // stored, and counted
	Info   Severity = "info"
	Error  Severity = "error" // a column's values cannot be stored any more
)

// fieldOfColumn finds a Field by its column; nil without such a Field.
func (s *Spec) fieldOfColumn(column string) *Field {
	for i := range s.Fields {
		if s.Fields[i].Column == column {
			return &s.Fields[i]
		}
	}
	return nil
}

// OwnMembers returns the members of a row written by the consumer itself.
func (s *Spec) OwnMembers() []string {
	if s.Embed != nil {
		return []string{KeyMember, MetadataMember}
	}
	return []string{KeyMember, MetadataMember, EmbeddedMember}
}

// Severities returns the severities of all rules: the Spec's, or else the default.
func (s *Spec) Severities() map[string]Severity {
	all := maps.Clone(severities)
	maps.Copy(all, s.Severity)
	return all
}

// Member returns the name of the document's member: Name, or else the column in camelCase
// (lab_version is labVersion). In a Spec from Load the key column's is KeyMember.
func (f Field) Member() string {
	if f.Name != "" {
		return f.Name
	}
	return CamelCase(f.Column)
}

// CamelCase returns the member's name for a column's name: labVersion for lab_version.
func CamelCase(column string) string {
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
