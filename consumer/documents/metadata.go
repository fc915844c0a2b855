package documents

import (
	"bytes"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/entity"
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
	Incarnation     int32  // of the topic: 0 for the first that was read
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
	incarnation, _ := own.Lookup("kafkaIncarnation").AsInt64OK()
	m.Incarnation = int32(incarnation)
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

// HasTypeOf returns true if the stored value has the type of the first of the elements; of arrays,
// the first items are compared.
func HasTypeOf(stored bson.RawValue, elements []byte) bool {
	element, _, ok := bsoncore.ReadElement(elements)
	if !ok || element[0] != byte(stored.Type) {
		return false
	}
	if stored.Type != bson.TypeArray {
		return true
	}
	item, err := bson.Raw(stored.Array()).IndexErr(0)
	other, otherErr := element.Value().Array().IndexErr(0)
	return err != nil || otherErr != nil || item.Value().Type == bson.Type(other.Type)
}

// ElementsOf returns a member's value and the exact text beside the value; nil where there is none.
func ElementsOf(row bson.Raw, member string) []byte {
	var elements []byte
	for _, name := range []string{member, member + entity.ExactSuffix} {
		value, err := row.LookupErr(name)
		if err != nil {
			break
		}
		elements = bsoncore.AppendValueElement(elements, name,
			bsoncore.Value{Type: bsoncore.Type(value.Type), Data: value.Value})
	}
	return elements
}

// SameMembers returns true if both have the same members in the same order.
func SameMembers(a, b []byte) bool {
	for len(a) > 0 && len(b) > 0 {
		one, restA, okA := bsoncore.ReadElement(a)
		other, restB, okB := bsoncore.ReadElement(b)
		if !okA || !okB || !bytes.Equal(one.KeyBytes(), other.KeyBytes()) {
			return false
		}
		a, b = restA, restB
	}
	return len(a) == len(b)
}

// TruncateID returns the _id, in KeptCollection, of the last truncate of the spec's table.
func TruncateID(spec *entity.Spec) string {
	return "truncate/" + spec.Collection + "/" + spec.Entity
}

// VisitLiveRows visits the places of the spec's rows in the document, except for ended rows.
func VisitLiveRows(document bson.Raw, spec *entity.Spec, visit func(Place)) error {
	m := MetadataOf(document)
	if spec.Embed == nil {
		if !m.Deleted && !m.Shell {
			visit(Place{Collection: spec.Collection, ID: m.ID})
		}
		return nil
	}
	rows, is := document.Lookup(spec.Embed.Field).DocumentOK()
	if !is {
		return nil
	}
	elements, err := rows.Elements()
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", spec.Embed.Field, spec.Collection, err)
	}
	for _, e := range elements {
		if row, is := e.Value().DocumentOK(); is && !MetadataOf(row).Deleted {
			visit(Place{Collection: spec.Collection, ID: m.ID, Field: spec.Embed.Field,
				Item: e.Key()})
		}
	}
	return nil
}
