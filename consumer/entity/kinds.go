package entity

import "slices"

// Kind is the way to store the values of a column. The comment of package encode has the table of
// PostgreSQL's types.
type Kind string

// The kinds of Fields, and the stored BSON type of each.
const (
	UUID      Kind = "uuid"      // string, lower case
	Text      Kind = "text"      // string
	Bool      Kind = "bool"      // bool
	Int       Kind = "int"       // int64
	Decimal   Kind = "decimal"   // Decimal128; money is never a float. Text beyond 34 digits
	Double    Kind = "double"    // double
	Timestamp Kind = "timestamp" // date in ms; finer times also as a text in <field>Exact
	Date      Kind = "date"      // date, at midnight UTC
	Time      Kind = "time"      // string
	Interval  Kind = "interval"  // string
	JSON      Kind = "json"      // string
	Bytes     Kind = "bytes"     // binary
	Bits      Kind = "bits"      // string
	Array     Kind = "array"     // array of the Field's Items
	Any       Kind = "any"       // by the Connect type, or else by the JSON type
)

var (
	kinds = []Kind{UUID, Text, Bool, Int, Decimal, Double, Timestamp, Date, Time, Interval, JSON,
		Bytes, Bits, Array, Any}
	keyKinds   = []Kind{UUID, Text, Int}
	rangeKinds = []Kind{Int, Decimal, Double}
)

// KeyMember is the member for a document's key.
const KeyMember = "_id"

// MetadataMember is the member of a row for everything that the consumer adds to the row.
const MetadataMember = "cdcMetadata"

// EmbeddedMember is the member of a document that lists the rows embedded now or earlier.
const EmbeddedMember = "cdcEmbedded"

// ExactSuffix follows a timestamp's member in the name of the member with the exact text.
const ExactSuffix = "Exact"

// HasExact is true if a value of the Field may need an exact text too.
func (f Field) HasExact() bool {
	switch f.Kind {
	case Timestamp, Any:
		return true
	case Array:
		return f.Items == Timestamp || f.Items == Any || f.Items == ""
	}
	return false
}

// takesRange is true if a Field of the kind can have a least and a greatest value.
func (k Kind) takesRange() bool { return slices.Contains(rangeKinds, k) }
