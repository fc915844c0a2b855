package consumer

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func (r *replay) print(ctx context.Context, out io.Writer) error {
	collections, err := r.consumer.store.collections(ctx)
	if err != nil {
		return fmt.Errorf("list the collections: %w", err)
	}
	for _, collection := range collections {
		if collection == keptCollection {
			continue
		}
		documents := map[string]bson.D{}
		err := r.consumer.store.all(ctx, collection, func(raw bson.Raw) error {
			document, show, err := readable(raw, r.options.Tombstones)
			if show {
				documents[metadataOf(raw).id] = document
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range sortedKeys(documents) {
			line, err := bson.MarshalExtJSON(bson.D{{Key: "collection", Value: collection},
				{Key: "document", Value: documents[id]}}, true, false)
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

// readable is the document as readers see it, its members by name: false where they do not.
func readable(raw bson.Raw, everything bool) (bson.D, bool, error) {
	m := metadataOf(raw)
	if !everything && (m.deleted || m.shell) {
		return nil, false, nil
	}
	var document bson.D
	if err := bson.Unmarshal(raw, &document); err != nil {
		return nil, false, fmt.Errorf("read %s: %w", m.id, err)
	}
	fields := map[string]bool{}
	if embedded, is := raw.Lookup(embeddedMember).DocumentOK(); is {
		elements, _ := embedded.Elements()
		for _, e := range elements {
			fields[e.Key()] = true
		}
	}
	var shown bson.D
	for _, e := range document {
		rows, is := e.Value.(bson.D)
		switch {
		case e.Key == embeddedMember:
			continue // only an index, in the order of arrival
		case is && fields[e.Key]:
			e.Value = livingRows(rows, everything)
		case is && e.Key == metadataMember:
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
				if about, is := own.Value.(bson.D); is && own.Key == metadataMember {
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
		return cmp.Or(compareBool(a.Key != "_id", b.Key != "_id"), strings.Compare(a.Key, b.Key))
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
