// Package documentstest is a store for tests: a test counts and refuses the calls of Apply. Tests
// alone import the package. Start reading at WatchedStore.
package documentstest

import (
	"context"

	"github.com/cdclab/cdclab/consumer/documents"
)

// WatchedStore counts the calls of Apply, and refuses the writes refused by Refuse.
type WatchedStore struct {
	*documents.Memory
	Refuse func(w *documents.Write) error
	Calls  int
}

// NewWatchedStore returns an empty store without refusals.
func NewWatchedStore() *WatchedStore { return &WatchedStore{Memory: documents.NewMemory()} }

// Apply asks refuse first, if there is one.
func (s *WatchedStore) Apply(ctx context.Context, writes []documents.Write) []documents.Outcome {
	s.Calls++
	outcomes := make([]documents.Outcome, len(writes))
	for i := range writes {
		if s.Refuse != nil {
			outcomes[i].Err = s.Refuse(&writes[i])
		}
		if outcomes[i].Err == nil {
			outcomes[i] = s.Memory.Apply(ctx, writes[i:i+1])[0]
		}
	}
	return outcomes
}
