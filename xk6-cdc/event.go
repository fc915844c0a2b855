package cdc

import (
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Members of the consumer's documents that the tracker reads.
const (
	versionMember  = "labVersion"
	metadataMember = "cdcMetadata"
	deletedMember  = metadataMember + ".deleted"
)

// sighting is what a document or an event says of one row: the version it shows (0: none) and
// whether it is a tombstone.
type sighting struct {
	key     string
	version int64
	deleted bool
}

// inDocument lists what a whole document shows: its own row and those embedded in it.
func inDocument(document bson.Raw) ([]sighting, error) {
	id, ok := document.Lookup("_id").StringValueOK()
	if !ok {
		return nil, nil // not one of the consumer's
	}
	var seen []sighting
	for _, field := range embeddings {
		var err error
		if seen, err = inMap(seen, document.Lookup(field)); err != nil {
			return nil, fmt.Errorf("read %s: %w", field, err)
		}
	}
	return append(seen, inMembers(id, document)), nil
}

// inMap lists what a map of embedded rows shows.
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

func inMembers(key string, document bson.Raw) sighting {
	version, _ := document.Lookup(versionMember).AsInt64OK()
	deleted, _ := document.Lookup(metadataMember, "deleted").BooleanOK()
	return sighting{key, version, deleted}
}

// inEvent lists what a change event shows. An insert or a replacement has the whole document; an
// update only the members that changed, whose names are paths. An embedded row written into a
// document that had none shows as the whole map ("items"), a new one as "items.<key>", and a change
// of one as "items.<key>.<member>" or, where it was set whole, again as "items.<key>".
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
		case !slices.Contains(embeddings, field):
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

// inMember reads the value at <key> or <key>.<member> of a map of embedded rows: a whole one, or a
// member of it, which joins the other members that changed.
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
	case versionMember:
		s.version, _ = value.AsInt64OK()
	case deletedMember:
		s.deleted, _ = value.BooleanOK()
	case metadataMember:
		if own, ok := value.DocumentOK(); ok {
			s.deleted, _ = own.Lookup("deleted").BooleanOK()
		}
	}
}
