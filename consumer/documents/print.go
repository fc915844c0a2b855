package documents

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Print writes the documents of a store, one {"collection": ..., "document": ...} a line, canonical
// Extended JSON v2, by collection and _id. everything is true if tombstones and shells are shown,
// too.
func Print(ctx context.Context, store Store, everything bool, out io.Writer) error {
	collections, err := store.Collections(ctx)
	if err != nil {
		return fmt.Errorf("list the collections: %w", err)
	}
	for _, collection := range collections {
		if collection == KeptCollection {
			continue
		}
		shown := map[string]bson.D{}
		err := store.All(ctx, collection, func(raw bson.Raw) error {
			document, show, err := asReadersSee(raw, everything)
			if show {
				shown[MetadataOf(raw).ID] = document
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range sortedKeys(shown) {
			line, err := bson.MarshalExtJSON(bson.D{{Key: "collection", Value: collection},
				{Key: "document", Value: shown[id]}}, true, false)
			if err != nil {
				return fmt.Errorf("print %s/%s: %w", collection, id, err)
			}
			if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
				return fmt.Errorf("print the documents: %w", err)
			}
		}
	}
	return nil
}

// asReadersSee returns the document as readers see the document, the members by name; false for a
// document hidden from readers.
func asReadersSee(raw bson.Raw, everything bool) (bson.D, bool, error) {
	m := MetadataOf(raw)
	if !everything && (m.Deleted || m.Shell) {
		return nil, false, nil
	}
	var document bson.D
	if err := bson.Unmarshal(raw, &document); err != nil {
		return nil, false, fmt.Errorf("read %s: %w", m.ID, err)
	}
	fields := map[string]bool{}
	if embedded, is := raw.Lookup(EmbeddedMember).DocumentOK(); is {
		elements, _ := embedded.Elements()
		for _, e := range elements {
			fields[e.Key()] = true
		}
	}
	var shown bson.D
	for _, e := range document {
		rows, is := e.Value.(bson.D)
		switch {
		case e.Key == EmbeddedMember:
			continue // only an index, in the order of arrival
		case is && fields[e.Key]:
			e.Value = livingRows(rows, everything)
		case is && e.Key == MetadataMember:
			sortMembers(rows)
		}
		shown = append(shown, e)
	}
	sortMembers(shown)
	return shown, true, nil
}

func livingRows(rows bson.D, everything bool) bson.D {
	living := bson.D{}
	for _, e := range rows {
		row, is := e.Value.(bson.D)
		if is {
			ended := false
			for _, own := range row {
				if about, is := own.Value.(bson.D); is && own.Key == MetadataMember {
					ended = slices.Contains(about, bson.E{Key: "deleted", Value: true})
					sortMembers(about)
				}
			}
			if ended && !everything {
				continue
			}
			sortMembers(row)
		}
		living = append(living, e)
	}
	sortMembers(living)
	return living
}

// sortMembers puts _id first.
func sortMembers(d bson.D) {
	slices.SortFunc(d, func(a, b bson.E) int {
		switch {
		case a.Key == "_id":
			return -1
		case b.Key == "_id":
			return 1
		}
		return strings.Compare(a.Key, b.Key)
	})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
