package consumer

import (
	"cmp"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Each write is guarded by the position of what is there:
//
//	flat    {_id, cdcMetadata.position: {$lt: position}}                        upsert
//	item    {_id, items.<item>.cdcMetadata.position: {$not: {$gte: position}}}  upsert, makes the shell
//
// A guard that does not match makes the upsert insert, which fails on _id: mongo.go triages that.
// The statements are appended as bytes: there are some ten thousand a second.

// appendStatement appends one member of an update command's updates.
func appendStatement(dst []byte, w *write, upsert bool) []byte {
	start, dst := bsoncore.AppendDocumentStart(dst)
	if w.embedded() {
		dst = appendItem(dst, w)
	} else {
		dst = appendFlat(dst, w)
	}
	if upsert {
		dst = bsoncore.AppendBooleanElement(dst, "upsert", true)
	}
	return closed(dst, start)
}

// closed ends the document that began at start.
func closed(dst []byte, start int32) []byte {
	dst = append(dst, 0)
	return bsoncore.UpdateLength(dst, start, int32(len(dst))-start)
}

func open(dst []byte, name string) (int32, []byte) {
	return bsoncore.AppendDocumentElementStart(dst, name)
}

func appendFlat(dst []byte, w *write) []byte {
	q, dst := open(dst, "q")
	dst = bsoncore.AppendStringElement(dst, "_id", w.id)
	guard, dst := open(dst, "cdcMetadata.position")
	dst = bsoncore.AppendStringElement(dst, "$lt", w.position)
	dst = closed(closed(dst, guard), q)
	u, dst := open(dst, "u")
	set, dst := open(dst, "$set")
	dst = append(dst, w.elements...)
	dst = appendMetadata(dst, metadataMember, w)
	dst = closed(dst, set)
	dst = appendUnset(dst, "", w.absent)
	return closed(dst, u)
}

func appendItem(dst []byte, w *write) []byte {
	path := w.field + "." + w.item + "."
	q, dst := open(dst, "q")
	dst = bsoncore.AppendStringElement(dst, "_id", w.id)
	guard, dst := open(dst, path+"cdcMetadata.position")
	not, dst := open(dst, "$not")
	dst = bsoncore.AppendStringElement(dst, "$gte", w.position)
	dst = closed(closed(closed(dst, not), guard), q)
	u, dst := open(dst, "u")
	set, dst := open(dst, "$set")
	dst = appendPrefixed(dst, path, w.elements)
	dst = appendMetadata(dst, path+metadataMember, w)
	dst = closed(dst, set)
	add, dst := open(dst, "$addToSet")
	dst = bsoncore.AppendStringElement(dst, embeddedMember+"."+w.field, w.item)
	dst = closed(dst, add)
	dst = appendUnset(dst, path, w.absent)
	shell, dst := open(dst, "$setOnInsert")
	about, dst := open(dst, metadataMember)
	dst = bsoncore.AppendStringElement(dst, "position", "")
	dst = bsoncore.AppendBooleanElement(dst, "shell", true)
	return closed(closed(closed(dst, about), shell), u)
}

// embeddedMember lists, by field, the keys of all rows that are or were embedded in the document: an
// index finds a row's document by it.
const embeddedMember = "cdcEmbedded"

// appendMetadata: a row's cdcMetadata is replaced as a whole, so that the marks of a shell or of a
// tombstone go with it.
func appendMetadata(dst []byte, name string, w *write) []byte {
	about, dst := open(dst, name)
	if !w.embedded() {
		dst = bsoncore.AppendInt64Element(dst, "sourceTimestamp", w.sourceAt.UnixMilli())
	}
	dst = bsoncore.AppendStringElement(dst, "operation", w.operation)
	if !w.embedded() {
		dst = bsoncore.AppendStringElement(dst, "kafkaTopic", w.record.Topic)
		dst = bsoncore.AppendInt32Element(dst, "kafkaPartition", w.record.Partition)
		dst = bsoncore.AppendInt64Element(dst, "kafkaOffset", w.record.Offset)
	}
	dst = bsoncore.AppendDateTimeElement(dst, "processedAt", w.processedAt.UnixMilli())
	dst = bsoncore.AppendStringElement(dst, "position", w.position)
	if w.change.deleted {
		dst = bsoncore.AppendBooleanElement(dst, "deleted", true)
		dst = bsoncore.AppendDateTimeElement(dst, "deletedAt", cmp.Or(w.deletedAt, w.processedAt).UnixMilli())
	}
	if len(w.orphan) > 0 {
		columns, rest := bsoncore.AppendArrayElementStart(dst, "orphan")
		dst = rest
		for i, v := range w.orphan {
			dst = bsoncore.AppendStringElement(dst, strconv.Itoa(i), v.Field)
		}
		dst = closed(dst, columns)
	}
	return closed(dst, about)
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
	unset, dst := open(dst, "$unset")
	for _, name := range members {
		dst = bsoncore.AppendStringElement(dst, path+name, "")
	}
	return closed(dst, unset)
}
