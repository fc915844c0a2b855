package incarnation

import (
	"context"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/documents"
)

// Known numbers the incarnations of each topic beside the documents, in the order in which members
// of the group met the incarnations. A document keeps the number, because offsets of one
// incarnation alone compare. Known is safe for concurrent use.
type Known struct {
	store   documents.Store
	mu      sync.Mutex
	numbers map[string]map[ID]int32 // by topic
}

// NewKnown returns the memory beside the documents of s.
func NewKnown(s documents.Store) *Known {
	return &Known{store: s, numbers: map[string]map[ID]int32{}}
}

// Number returns the incarnation's number: 0 for the first that was read into the documents, and
// for an incarnation that is not known. The error is the store's.
func (k *Known) Number(ctx context.Context, topic string, id ID) (int32, error) {
	if id == (ID{}) {
		return 0, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if number, known := k.numbers[topic][id]; known {
		return number, nil
	}
	for number := int32(0); ; number++ {
		kept, err := k.keep(ctx, topic, number, id)
		if err != nil {
			return 0, err
		}
		if kept != id.String() {
			continue // the number is of another incarnation
		}
		if k.numbers[topic] == nil {
			k.numbers[topic] = map[ID]int32{}
		}
		k.numbers[topic][id] = number
		return number, nil
	}
}

// keep gives the number to the incarnation, unless another has the number, and returns the ID that
// has the number.
func (k *Known) keep(ctx context.Context, topic string, number int32, id ID) (string, error) {
	key := "topic/" + topic
	if number > 0 {
		key = fmt.Sprintf("%s/%d", key, number)
	}
	if err := k.store.Keep(ctx, documents.AsDocument(bsoncore.AppendStringElement(
		bsoncore.AppendStringElement(nil, "_id", key), "id", id.String()))); err != nil {
		return "", fmt.Errorf("keep the topic's ID: %w", err)
	}
	found, err := k.store.Find(ctx, documents.KeptCollection, []string{key})
	if err != nil {
		return "", fmt.Errorf("look for the topic's ID: %w", err)
	}
	kept, is := found[key].Lookup("id").StringValueOK()
	if !is {
		return id.String(), nil // removed just now by somebody
	}
	return kept, nil
}
