package experiments

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Statuses of a key: its row of PostgreSQL against the document of a sink. Stale is an older version of
// the row, corrupt one that the row never was, resurrected a document without a row.
const (
	PeerOK          = "ok"
	PeerStale       = "stale"
	PeerLost        = "lost"
	PeerResurrected = "resurrected"
	PeerCorrupt     = "corrupt"
)

// PeerStatuses are all of them, in the order of the table.
func PeerStatuses() []string {
	return []string{PeerOK, PeerStale, PeerLost, PeerResurrected, PeerCorrupt}
}

// PeerCase is what became of the keys of one case in one sink.
type PeerCase struct {
	Name string `json:"name"`
	Sink string `json:"sink"`
	// Keys by status.
	Keys map[string]int `json:"keys"`
	// Example is a key that is not ok, "" without one.
	Example string `json:"example,omitempty"`
}

// OK says whether all of its keys are.
func (c *PeerCase) OK() bool { return len(c.Keys) == 1 && c.Keys[PeerOK] > 0 }

// peerRow is a row, or a document without its key and the sink's own members: texts by column. A
// member that is null or missing is not in it.
type peerRow map[string]string

func (r peerRow) version() int64 {
	n, err := strconv.ParseInt(r["version"], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// judge compares a row with its document; nil is none.
func judge(row, document peerRow) (status, why string) {
	switch {
	case row == nil && document == nil:
		return PeerOK, ""
	case row == nil:
		return PeerResurrected, "there is no such row, but a document of version " + document["version"]
	case document == nil:
		return PeerLost, "there is a row of version " + row["version"] + " and no document"
	case document.version() >= 0 && document.version() < row.version():
		return PeerStale, fmt.Sprintf("version %s of %s", document["version"], row["version"])
	}
	columns := slices.Sorted(maps.Keys(row))
	for column := range document {
		if _, is := row[column]; !is {
			columns = append(columns, column)
		}
	}
	for _, column := range columns {
		if got, want := document[column], row[column]; got != want {
			return PeerCorrupt, fmt.Sprintf("%s is %s, in the row %s", column, inShort(got), inShort(want))
		}
	}
	return PeerOK, ""
}

// inShort is a text for an example.
func inShort(text string) string {
	const most = 40
	if n := utf8.RuneCountInString(text); n > most {
		return fmt.Sprintf("%q... (%d characters)", string([]rune(text)[:8]), n)
	}
	return strconv.Quote(text)
}

// judgeCases has every key of the history, and every key found, judged and counted by its case.
func judgeCases(sink string, rows, documents map[int64]peerRow) []PeerCase {
	byName := map[string]*PeerCase{}
	for _, name := range peerCaseNames {
		byName[name] = &PeerCase{Name: name, Sink: sink, Keys: map[string]int{}}
	}
	keys := map[int64]bool{}
	for _, name := range peerCaseNames {
		for _, key := range peerCaseKeys(name) {
			keys[key] = true
			if name == caseKey || name == caseKeyToast {
				keys[key+caseNewOffset] = true
			}
		}
	}
	for _, found := range []map[int64]peerRow{rows, documents} {
		for key := range found {
			keys[key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		c := byName[peerCaseOf(key)]
		if c == nil {
			c = byName[caseUpdated] // a key that nobody wrote: it has a document and no row
		}
		status, why := judge(rows[key], documents[key])
		c.Keys[status]++
		if status != PeerOK && c.Example == "" {
			c.Example = fmt.Sprintf("key %d: %s", key, why)
		}
	}
	var all []PeerCase
	for _, name := range peerCaseNames {
		all = append(all, *byName[name])
	}
	return all
}

// compareHistory judges both sinks by the rows.
func (p *peerRun) compareHistory(ctx context.Context, stores []*peerStore) error {
	rows, err := peerRows(ctx, p.stack.Endpoints().PostgresDSN)
	if err != nil {
		return err
	}
	for _, store := range stores {
		documents, err := store.all(ctx)
		if err != nil {
			return err
		}
		p.result.History.Cases = append(p.result.History.Cases, judgeCases(store.sink, rows, documents)...)
	}
	return nil
}

func peerRows(ctx context.Context, dsn string) (map[int64]peerRow, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("read the history's rows: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT id, version::text, name, note FROM "+peerHistoryTable)
	if err != nil {
		return nil, fmt.Errorf("read the history's rows: %w", err)
	}
	defer rows.Close()
	all := map[int64]peerRow{}
	for rows.Next() {
		var id int64
		var version string
		var name, note *string
		if err := rows.Scan(&id, &version, &name, &note); err != nil {
			return nil, fmt.Errorf("read the history's rows: %w", err)
		}
		row := peerRow{"version": version}
		for column, text := range map[string]*string{"name": name, "note": note} {
			if text != nil {
				row[column] = *text
			}
		}
		all[id] = row
	}
	return all, rows.Err()
}

// peerStore reads the documents of one sink, each by its own layout: the consumer's _id is the key as a
// text, and what is deleted is marked; the peer's is a document of the key's columns.
type peerStore struct {
	sink       string
	collection *mongo.Collection
}

func newPeerStore(sink string, collection *mongo.Collection) *peerStore {
	return &peerStore{sink, collection}
}

func (s *peerStore) id(key int64) any {
	if s.sink == OwnSink {
		return strconv.FormatInt(key, 10)
	}
	return bson.D{{Key: "id", Value: key}}
}

// row reads a document that is a row.
func (s *peerStore) row(document bson.M) (key int64, row peerRow, err error) {
	text := fmt.Sprint(document["_id"])
	if inner, ok := document["_id"].(bson.M); ok {
		text = fmt.Sprint(inner["id"])
	}
	if key, err = strconv.ParseInt(text, 10, 64); err != nil {
		return 0, nil, fmt.Errorf("read %s: a document with the _id %v", s.collection.Name(), document["_id"])
	}
	row = peerRow{}
	for member, value := range document {
		switch {
		case value == nil, member == "_id", member == "cdcMetadata", member == "id" && fmt.Sprint(value) == text:
		default:
			row[member] = fmt.Sprint(value)
		}
	}
	return key, row, nil
}

// all reads every document that a reader takes for a row.
func (s *peerStore) all(ctx context.Context) (map[int64]peerRow, error) {
	return s.find(ctx, bson.D{})
}

// some reads those of these keys.
func (s *peerStore) some(ctx context.Context, keys []int64) (map[int64]peerRow, error) {
	ids := bson.A{}
	for _, key := range keys {
		ids = append(ids, s.id(key))
	}
	return s.find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
}

func (s *peerStore) find(ctx context.Context, filter bson.D) (map[int64]peerRow, error) {
	if s.sink == OwnSink {
		filter = append(filter, bson.E{Key: "cdcMetadata.deleted", Value: bson.D{{Key: "$ne", Value: true}}})
	}
	cursor, err := s.collection.Find(ctx, filter)
	if err != nil {
		return nil, fmt.Errorf("read the documents of %s: %w", s.sink, err)
	}
	var documents []bson.M
	if err := cursor.All(ctx, &documents); err != nil {
		return nil, fmt.Errorf("read the documents of %s: %w", s.sink, err)
	}
	rows := map[int64]peerRow{}
	for _, document := range documents {
		key, row, err := s.row(document)
		if err != nil {
			return nil, err
		}
		rows[key] = row
	}
	return rows, nil
}
