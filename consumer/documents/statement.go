package documents

import (
	"cmp"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// The stored position guards each write:
//
//	flat  {_id, cdcMetadata.position: {$lt: position}}                        upsert
//	item  {_id, items.<item>.cdcMetadata.position: {$not: {$gte: position}}}  upsert, with shell
//
// A guard without a match makes the upsert insert, and the insert fails on _id: mongo.go triages
// the error. The statements are appended as bytes, because there are some ten thousand a second.

// appendStatement appends a member of an update command's updates.
func appendStatement(dst []byte, w *Write, upsert bool) []byte {
	start, dst := bsoncore.AppendDocumentStart(dst)
	if w.Embedded() {
		dst = appendItem(dst, w)
	} else {
		dst = appendFlat(dst, w)
	}
	if upsert {
		dst = bsoncore.AppendBooleanElement(dst, "upsert", true)
	}
	return endDocument(dst, start)
}

// endDocument ends the document begun at start.
func endDocument(dst []byte, start int32) []byte {
	dst = append(dst, 0)
	return bsoncore.UpdateLength(dst, start, int32(len(dst))-start)
}

func startDocument(dst []byte, name string) (int32, []byte) {
	return bsoncore.AppendDocumentElementStart(dst, name)
}

func appendFlat(dst []byte, w *Write) []byte {
	q, dst := startDocument(dst, "q")
	dst = bsoncore.AppendStringElement(dst, "_id", w.ID)
	guard, dst := startDocument(dst, "cdcMetadata.position")
	dst = bsoncore.AppendStringElement(dst, "$lt", w.Position)
	dst = endDocument(dst, guard)
	if w.Fresh {
		dst = append(dst, notAlive...)
	}
	dst = endDocument(dst, q)
	u, dst := startDocument(dst, "u")
	set, dst := startDocument(dst, "$set")
	dst = append(dst, w.Elements...)
	dst = appendMetadata(dst, MetadataMember, w)
	dst = endDocument(dst, set)
	dst = appendUnset(dst, "", w.Absent)
	return endDocument(dst, u)
}

// notAlive is the condition of a Fresh write.
var notAlive = func() []byte {
	row, dst := startDocument(nil, "cdcMetadata.operation")
	operations, dst := bsoncore.AppendArrayElementStart(dst, "$nin")
	dst = bsoncore.AppendStringElement(dst, "0", OperationInsert)
	dst = bsoncore.AppendStringElement(dst, "1", OperationUpdate)
	return endDocument(endDocument(dst, operations), row)
}()

// The operations of cdcMetadata: INSERT and UPDATE leave a streamed row alive, TOMBSTONE is of a
// row ended by a null record without a delete.
const (
	OperationInsert    = "INSERT"
	OperationUpdate    = "UPDATE"
	OperationTruncate  = "TRUNCATE"
	OperationTombstone = "TOMBSTONE"
)

func appendItem(dst []byte, w *Write) []byte {
	path := w.Field + "." + w.Item + "."
	q, dst := startDocument(dst, "q")
	dst = bsoncore.AppendStringElement(dst, "_id", w.ID)
	guard, dst := startDocument(dst, path+"cdcMetadata.position")
	not, dst := startDocument(dst, "$not")
	dst = bsoncore.AppendStringElement(dst, "$gte", w.Position)
	dst = endDocument(endDocument(endDocument(dst, not), guard), q)
	u, dst := startDocument(dst, "u")
	set, dst := startDocument(dst, "$set")
	dst = appendPrefixed(dst, path, w.Elements)
	dst = appendMetadata(dst, path+MetadataMember, w)
	dst = endDocument(dst, set)
	add, dst := startDocument(dst, "$addToSet")
	dst = bsoncore.AppendStringElement(dst, EmbeddedMember+"."+w.Field, w.Item)
	dst = endDocument(dst, add)
	dst = appendUnset(dst, path, w.Absent)
	shell, dst := startDocument(dst, "$setOnInsert")
	about, dst := startDocument(dst, MetadataMember)
	dst = bsoncore.AppendStringElement(dst, "position", "")
	dst = bsoncore.AppendBooleanElement(dst, "shell", true)
	return endDocument(endDocument(endDocument(dst, about), shell), u)
}

// EmbeddedMember lists, by field, the keys of all rows embedded in the document now or before, so
// that an index finds a row's document by the key.
const EmbeddedMember = "cdcEmbedded"

// appendMetadata replaces a row's cdcMetadata as a whole, so that the marks of a shell or of a
// tombstone go with the old value.
func appendMetadata(dst []byte, name string, w *Write) []byte {
	about, dst := startDocument(dst, name)
	dst = bsoncore.AppendInt64Element(dst, "sourceTimestamp", w.SourceAt.UnixMilli())
	dst = bsoncore.AppendStringElement(dst, "operation", w.Operation)
	if w.TxID != 0 {
		dst = bsoncore.AppendInt64Element(dst, "txId", int64(w.TxID))
	}
	dst = bsoncore.AppendStringElement(dst, "kafkaTopic", w.Topic)
	if w.Incarnation != 0 {
		dst = bsoncore.AppendInt32Element(dst, "kafkaIncarnation", w.Incarnation)
	}
	dst = bsoncore.AppendInt32Element(dst, "kafkaPartition", w.Partition)
	dst = bsoncore.AppendInt64Element(dst, "kafkaOffset", w.Offset)
	dst = bsoncore.AppendDateTimeElement(dst, "processedAt", w.ProcessedAt.UnixMilli())
	dst = bsoncore.AppendStringElement(dst, "position", w.Position)
	if w.Deleted {
		dst = bsoncore.AppendBooleanElement(dst, "deleted", true)
		dst = bsoncore.AppendDateTimeElement(dst, "deletedAt",
			cmp.Or(w.DeletedAt, w.ProcessedAt).UnixMilli())
	}
	dst = appendTexts(dst, "orphan", w.Orphan)
	dst = appendTexts(dst, "unknown", w.Unknown)
	if w.Shared != "" {
		dst = bsoncore.AppendStringElement(dst, "shared", w.Shared)
	}
	return endDocument(dst, about)
}

// appendTexts appends an array of texts, unless empty.
func appendTexts(dst []byte, name string, texts []string) []byte {
	if len(texts) == 0 {
		return dst
	}
	array, dst := bsoncore.AppendArrayElementStart(dst, name)
	for i, text := range texts {
		dst = bsoncore.AppendStringElement(dst, strconv.Itoa(i), text)
	}
	return endDocument(dst, array)
}

// appendPrefixed appends elements with the path before their names.
func appendPrefixed(dst []byte, path string, elements []byte) []byte {
	for len(elements) > 0 {
		element, rest, ok := bsoncore.ReadElement(elements)
		if !ok {
			break
		}
		dst = append(append(dst, element[0]), path...)
		dst, elements = append(dst, element[1:]...), rest
	}
	return dst
}

func appendUnset(dst []byte, path string, members []string) []byte {
	if len(members) == 0 {
		return dst
	}
	unset, dst := startDocument(dst, "$unset")
	for _, name := range members {
		dst = bsoncore.AppendStringElement(dst, path+name, "")
	}
	return endDocument(dst, unset)
}
