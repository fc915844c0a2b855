package incarnation

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/documents"
)

// Known remembers the first incarnation of each topic beside the documents. Offsets in documents
// may be of the first incarnation, and then offsets of another incarnation do not compare. Known is
// safe for concurrent use.
type Known struct {
	store documents.Store
	mu    sync.Mutex
	first map[string]string // IDs by topic
}

// NewKnown returns the memory beside the documents of s.
func NewKnown(s documents.Store) *Known { return &Known{store: s, first: map[string]string{}} }

// MadeAnew returns true if another incarnation of the topic was read before into the documents. The
// error is the store's.
func (k *Known) MadeAnew(ctx context.Context, topic string, id ID) (bool, error) {
	if id == (ID{}) {
		return false, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if first := k.first[topic]; first != "" {
		return first != id.String(), nil
	}
	key := "topic/" + topic
	if err := k.store.Keep(ctx, documents.AsDocument(bsoncore.AppendStringElement(
		bsoncore.AppendStringElement(nil, "_id", key), "id", id.String()))); err != nil {
		return false, fmt.Errorf("keep the topic's ID: %w", err)
	}
	found, err := k.store.Find(ctx, documents.KeptCollection, []string{key})
	if err != nil {
		return false, fmt.Errorf("look for the topic's ID: %w", err)
	}
	first, _ := found[key].Lookup("id").StringValueOK()
	k.first[topic] = cmp.Or(first, id.String())
	return k.first[topic] != id.String(), nil
}
