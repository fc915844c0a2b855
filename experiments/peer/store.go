package peer

import (
	"context"
	"fmt"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/hop/pg"
)

// readRows reads the rows of the history by key.
func readRows(ctx context.Context, dsn string) (map[int64]rowTexts, error) {
	conn, err := pg.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("read the history's rows: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT id, version::text, name, note FROM public."+historyTable)
	if err != nil {
		return nil, fmt.Errorf("read the history's rows: %w", err)
	}
	defer rows.Close()
	all := map[int64]rowTexts{}
	for rows.Next() {
		var id int64
		var version string
		var name, note *string
		if err := rows.Scan(&id, &version, &name, &note); err != nil {
			return nil, fmt.Errorf("read the history's rows: %w", err)
		}
		row := rowTexts{"version": version}
		for column, text := range map[string]*string{"name": name, "note": note} {
			if text != nil {
				row[column] = *text
			}
		}
		all[id] = row
	}
	return all, rows.Err()
}

// store reads the documents of a sink, each by the sink's layout: the consumer's _id is the key as
// a text, and a deleted document is marked; the peer's _id is a document of the key's columns.
type store struct {
	sink       string
	collection *mongo.Collection
}

func newStore(sink string, collection *mongo.Collection) *store {
	return &store{sink, collection}
}

func (s *store) id(key int64) any {
	if s.sink == OwnSink {
		return strconv.FormatInt(key, 10)
	}
	return bson.D{{Key: "id", Value: key}}
}

// row reads a row's document.
func (s *store) row(document bson.M) (key int64, row rowTexts, err error) {
	text := fmt.Sprint(document["_id"])
	if inner, ok := document["_id"].(bson.M); ok {
		text = fmt.Sprint(inner["id"])
	}
	if key, err = strconv.ParseInt(text, 10, 64); err != nil {
		return 0, nil, fmt.Errorf("read %s: a document with the _id %v",
			s.collection.Name(), document["_id"])
	}
	row = rowTexts{}
	for member, value := range document {
		switch {
		case value == nil, member == "_id", member == "cdcMetadata":
		case member == "id" && fmt.Sprint(value) == text:
		default:
			row[member] = fmt.Sprint(value)
		}
	}
	return key, row, nil
}

// all reads every document that a reader takes for a row.
func (s *store) all(ctx context.Context) (map[int64]rowTexts, error) {
	return s.find(ctx, bson.D{})
}

// some reads the documents of these keys.
func (s *store) some(ctx context.Context, keys []int64) (map[int64]rowTexts, error) {
	ids := bson.A{}
	for _, key := range keys {
		ids = append(ids, s.id(key))
	}
	return s.find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
}

func (s *store) find(ctx context.Context, filter bson.D) (map[int64]rowTexts, error) {
	if s.sink == OwnSink {
		alive := bson.D{{Key: "$ne", Value: true}}
		filter = append(filter, bson.E{Key: "cdcMetadata.deleted", Value: alive})
	}
	cursor, err := s.collection.Find(ctx, filter)
	if err != nil {
		return nil, fmt.Errorf("read the documents of %s: %w", s.sink, err)
	}
	var documents []bson.M
	if err := cursor.All(ctx, &documents); err != nil {
		return nil, fmt.Errorf("read the documents of %s: %w", s.sink, err)
	}
	rows := map[int64]rowTexts{}
	for _, document := range documents {
		key, row, err := s.row(document)
		if err != nil {
			return nil, err
		}
		rows[key] = row
	}
	return rows, nil
}
