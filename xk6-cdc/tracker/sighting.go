package tracker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// Members of the consumer's documents read by the tracker.
const (
	VersionMember  = "labVersion"
	MetadataMember = "cdcMetadata"
	deletedMember  = MetadataMember + ".deleted"
)

// sighting is the state of one row in a document or an event: the row's version (0: none); deleted
// is true if the row is a tombstone.
type sighting struct {
	key     string
	version int64
	deleted bool
}

// inDocument lists the rows in a whole document: the document's own row and the embedded rows.
func inDocument(document bson.Raw) ([]sighting, error) {
	id, ok := document.Lookup("_id").StringValueOK()
	if !ok {
		return nil, nil // not the consumer's document
	}
	var seen []sighting
	for _, field := range tables.Embeddings {
		var err error
		if seen, err = inMap(seen, document.Lookup(field)); err != nil {
			return nil, fmt.Errorf("read %s: %w", field, err)
		}
	}
	return append(seen, inMembers(id, document)), nil
}

// inMap lists the rows in a map of embedded rows.
func inMap(seen []sighting, value bson.RawValue) ([]sighting, error) {
	embedded, ok := value.DocumentOK()
	if !ok {
		return seen, nil
	}
	elements, err := embedded.Elements()
	if err != nil {
		return seen, err
	}
	for _, element := range elements {
		if one, ok := element.Value().DocumentOK(); ok {
			seen = append(seen, inMembers(element.Key(), one))
		}
	}
	return seen, nil
}

// Has asks MongoDB once for the collection's document of a key, and returns true if the document
// has the version or a later one.
func Has(
	ctx context.Context, collection *mongo.Collection, key string, version int64,
) (bool, error) {
	var document bson.Raw
	members := bson.D{{Key: VersionMember, Value: 1}, {Key: deletedMember, Value: 1}}
	err := collection.FindOne(ctx, bson.D{{Key: "_id", Value: key}},
		options.FindOne().SetProjection(members)).Decode(&document)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s in %s: %w", key, collection.Name(), err)
	}
	seen := inMembers(key, document)
	return !seen.deleted && seen.version >= version, nil
}

func inMembers(key string, document bson.Raw) sighting {
	version, _ := document.Lookup(VersionMember).AsInt64OK()
	deleted, _ := document.Lookup(MetadataMember, "deleted").BooleanOK()
	return sighting{key, version, deleted}
}

// inEvent lists the rows in a change event. An insert or a replacement has the whole document; an
// update has only the changed members, with paths as names. An embedded row comes as the whole map
// ("items") if the document had no such rows, else as "items.<key>". A change of an embedded row
// comes as "items.<key>.<member>" or, where the row was set whole, again as "items.<key>".
// https://www.mongodb.com/docs/manual/reference/change-events/update/
func inEvent(event bson.Raw) ([]sighting, error) {
	if document, ok := event.Lookup("fullDocument").DocumentOK(); ok {
		return inDocument(document)
	}
	id, isRow := event.Lookup("documentKey", "_id").StringValueOK()
	updated, isUpdate := event.Lookup("updateDescription", "updatedFields").DocumentOK()
	if !isRow || !isUpdate {
		return nil, nil
	}
	elements, err := updated.Elements()
	if err != nil {
		return nil, fmt.Errorf("read updatedFields: %w", err)
	}
	own := sighting{key: id}
	var embedded []sighting
	for _, element := range elements {
		path, value := element.Key(), element.Value()
		field, rest, isInside := strings.Cut(path, ".")
		switch {
		case !slices.Contains(tables.Embeddings, field):
			own.read(path, value)
		case isInside:
			embedded = inMember(embedded, rest, value)
		default:
			if embedded, err = inMap(embedded, value); err != nil {
				return nil, fmt.Errorf("read updatedFields.%s: %w", path, err)
			}
		}
	}
	return append(embedded, own), nil
}

// inMember reads the value at <key> or <key>.<member> of a map of embedded rows: a whole row, or a
// member to join to the row's other changed members.
func inMember(seen []sighting, path string, value bson.RawValue) []sighting {
	key, member, isMember := strings.Cut(path, ".")
	if !isMember {
		if one, ok := value.DocumentOK(); ok {
			seen = append(seen, inMembers(key, one))
		}
		return seen
	}
	at := slices.IndexFunc(seen, func(s sighting) bool { return s.key == key })
	if at < 0 {
		at, seen = len(seen), append(seen, sighting{key: key})
	}
	seen[at].read(member, value)
	return seen
}

func (s *sighting) read(member string, value bson.RawValue) {
	switch member {
	case VersionMember:
		s.version, _ = value.AsInt64OK()
	case deletedMember:
		s.deleted, _ = value.BooleanOK()
	case MetadataMember:
		if own, ok := value.DocumentOK(); ok {
			s.deleted, _ = own.Lookup("deleted").BooleanOK()
		}
	}
}
