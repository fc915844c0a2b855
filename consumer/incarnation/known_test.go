package incarnation

import (
	"context"
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/documents"
)

// away is a store whose Find fails.
type away struct{ documents.Store }

func (away) Find(context.Context, string, []string, ...string) (map[string]bson.Raw, error) {
	return nil, consumertest.ErrAway
}

// TestKnown: each incarnation has a number, over restarts.
func TestKnown(t *testing.T) {
	t.Parallel()
	s := documents.NewMemory()
	k := NewKnown(s)
	ask := func(k *Known, topic string, id ID, want int32) {
		t.Helper()
		if number, err := k.Number(t.Context(), topic, id); err != nil || number != want {
			t.Errorf("Number(%s, %v) is %d, %v", topic, id, number, err)
		}
	}
	ask(k, "a", ID{}, 0)
	ask(k, "a", ID{1}, 0)
	ask(k, "a", ID{2}, 1)
	ask(k, "a", ID{1}, 0)
	ask(k, "b", ID{2}, 0)
	restarted := NewKnown(s)
	ask(restarted, "a", ID{3}, 2)
	ask(restarted, "b", ID{2}, 0)
	broken := NewKnown(away{s})
	if _, err := broken.Number(t.Context(), "a", ID{2}); !errors.Is(err, consumertest.ErrAway) {
		t.Errorf("an error of the store became %v", err)
	}
	broken.store = s
	ask(broken, "a", ID{2}, 1)
}
