package chaos

import (
	"fmt"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// fates is what the ledger knows of every key.
type fates struct {
	byKey  map[string]map[string]*fate
	writes int
}

// fate is what the ledger knows of one key. All methods work on nil, which knows nothing.
type fate struct {
	// acked is the id of the last acknowledged write, 0 when there is none; deletes says that it
	// was a delete.
	acked   int64
	deletes bool
	// perhaps is the id of the last indeterminate delete.
	perhaps int64
	// timedOut counts the acknowledged writes that the tracker gave up on.
	timedOut int
}

// selftest is the scenario whose writes go to MongoDB directly, and are of no entity.
const selftest = "selftest"

// readFates reads the ledger at path; an empty path knows nothing of any key. A write of an entity
// that is not in the registry, and so is not compared, is an error.
func readFates(path string, registry *entity.Registry) (*fates, error) {
	f := &fates{byKey: map[string]map[string]*fate{}}
	if path == "" {
		return f, nil
	}
	_, _, err := ledger.Read(path, func(w ledger.Write) error {
		if w.Scenario == selftest {
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
		if w.TimedOut {
			k.timedOut++
		}
	case w.Fate == ledger.Indeterminate && w.Op == ledger.Delete:
		k.perhaps = max(k.perhaps, w.ID)
	}
}

func (f *fates) of(entity, key string) *fate { return f.byKey[entity][key] }

// late counts the writes that the tracker gave up on and whose keys are right in the end.
func (f *fates) late(wrong map[id]bool) int {
	late := 0
	for entity, keys := range f.byKey {
		for key, k := range keys {
			if !wrong[id{entity, key}] {
				late += k.timedOut
			}
		}
	}
	return late
}

// deleted says how the key was deleted, given that it has no row; empty when no delete explains it.
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

// sourceLoss says what PostgreSQL acknowledged and does not hold; r is the key's row, nil when
// there is none. An indeterminate write may or may not be there, and excuses no older version.
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
