package entity

import "slices"

// Kind is how the values of a column are stored. The package comment has the table of PostgreSQL's
// types.
type Kind string

// The kinds of Fields, and the BSON type each is stored as.
const (
	UUID      Kind = "uuid"      // string, lower case
	Text      Kind = "text"      // string
	Bool      Kind = "bool"      // bool
	Int       Kind = "int"       // int64
	Decimal   Kind = "decimal"   // Decimal128; money is never a float. Text beyond 34 digits
	Double    Kind = "double"    // double
	Timestamp Kind = "timestamp" // date in ms; the exact text in <field>Exact where it has more
	Date      Kind = "date"      // date, at midnight UTC
	Time      Kind = "time"      // string
	Interval  Kind = "interval"  // string
	JSON      Kind = "json"      // string
	Bytes     Kind = "bytes"     // binary
	Bits      Kind = "bits"      // string
	Array     Kind = "array"     // array of the Field's Items
	Any       Kind = "any"       // by the Connect type, or by the JSON type without one
)

var (
	kinds = []Kind{UUID, Text, Bool, Int, Decimal, Double, Timestamp, Date, Time, Interval, JSON,
		Bytes, Bits, Array, Any}
	keyKinds   = []Kind{UUID, Text, Int}
	rangeKinds = []Kind{Int, Decimal, Double}
)

// KeyMember is the member that holds a document's key.
const KeyMember = "_id"

// MetadataMember is the member of a row in which everything is that the consumer adds to it.
const MetadataMember = "cdcMetadata"

// EmbeddedMember is the member of a document that lists the rows that are or were embedded in it.
const EmbeddedMember = "cdcEmbedded"

// ExactSuffix is what a timestamp's member is followed by in the name of the member that holds its
// exact text.
const ExactSuffix = "Exact"

// own are the members that the consumer itself writes.
func own(embedded bool) []string {
	if embedded {
		return []string{KeyMember, MetadataMember}
	}
	return []string{KeyMember, MetadataMember, EmbeddedMember}
}

// exact: a value of the Field may need an exact text beside it.
func (f Field) exact() bool {
	switch f.Kind {
	case Timestamp, Any:
		return true
	case Array:
		return f.Items == Timestamp || f.Items == Any || f.Items == ""
	}
	return false
}

// ranged: a Field of the kind can have a least and a greatest value.
func (k Kind) ranged() bool { return slices.Contains(rangeKinds, k) }
