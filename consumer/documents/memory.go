package documents

import (
	"context"
	"maps"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Memory keeps rows in memory: for replays, and for tests without a server. Memory was written from
// the documents' contract and not from statement.go, so that the suite of both compares two
// readings of the contract.
type Memory struct {
	mu        sync.Mutex
	Documents map[string]map[string]bson.M // by collection and _id
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{Documents: map[string]map[string]bson.M{}}
}

// Apply is as Store says.
func (m *Memory) Apply(_ context.Context, writes []Write) []Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	outcomes := make([]Outcome, len(writes))
	for i := range writes {
		w := &writes[i]
		_, there := m.Documents[w.Collection][w.ID]
		outcomes[i].Stale = !m.writeGuarded(w)
		outcomes[i].New = !there && !outcomes[i].Stale && w.Operation == OperationUpdate
	}
	return outcomes
}

func (m *Memory) writeGuarded(w *Write) bool {
	document, there := m.Documents[w.Collection][w.ID]
	row := document
	if w.Embedded() {
		rows, _ := document[w.Field].(bson.M)
		row, _ = rows[w.Item].(bson.M)
	}
	if about, _ := row[MetadataMember].(bson.M); PositionOf(row) >= w.Position || w.Fresh &&
		(about["operation"] == OperationInsert || about["operation"] == OperationUpdate) {
		return false
	}
	if !there {
		document = bson.M{"_id": w.ID}
		if m.Documents[w.Collection] == nil {
			m.Documents[w.Collection] = map[string]bson.M{}
		}
		m.Documents[w.Collection][w.ID] = document
	}
	if w.Embedded() {
		if !there {
			document[MetadataMember] = bson.M{"position": "", "shell": true}
		}
		row = m.embeddedRow(document, w)
	} else {
		row = document
	}
	var members bson.D
	if err := bson.Unmarshal(AsDocument(w.Elements), &members); err != nil {
		panic(err) // the encoder made the elements
	}
	for _, e := range members {
		row[e.Key] = e.Value
	}
	for _, name := range w.Absent {
		delete(row, name)
	}
	row[MetadataMember] = metadataFor(w)
	return true
}

// embeddedRow returns the row in the document's field, or an empty row if new.
func (m *Memory) embeddedRow(document bson.M, w *Write) bson.M {
	rows, _ := document[w.Field].(bson.M)
	if rows == nil {
		rows = bson.M{}
		document[w.Field] = rows
	}
	row, _ := rows[w.Item].(bson.M)
	if row == nil {
		row = bson.M{}
		rows[w.Item] = row
	}
	embedded, _ := document[EmbeddedMember].(bson.M)
	if embedded == nil {
		embedded = bson.M{}
		document[EmbeddedMember] = embedded
	}
	keys, _ := embedded[w.Field].(bson.A)
	if !slices.Contains(keys, any(w.Item)) {
		embedded[w.Field] = append(keys, w.Item)
	}
	return row
}

func metadataFor(w *Write) bson.M {
	about := bson.M{"operation": w.Operation, "position": w.Position,
		"processedAt":     bson.NewDateTimeFromTime(w.ProcessedAt),
		"sourceTimestamp": w.SourceAt.UnixMilli(),
		"kafkaTopic":      w.Topic,
		"kafkaOffset":     w.Offset, "kafkaPartition": w.Partition}
	if w.Incarnation != 0 {
		about["kafkaIncarnation"] = w.Incarnation
	}
	if w.TxID != 0 {
		about["txId"] = int64(w.TxID)
	}
	if w.Deleted {
		about["deleted"], about["deletedAt"] = true, bson.NewDateTimeFromTime(w.ProcessedAt)
	}
	for name, texts := range map[string][]string{"orphan": w.Orphan, "unknown": w.Unknown} {
		var all bson.A
		for _, text := range texts {
			all = append(all, text)
		}
		if all != nil {
			about[name] = all
		}
	}
	if w.Shared != "" {
		about["shared"] = w.Shared
	}
	return about
}

// PositionOf returns the position of a row, "" where the row has none.
func PositionOf(row bson.M) string {
	about, _ := row[MetadataMember].(bson.M)
	position, _ := about["position"].(string)
	return position
}

// AsDocument makes a document of elements.
func AsDocument(elements []byte) bson.Raw {
	start, document := bsoncore.AppendDocumentStart(nil)
	return endDocument(append(document, elements...), start)
}

// Find is as Store says.
func (m *Memory) Find(_ context.Context, collection string, ids []string, members ...string) (
	map[string]bson.Raw, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]bson.Raw{}
	for _, id := range ids {
		document, there := m.Documents[collection][id]
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

// Matching is as Store says.
func (m *Memory) Matching(_ context.Context, collection string, elements []byte, most int) (
	[]bson.Raw, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []bson.Raw
	for _, id := range slices.Sorted(maps.Keys(m.Documents[collection])) {
		raw, err := bson.Marshal(m.Documents[collection][id])
		if err != nil {
			return nil, err
		}
		if len(all) < most && HasMembers(raw, elements) {
			all = append(all, raw)
		}
	}
	return all, nil
}

// Holders is as Store says.
func (m *Memory) Holders(_ context.Context, collection, field string, items []string) (
	[]bson.Raw, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var documents []bson.Raw
	for _, id := range slices.Sorted(maps.Keys(m.Documents[collection])) {
		rows, _ := m.Documents[collection][id][field].(bson.M)
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

// Keep is as Store says.
func (m *Memory) Keep(_ context.Context, document bson.Raw) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var kept bson.M
	if err := bson.Unmarshal(document, &kept); err != nil {
		return err
	}
	id := kept["_id"].(string)
	if m.Documents[KeptCollection] == nil {
		m.Documents[KeptCollection] = map[string]bson.M{}
	}
	if _, there := m.Documents[KeptCollection][id]; !there {
		m.Documents[KeptCollection][id] = kept
	}
	return nil
}

// Fill is as Store says.
func (m *Memory) Fill(_ context.Context, at Place, position, member string, elements []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.Documents[at.Collection][at.ID]
	if at.Embedded() {
		rows, _ := row[at.Field].(bson.M)
		row, _ = rows[at.Item].(bson.M)
	}
	about, _ := row[MetadataMember].(bson.M)
	if _, has := row[member]; has || PositionOf(row) <= position || about["deleted"] == true {
		return nil
	}
	var members bson.D
	if err := bson.Unmarshal(AsDocument(elements), &members); err != nil {
		return err
	}
	for _, e := range members {
		row[e.Key] = e.Value
	}
	return nil
}

// All is as Store says.
func (m *Memory) All(_ context.Context, collection string, visit func(bson.Raw) error) error {
	m.mu.Lock()
	var documents []bson.Raw
	for _, id := range slices.Sorted(maps.Keys(m.Documents[collection])) {
		raw, err := bson.Marshal(m.Documents[collection][id])
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

// Collections is as Store says.
func (m *Memory) Collections(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.Documents)), nil
}
