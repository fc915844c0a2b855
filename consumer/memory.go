package consumer

import (
	"context"
	"maps"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// memoryStore keeps rows in memory: for replays, and for tests that need no server. It is written
// from the documents' contract and not from update.go, so that the suite of both compares two
// readings of it.
type memoryStore struct {
	mu        sync.Mutex
	documents map[string]map[string]bson.M // by collection and _id
	refuse    func(w *write) error         // tests: answers for the store where it is not nil
	calls     int
}

func newMemoryStore() *memoryStore {
	return &memoryStore{documents: map[string]map[string]bson.M{}}
}

func (m *memoryStore) apply(_ context.Context, writes []write) []outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	outcomes := make([]outcome, len(writes))
	for i := range writes {
		w := &writes[i]
		if m.refuse != nil {
			if outcomes[i].err = m.refuse(w); outcomes[i].err != nil {
				continue
			}
		}
		outcomes[i].stale = !m.write(w)
	}
	return outcomes
}

func (m *memoryStore) write(w *write) bool {
	document, there := m.documents[w.collection][w.id]
	row := document
	if w.embedded() {
		rows, _ := document[w.field].(bson.M)
		row, _ = rows[w.item].(bson.M)
	}
	if positionOf(row) >= w.position {
		return false
	}
	if !there {
		document = bson.M{"_id": w.id}
		if m.documents[w.collection] == nil {
			m.documents[w.collection] = map[string]bson.M{}
		}
		m.documents[w.collection][w.id] = document
	}
	if w.embedded() {
		if !there {
			document[metadataMember] = bson.M{"position": "", "shell": true}
		}
		row = m.embed(document, w)
	} else {
		row = document
	}
	var members bson.D
	if err := bson.Unmarshal(asDocument(w.elements), &members); err != nil {
		panic(err) // the encoder made them
	}
	for _, e := range members {
		row[e.Key] = e.Value
	}
	for _, name := range w.absent {
		delete(row, name)
	}
	row[metadataMember] = metadataFor(w)
	return true
}

// embed returns the row in the document's field, empty where it is new.
func (m *memoryStore) embed(document bson.M, w *write) bson.M {
	rows, _ := document[w.field].(bson.M)
	if rows == nil {
		rows = bson.M{}
		document[w.field] = rows
	}
	row, _ := rows[w.item].(bson.M)
	if row == nil {
		row = bson.M{}
		rows[w.item] = row
	}
	embedded, _ := document[embeddedMember].(bson.M)
	if embedded == nil {
		embedded = bson.M{}
		document[embeddedMember] = embedded
	}
	keys, _ := embedded[w.field].(bson.A)
	if !slices.Contains(keys, any(w.item)) {
		embedded[w.field] = append(keys, w.item)
	}
	return row
}

func metadataFor(w *write) bson.M {
	about := bson.M{"operation": w.operation, "position": w.position,
		"processedAt": bson.NewDateTimeFromTime(w.processedAt)}
	if !w.embedded() {
		about["sourceTimestamp"] = w.sourceAt.UnixMilli()
		about["kafkaTopic"], about["kafkaOffset"] = w.record.Topic, w.record.Offset
		about["kafkaPartition"] = w.record.Partition
	}
	if w.change.deleted {
		about["deleted"], about["deletedAt"] = true, bson.NewDateTimeFromTime(w.processedAt)
	}
	if len(w.orphan) > 0 {
		columns := bson.A{}
		for _, v := range w.orphan {
			columns = append(columns, v.Field)
		}
		about["orphan"] = columns
	}
	return about
}

func positionOf(row bson.M) string {
	about, _ := row[metadataMember].(bson.M)
	position, _ := about["position"].(string)
	return position
}

// asDocument makes a document of elements.
func asDocument(elements []byte) bson.Raw {
	start, document := bsoncore.AppendDocumentStart(nil)
	return closed(append(document, elements...), start)
}

func (m *memoryStore) find(_ context.Context, collection string, ids []string, members ...string) (
	map[string]bson.Raw, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]bson.Raw{}
	for _, id := range ids {
		document, there := m.documents[collection][id]
		if !there {
			continue
		}
		if len(members) > 0 {
			some := bson.M{"_id": id}
			for _, name := range members {
				if value, has := document[name]; has {
					some[name] = value
				}
			}
			document = some
		}
		raw, err := bson.Marshal(document)
		if err != nil {
			return nil, err
		}
		found[id] = raw
	}
	return found, nil
}

func (m *memoryStore) holders(_ context.Context, collection, field string, items []string) (
	[]bson.Raw, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var documents []bson.Raw
	for _, id := range slices.Sorted(maps.Keys(m.documents[collection])) {
		rows, _ := m.documents[collection][id][field].(bson.M)
		some := bson.M{}
		for _, item := range items {
			if row, has := rows[item]; has {
				some[item] = row
			}
		}
		if len(some) == 0 {
			continue
		}
		raw, err := bson.Marshal(bson.M{"_id": id, field: some})
		if err != nil {
			return nil, err
		}
		documents = append(documents, raw)
	}
	return documents, nil
}

func (m *memoryStore) keep(_ context.Context, document bson.Raw) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var kept bson.M
	if err := bson.Unmarshal(document, &kept); err != nil {
		return err
	}
	id := kept["_id"].(string)
	if m.documents[keptCollection] == nil {
		m.documents[keptCollection] = map[string]bson.M{}
	}
	if _, there := m.documents[keptCollection][id]; !there {
		m.documents[keptCollection][id] = kept
	}
	return nil
}

func (m *memoryStore) fill(_ context.Context, at place, position, member string, elements []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.documents[at.collection][at.id]
	if at.embedded() {
		rows, _ := row[at.field].(bson.M)
		row, _ = rows[at.item].(bson.M)
	}
	about, _ := row[metadataMember].(bson.M)
	if _, has := row[member]; has || positionOf(row) <= position || about["deleted"] == true {
		return nil
	}
	var members bson.D
	if err := bson.Unmarshal(asDocument(elements), &members); err != nil {
		return err
	}
	for _, e := range members {
		row[e.Key] = e.Value
	}
	return nil
}

func (m *memoryStore) all(_ context.Context, collection string, visit func(bson.Raw) error) error {
	m.mu.Lock()
	var documents []bson.Raw
	for _, id := range slices.Sorted(maps.Keys(m.documents[collection])) {
		raw, err := bson.Marshal(m.documents[collection][id])
		if err != nil {
			m.mu.Unlock()
			return err
		}
		documents = append(documents, raw)
	}
	m.mu.Unlock()
	for _, d := range documents {
		if err := visit(d); err != nil {
			return err
		}
	}
	return nil
}

func (m *memoryStore) collections(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.documents)), nil
}
