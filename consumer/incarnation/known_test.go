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

// TestKnown: the first incarnation is that of the documents, over restarts; each other is anew.
func TestKnown(t *testing.T) {
	t.Parallel()
	s := documents.NewMemory()
	k := NewKnown(s)
	ask := func(k *Known, topic string, id ID, want bool) {
		t.Helper()
		if anew, err := k.MadeAnew(t.Context(), topic, id); err != nil || anew != want {
			t.Errorf("MadeAnew(%s, %v) is %t, %v", topic, id, anew, err)
		}
	}
	ask(k, "a", ID{}, false)
	ask(k, "a", ID{1}, false)
	ask(k, "a", ID{2}, true)
	ask(k, "a", ID{1}, false)
	ask(k, "b", ID{2}, false)
	restarted := NewKnown(s)
	ask(restarted, "a", ID{3}, true)
	ask(restarted, "b", ID{2}, false)
	broken := NewKnown(away{s})
	if _, err := broken.MadeAnew(t.Context(), "a", ID{2}); !errors.Is(err, consumertest.ErrAway) {
		t.Errorf("an error of the store became %v", err)
	}
	broken.store = s
	ask(broken, "a", ID{2}, true)
}
