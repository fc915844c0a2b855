// Package debezium is the Debezium PostgreSQL envelope in JSON: it decodes a Kafka record into an
// Event and encodes an Event as Debezium would have written it. It knows nothing of entities,
// documents or Kafka clients. Start reading at Event, then Decoder.
//
// Source of the format: Debezium 3.6 PostgresSourceInfoStructMaker, Envelope and
// TableSchemaBuilder, and Kafka's JsonConverter.
package debezium

// Op is the operation of an Event, as in the envelope's "op".
type Op string

// The operations of Debezium's PostgreSQL connector.
const (
	Create   Op = "c"
	Update   Op = "u"
	Delete   Op = "d"
	Read     Op = "r" // a snapshot's row
	Truncate Op = "t"
	Message  Op = "m" // pg_logical_emit_message
)

// Unavailable is Debezium's default placeholder for an unchanged TOASTed value.
const Unavailable = "__debezium_unavailable_value"

// The headers of a change of primary key: JSON of the other key's columns. Source: Debezium's
// RelationalChangeRecordEmitter.java.
const (
	HeaderOldKey = "__debezium.oldkey"
	HeaderNewKey = "__debezium.newkey"
)

// HeaderCommitLSN is the record header in which the lab's own connector sends the commit LSN of the
// event's transaction (for a snapshot row: the slot's consistent point), as a decimal number.
const HeaderCommitLSN = "cdc.commit_lsn"

// Row is a row's columns in the record's order; nil where the record has null.
type Row []Cell

// Cell is one column of a Row.
type Cell struct {
	Name  string
	Value Value
	// Type is the column's Connect schema; nil where the record carries none (schemas off). Cells of
	// one column share it until the schema changes.
	Type *Type
}

// Get returns the cell of a column, nil if there is none.
func (r Row) Get(column string) *Cell {
	for i := range r {
		if r[i].Name == column {
			return &r[i]
		}
	}
	return nil
}

// Event is one decoded record. It is valid until the Decoder's next Decode: all but texts and Types
// is memory of the Decoder's or of the record.
type Event struct {
	// Key holds the primary-key columns; nil where the record has no key.
	Key Row
	// OldKey and NewKey are the headers __debezium.oldkey (on the create of a row whose key changed)
	// and __debezium.newkey (on the delete that goes with it).
	OldKey, NewKey Row
	// Tombstone: the record's value was null. Only Key is set.
	Tombstone bool
	Op        Op
	// Before and After are nil where the envelope has null.
	Before, After Row
	Source        Source
	// TsUs is when the connector processed the change: microseconds since 1970, by its clock.
	TsUs int64
	// CommitLSN is HeaderCommitLSN, or 0.
	CommitLSN uint64
	// Schema identifies the schema of After and Before: equal pointers are the same columns with the
	// same Types, in the same order. nil without schemas.
	Schema *Schema
}

// Source is the envelope's source block. Absent numbers are 0, absent texts "".
type Source struct {
	Version, Connector, Name string
	// TsUs is the commit time in PostgreSQL (for a snapshot row, the time of the snapshot),
	// microseconds since 1970.
	TsUs int64
	// Snapshot is "", "true", "first", "first_in_data_collection", "last_in_data_collection",
	// "last", "false" or "incremental"; booleans of older connectors are read as texts.
	Snapshot string
	DB       string
	// Sequence is the pair [end LSN of the last committed transaction, LSN of the change]; absent
	// members are 0.
	Sequence      [2]uint64
	Schema, Table string
	TxID          uint32
	LSN           uint64
}

// Header is one record header.
type Header struct {
	Key   string
	Value []byte
}
