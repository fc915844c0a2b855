package documents

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// MetadataMember holds the consumer's own data about a row.
const MetadataMember = "cdcMetadata"

// Metadata is the deciding part of a row's cdcMetadata.
type Metadata struct {
	ID              string
	Position        string
	Deleted, Shell  bool
	SourceTimestamp int64 // of the commit, milliseconds since 1970
	Operation       string
	TxID            uint32 // of the transaction; 0 where not known
	Topic           string // "" in an embedded row of an older consumer
	Partition       int32
	Offset          int64
	// Shared is the position from which on the events of another row with the same key are refused
	// or count for the other row; "" where the key has one row.
	Shared string
}

// Ended returns the position of the row's end, "" for a living row.
func (m *Metadata) Ended() string {
	if m.Deleted {
		return m.Position
	}
	return ""
}

// MetadataOf reads the deciding part of a row; missing members are zero.
func MetadataOf(row bson.Raw) Metadata {
	var m Metadata
	m.ID, _ = row.Lookup("_id").StringValueOK()
	own, is := row.Lookup(MetadataMember).DocumentOK()
	if !is {
		return m
	}
	m.Position, _ = own.Lookup("position").StringValueOK()
	m.Deleted, _ = own.Lookup("deleted").BooleanOK()
	m.Shell, _ = own.Lookup("shell").BooleanOK()
	m.SourceTimestamp, _ = own.Lookup("sourceTimestamp").Int64OK()
	m.Operation, _ = own.Lookup("operation").StringValueOK()
	tx, _ := own.Lookup("txId").AsInt64OK()
	m.TxID = uint32(tx)
	m.Topic, _ = own.Lookup("kafkaTopic").StringValueOK()
	partition, _ := own.Lookup("kafkaPartition").AsInt64OK()
	m.Partition = int32(partition)
	m.Offset, _ = own.Lookup("kafkaOffset").AsInt64OK()
	m.Shared, _ = own.Lookup("shared").StringValueOK()
	return m
}

// HasMembers returns true if the row's members equal the elements.
func HasMembers(row bson.Raw, elements []byte) bool {
	all, err := AsDocument(elements).Elements()
	return err == nil && !slices.ContainsFunc(all, func(e bson.RawElement) bool {
		return !row.Lookup(e.Key()).Equal(e.Value())
	})
}

// CountMembers returns the number of the elements.
func CountMembers(elements []byte) (n int) {
	for ; len(elements) > 0; n++ {
		_, rest, ok := bsoncore.ReadElement(elements)
		if !ok {
			break
		}
		elements = rest
	}
	return n
}
