// Package debezium is the Debezium PostgreSQL envelope in JSON: it decodes a Kafka record into an
// Event and encodes an Event as Debezium would have written it. It knows nothing of entities,
// documents or Kafka clients. Start reading at Event, then Decode.
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

// HeaderCommitLSN is the record header in which the lab's own connector sends the commit LSN of the
// event's transaction (for a snapshot row: the slot's consistent point), as a decimal number.
const HeaderCommitLSN = "cdc.commit_lsn"

// Row holds column values by column name, as JSON has them: nil, bool, json.Number, string,
// []any, map[string]any. Numbers are never floats, so a bigint keeps every digit.
type Row map[string]any

// Event is one decoded record.
type Event struct {
	// Key holds the primary-key columns; nil where the record has no key.
	Key Row
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
