package consumer

import (
	"context"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// memoryStore is the store of the tests that need no server. It is written from the documents'
// contract and not from mongo.go, so that the suite compares two readings of it.
type memoryStore struct {
	mu        sync.Mutex
	documents map[string]bson.M // by collection/_id
	calls     int
	// refuse, when set, answers for the store.
	refuse func(w *write) error
}

func newMemoryStore() *memoryStore { return &memoryStore{documents: map[string]bson.M{}} }

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
	key := w.collection + "/" + w.id
	document, there := m.documents[key]
	if !there {
		document = bson.M{"_id": w.id, "cdcMetadata": bson.M{"position": ""}}
	}
	target, operation := document, bson.M{}
	if w.embedded() {
		items, _ := document[w.field].(bson.M)
		item, known := items[w.item].(bson.M)
		if known && item["position"].(string) >= w.position {
			return false
		}
		if items == nil {
			items = bson.M{}
			document[w.field] = items
		}
		if item == nil {
			item = bson.M{}
			items[w.item] = item
		}
		if !there {
			document["shell"] = true
		}
		target, operation = item, item
	} else {
		metadata := document["cdcMetadata"].(bson.M)
		if there && metadata["position"].(string) >= w.position {
			return false
		}
		delete(document, "shell")
		delete(document, "deletedAt")
		if w.deleted {
			document["deletedAt"] = w.processedAt
		}
		document["cdcMetadata"] = operation
		operation["kafkaTopic"], operation["kafkaOffset"] = w.record.Topic, w.record.Offset
		operation["kafkaPartition"] = w.record.Partition
		operation["sourceTimestamp"] = w.sourceAt.UnixMilli()
	}
	operation["operation"], operation["position"] = w.operation, w.position
	operation["processedAt"] = w.processedAt
	delete(target, "deleted")
	if w.deleted {
		target["deleted"] = true
	}
	for _, f := range w.fields {
		if f.absent {
			delete(target, f.name)
		} else {
			target[f.name] = f.value
		}
	}
	m.documents[key] = document
	return true
}

// read returns nil for a document that is not there.
func (m *memoryStore) read(collection, id string) bson.M {
	m.mu.Lock()
	defer m.mu.Unlock()
	document, there := m.documents[collection+"/"+id]
	if !there {
		return nil
	}
	raw, err := bson.Marshal(document)
	if err != nil {
		panic(err)
	}
	return decodeDocument(raw)
}
