// Package entity holds the declarative description of what is replicated: which table becomes
// which collection, field by field, and how a value compares. It is pure: no Kafka, no MongoDB
// connection, no clock. Start reading at Spec, then specs/*.yaml.
package entity

// Kind is the type of a Field.
type Kind string

// The kinds of Fields, and the BSON type each is stored as.
const (
	UUID      Kind = "uuid"      // string, lower case
	Text      Kind = "text"      // string
	Bool      Kind = "bool"      // bool
	Int       Kind = "int"       // int64
	Decimal   Kind = "decimal"   // Decimal128; money is never a float
	Timestamp Kind = "timestamp" // date in ms; the exact text in <field>Exact where it has more
)

// Spec describes one entity: one table of the source and its place in MongoDB.
type Spec struct {
	// Entity is its name: customer, address, order, order_item.
	Entity string `yaml:"entity"`
	// Table is the table in PostgreSQL, schema.name, unquoted: public.order.
	Table string `yaml:"table"`
	// Collection holds its documents; for an embedded entity, those of the entity it lives in.
	Collection string `yaml:"collection"`
	// Key is the column whose text is the document's _id (or the map key of an embedded one).
	Key    string  `yaml:"key"`
	Fields []Field `yaml:"fields"`
	// Embed is set for an entity that lives inside another's document.
	Embed *Embed `yaml:"embed,omitempty"`
	// References are its foreign keys; the first is its parent.
	References []Reference `yaml:"references,omitempty"`
}

// Field is one column and the document's member it becomes.
type Field struct {
	Column string `yaml:"column"`
	// Name is the member; left out, the column's name in camelCase.
	Name     string `yaml:"name,omitempty"`
	Kind     Kind   `yaml:"kind"`
	Required bool   `yaml:"required,omitempty"`
}

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
}
