package cdc

import (
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Members of the consumer's documents that the tracker reads.
const (
	versionMember = "labVersion"
	deletedMember = "deleted"
	itemsMember   = "items"
)

// sighting is what a document or an event says of one row: the version it shows (0: none) and
// whether it is a tombstone.
type sighting struct {
	key     string
	version int64
	deleted bool
}

// inDocument lists what a whole document shows: its own row and the items embedded in it.
func inDocument(document bson.Raw) ([]sighting, error) {
	id, ok := document.Lookup("_id").StringValueOK()
	if !ok {
		return nil, nil // not one of the consumer's
	}
	seen, err := inItems(nil, document.Lookup(itemsMember))
	return append(seen, inMembers(id, document)), err
}

// inItems lists what a map of embedded rows shows.
func inItems(seen []sighting, items bson.RawValue) ([]sighting, error) {
	if items.Type != bson.TypeEmbeddedDocument {
		return seen, nil
	}
	elements, err := items.Document().Elements()
	if err != nil {
		return seen, fmt.Errorf("read %s: %w", itemsMember, err)
	}
	for _, element := range elements {
		if item, ok := element.Value().DocumentOK(); ok {
			seen = append(seen, inMembers(element.Key(), item))
		}
	}
	return seen, nil
}

func inMembers(key string, document bson.Raw) sighting {
	version, _ := document.Lookup(versionMember).AsInt64OK()
	deleted, _ := document.Lookup(deletedMember).BooleanOK()
	return sighting{key, version, deleted}
}

// inEvent lists what a change event shows. An insert or a replacement has the whole document; an
// update only the members that changed, whose names are paths. An item written into a document that
// had none shows as the whole map "items", a new one as "items.<key>", and a change of one as
// "items.<key>.<member>" or, where nearly all of it changed, again as "items.<key>".
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
	var items []sighting // of single members; those of one item stand together
	for _, element := range elements {
		path, value := element.Key(), element.Value()
		rest, isItem := strings.CutPrefix(path, itemsMember+".")
		switch {
		case path == itemsMember:
			if items, err = inItems(items, value); err != nil {
				return nil, err
			}
		case isItem:
			items = inItemMember(items, rest, value)
		default:
			own.read(path, value)
		}
	}
	return append(items, own), nil
}

// inItemMember reads the value at items.<path>: an item or one member of it.
func inItemMember(items []sighting, path string, value bson.RawValue) []sighting {
	key, member, isMember := strings.Cut(path, ".")
	if !isMember {
		if item, ok := value.DocumentOK(); ok {
			items = append(items, inMembers(key, item))
		}
		return items
	}
	for i := range items {
		if items[i].key == key {
			items[i].read(member, value)
			return items
		}
	}
	items = append(items, sighting{key: key})
	items[len(items)-1].read(member, value)
	return items
}

func (s *sighting) read(member string, value bson.RawValue) {
	switch member {
	case versionMember:
		s.version, _ = value.AsInt64OK()
	case deletedMember:
		s.deleted, _ = value.BooleanOK()
	}
}
