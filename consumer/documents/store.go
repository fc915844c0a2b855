// Package documents is the home of rows: places, guarded writes, and two stores, MongoDB and
// memory. The package knows no events; package apply decides the writes. Start reading at Store,
// then statement.go.
package documents

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/entity"
)

// Store is the target of rows: MongoDB, or memory. Both pass one suite of tests. An error of a
// Store has a fate, as package fate says.
type Store interface {
	// Apply writes each row newer than the stored row, and returns one outcome for each write. The
	// outcomes are valid until the next Apply. The places of one call are distinct.
	Apply(ctx context.Context, writes []Write) []Outcome
	// Find returns the existing documents, by _id: with _id and the members only, or whole if the
	// call names no members.
	Find(ctx context.Context, collection string, ids []string,
		members ...string) (map[string]bson.Raw, error)
	// Matching returns the documents of a collection, ended ones included, whose members equal the
	// elements; at most the number wanted.
	Matching(ctx context.Context, collection string, elements []byte, most int) ([]bson.Raw, error)
	// Holders returns the documents with one of the items in the field, now or before, with _id and
	// the items found.
	Holders(ctx context.Context, collection, field string, items []string) ([]bson.Raw, error)
	// Keep puts a document into KeptCollection, unless a document of the same _id is there.
	Keep(ctx context.Context, document bson.Raw) error
	// Fill sets the elements, which begin with member, if the row at the place lacks member, has
	// not ended and is newer than position.
	Fill(ctx context.Context, at Place, position, member string, elements []byte) error
	// All visits every document of a collection.
	All(ctx context.Context, collection string, visit func(bson.Raw) error) error
	// Collections returns the names of the collections with documents, sorted.
	Collections(ctx context.Context) ([]string, error)
}

// KeptCollection holds the last state of rows whose key changed, until the TTL of tombstones.
const KeptCollection = "cdc_kept"

// Outcome is the end of a write: applied, or Stale, or Err, whose fate package fate decides. New is
// true if an UPDATE, applied, made the document.
type Outcome struct {
	Stale bool
	New   bool
	Err   error
}

// Place is the home of a row: the document ID, or the member Field.Item of the document.
type Place struct{ Collection, ID, Field, Item string }

// Embedded returns true for a row inside another row's document.
func (p Place) Embedded() bool { return p.Field != "" }

// Write is the state of a row at a place.
type Write struct {
	Place
	Spec     *entity.Spec // of the row's table
	Elements []byte       // the members to set: BSON elements end to end
	Absent   []string     // the members to remove
	Deleted  bool         // true if the row ended: a tombstone is written
	// Fresh is true if the row must be new at its place: a row that an INSERT or UPDATE left alive
	// there makes the write stale.
	Fresh bool
	About
}

// About is a write's part of a row's cdcMetadata.
type About struct {
	Position                         string
	Operation                        string    // INSERT, DELETE, SNAPSHOT, ...: OperationInsert
	TxID                             uint32    // of PostgreSQL, 0 where not known
	SourceAt, ProcessedAt, DeletedAt time.Time // DeletedAt zero: ProcessedAt
	Topic                            string
	Incarnation                      int32 // as in Metadata
	Partition                        int32
	Offset                           int64
	Orphan                           []string // columns referring to a row that did not come
	Unknown                          []string // members left out by an event, and never stored
	Shared                           string   // as in Metadata
}
