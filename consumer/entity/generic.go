package entity

import (
	"fmt"
	"strings"
	"time"
)

// The time rules of tables without a Spec in YAML.
const (
	genericSkew = 5 * time.Second
	genericLate = time.Hour
)

// LiveSuffix and RelatedSuffix end the names of a collection's views.
const (
	LiveSuffix    = "_live"
	RelatedSuffix = "_related"
)

// ownPrefix begins the names of the consumer's own collections.
const ownPrefix = "cdc_"

func isViewName(collection string) bool {
	return strings.HasSuffix(collection, LiveSuffix) || strings.HasSuffix(collection, RelatedSuffix)
}

// genericSpec returns the Spec of a table without a YAML. The collection has the table's name,
// after the schema's name unless the schema is public. Names used by MongoDB, the consumer or a
// Spec are avoided, so that no two tables share a collection.
func (s *state) genericSpec(schema, table string) *Spec {
	part := func(name string) string {
		name, _ = EscapeName(strings.ReplaceAll(name, "$", "\uff04"))
		return name
	}
	collection := part(table)
	if schema != "public" || s.collections[collection] || strings.HasPrefix(collection, ownPrefix) {
		collection = part(schema) + "." + collection
	}
	if strings.HasPrefix(collection, "system.") {
		collection = "_" + collection
	}
	if isViewName(strings.TrimRight(collection, "_")) {
		collection += "_"
	}
	for s.collections[collection] {
		collection += "_"
	}
	name := collection
	for s.byEntity[name] != nil {
		name = schema + "." + name
	}
	return &Spec{Entity: name, Table: schema + "." + table, Collection: collection,
		Skew: genericSkew, Late: genericLate}
}

// CollectionMaxBytes bounds the name of a collection: MongoDB takes 255 bytes for the database of
// at most 63, a dot, and the collection with the suffix of a view.
const CollectionMaxBytes = 255 - 64 - len(RelatedSuffix)

// CollectionFault says why MongoDB cannot have the Spec's collection, "" if MongoDB can. The names
// of a table in an event may be anything.
func (s *Spec) CollectionFault() string {
	if strings.IndexByte(s.Table, 0) >= 0 {
		return "the table has a NUL in its name"
	}
	if n := len(s.Collection); n > CollectionMaxBytes {
		return fmt.Sprintf("the name of the collection has %d bytes, at most %d", n,
			CollectionMaxBytes)
	}
	return ""
}

// EscapeName makes a name that MongoDB takes; false where a part of the name is lost.
func EscapeName(name string) (string, bool) {
	whole := true
	if strings.IndexByte(name, 0) >= 0 {
		name, whole = strings.ReplaceAll(name, "\x00", ""), false
	}
	if strings.IndexByte(name, '.') >= 0 {
		name = strings.ReplaceAll(name, ".", "\uff0e")
	}
	if strings.HasPrefix(name, "$") {
		name = "\uff04" + name[1:]
	}
	return name, whole
}
