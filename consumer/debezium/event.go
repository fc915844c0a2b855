// Package debezium decodes a Kafka record, Debezium's PostgreSQL envelope in JSON, into an Event,
// and encodes an Event as Debezium would have done. The package knows nothing of entities,
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

// HeaderCommitLSN is the record header for the commit LSN of the event's transaction (for a
// snapshot row: the slot's consistent point), a decimal number. Only the lab's own connector sends
// the header.
const HeaderCommitLSN = "cdc.commit_lsn"

// Connector is the source.connector of Debezium's PostgreSQL connector.
const Connector = "postgresql"

// The marks of a snapshot's rows in Source.Snapshot. Source: Debezium's SnapshotRecord.java.
const (
	SnapshotFirst        = "first"
	SnapshotFirstInTable = "first_in_data_collection"
	SnapshotTrue         = "true"
	SnapshotLastInTable  = "last_in_data_collection"
	SnapshotLast         = "last"
	SnapshotIncremental  = "incremental"
)

// Row is a row's columns in the record's order; nil where the record has null.
type Row []Cell

// Cell is a column of a Row.
type Cell struct {
	Name  string
	Value Value
	// Type is the column's Connect schema; nil where the record carries none (schemas off). The
	// Cells of a column share the Type until the schema changes.
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

// Event is a decoded record. An Event is valid until the Decoder's next Decode, because all but
// texts and Types is memory of the Decoder's or of the record.
type Event struct {
	// Key holds the primary-key columns; nil where the record has no key.
	Key Row
	// OldKey and NewKey are the headers of a change of key: __debezium.oldkey on the new row's
	// create, __debezium.newkey on the old row's delete.
	OldKey, NewKey Row
	// Comes is true if OldKey's header is there, Leaves if NewKey's is. OtherKeyUnread says why the
	// header could not be read, for example because another converter wrote it; nil where it was.
	Comes, Leaves  bool
	OtherKeyUnread *FormatError
	// Tombstone is true if the record's value was null. Then only Key is set.
	Tombstone bool
	Op        Op
	// Before and After are nil where the envelope has null.
	Before, After Row
	Source        Source
	// TsUs is when the connector processed the change: microseconds since 1970, by the connector's
	// clock.
	TsUs int64
	// CommitLSN is HeaderCommitLSN, or 0.
	CommitLSN uint64
	// Schema identifies the schema of After and Before: equal pointers are the same columns with
	// the same Types, in the same order. nil without schemas.
	Schema *Schema
}

// Source is the envelope's source block. Absent numbers are 0, absent texts "".
type Source struct {
	Version, Connector, Name string
	// TsUs is the commit time in PostgreSQL (for a snapshot row, the time of the snapshot),
	// microseconds since 1970.
	TsUs int64
	// Snapshot is "", "false" or a mark such as SnapshotFirst; booleans of older connectors are
	// read as texts.
	Snapshot string
	DB       string
	// Sequence is the pair [end LSN of the last committed transaction, LSN of the change]; absent
	// members are 0.
	Sequence      [2]uint64
	Schema, Table string
	TxID          uint32
	LSN           uint64
}

// Header is a record header.
type Header struct {
	Key   string
	Value []byte
}
