package check

import (
	"fmt"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/ledger"
)

// fates is the ledger's knowledge of every key.
type fates struct {
	byKey  map[string]map[string]*fate
	writes int
}

// fate is the ledger's knowledge of one key. All methods work on nil, which knows nothing.
type fate struct {
	// acked is the id of the last acknowledged write, 0 when there is none; deletes is true if the
	// last acknowledged write was a delete.
	acked   int64
	deletes bool
	// perhaps is the id of the last indeterminate delete.
	perhaps int64
}

// readFates reads the ledger at path; an empty path knows nothing of any key. A write of an entity
// outside the registry is an error, because the entity is not compared.
func readFates(path string, registry *entity.Registry) (*fates, error) {
	f := &fates{byKey: map[string]map[string]*fate{}}
	if path == "" {
		return f, nil
	}
	_, _, err := ledger.Read(path, func(w ledger.Write) error {
		if w.Scenario == ledger.Selftest {
			return nil
		}
		if _, ok := registry.ByEntity(w.Entity); !ok {
			return fmt.Errorf("no entity %q", w.Entity)
		}
		f.add(&w)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	return f, nil
}

func (f *fates) add(w *ledger.Write) {
	f.writes++
	keys := f.byKey[w.Entity]
	if keys == nil {
		keys = map[string]*fate{}
		f.byKey[w.Entity] = keys
	}
	k := keys[w.Key]
	if k == nil {
		k = new(fate)
		keys[w.Key] = k
	}
	switch {
	case w.Fate == ledger.Acked:
		// The file is in the order of completion, not of the ids.
		if w.ID > k.acked {
			k.acked, k.deletes = w.ID, w.Op == ledger.Delete
		}
	case w.Fate == ledger.Indeterminate && w.Op == ledger.Delete:
		k.perhaps = max(k.perhaps, w.ID)
	}
}

func (f *fates) of(entity, key string) *fate { return f.byKey[entity][key] }

// deleted names the delete of a key without a row; empty when no delete explains the missing row.
func (k *fate) deleted() string {
	switch {
	case k == nil:
		return ""
	case k.deletes:
		return fmt.Sprintf("delete %d, acked", k.acked)
	case k.perhaps > k.acked:
		return fmt.Sprintf("delete %d, indeterminate, whose row is gone", k.perhaps)
	}
	return ""
}

// sourceLoss names an acknowledged write that PostgreSQL does not hold; r is the key's row, nil
// when there is none. An indeterminate write may or may not be there, and excuses no older version.
func (k *fate) sourceLoss(r *record) string {
	switch {
	case k == nil || k.acked == 0 || r != nil && r.version == none:
		return ""
	case r == nil && !k.deletes && k.perhaps < k.acked:
		return fmt.Sprintf("write %d was acked and PostgreSQL has no row", k.acked)
	case r != nil && k.deletes && r.version <= k.acked:
		return fmt.Sprintf("delete %d was acked and PostgreSQL has version %d", k.acked, r.version)
	case r != nil && !k.deletes && r.version < k.acked:
		return fmt.Sprintf("write %d was acked and PostgreSQL has version %d", k.acked, r.version)
	}
	return ""
}
