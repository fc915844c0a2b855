package encode

import (
	"io/fs"
	"maps"
	"math"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/cdclab/cdclab/consumer/entity"
)

// Tables are the Tables of a Registry, and of the tables without a YAML. All partitions share the
// Tables, which are safe for concurrent use.
type Tables struct {
	registry *entity.Registry

	version atomic.Uint64
	mu      sync.RWMutex
	by      map[tableID]*Table
	generic int // of by: the tables without a YAML
}

type tableID struct{ schema, name string }

// NewTables returns the Tables of a Registry. Each Table is made when first asked for.
func NewTables(r *entity.Registry) *Tables { return &Tables{registry: r, by: map[tableID]*Table{}} }

// Table returns the Table of a table in PostgreSQL, the same each time until a Reload changes it.
// The Table is never nil: a table without a YAML has a Spec of its own, without Fields.
func (t *Tables) Table(schema, name string) *Table {
	return t.TableWithin(math.MaxInt, schema, name)
}

// TableWithin is Table for the first most tables without a YAML; nil for any further.
func (t *Tables) TableWithin(most int, schema, name string) *Table {
	id := tableID{schema, name}
	t.mu.RLock()
	table := t.by[id]
	t.mu.RUnlock()
	if table != nil {
		return table
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if table = t.by[id]; table == nil && (t.generic < most || !t.isGeneric(id)) {
		table = t.make(id)
		t.remember(id, table)
	}
	return table
}

// Version changes with every Reload that changes a table: until then a Table found is the table's.
func (t *Tables) Version() uint64 { return t.version.Load() }

func (t *Tables) remember(id tableID, table *Table) {
	if t.by[id] = table; t.isGeneric(id) {
		t.generic++
	}
}

func (t *Tables) isGeneric(id tableID) bool {
	_, declared := t.registry.ByTable(id.schema + "." + id.name)
	return !declared
}

func (t *Tables) make(id tableID) *Table {
	return newTable(t.registry.Serving(id.schema, id.name), t.registry)
}

// Reload reads the folder again into the Registry: completely, or, with an error, not at all. A
// table with a changed, new or removed Spec has another Table from then on. The other Tables stay,
// and remember the columns seen so far.
func (t *Tables) Reload(fsys fs.FS) (changed bool, err error) {
	next, err := entity.Load(fsys)
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.registry.Replace(next) {
		return false, nil
	}
	defer t.version.Add(1) // before the unlock
	old := t.by
	t.by, t.generic = map[tableID]*Table{}, 0
	for id, table := range old {
		made := t.make(id)
		if reflect.DeepEqual(made.spec, table.spec) && maps.Equal(made.taken, table.taken) &&
			reflect.DeepEqual(made.fields, table.fields) {
			t.remember(id, table)
			continue
		}
		table.mu.Lock()
		made.names.TakeOver(table.names)
		table.mu.Unlock()
		made.unkept.Store(made.names.IsOpen())
		t.remember(id, made)
	}
	return true, nil
}

// Shapes returns by entity how many shapes of its table's rows were seen. A shape is a set of
// columns with types; at most 64 of each table are remembered. Reload forgets the shapes of a table
// with a changed Spec.
func (t *Tables) Shapes() map[string]int {
	t.mu.RLock()
	tables := make([]*Table, 0, len(t.by))
	for _, table := range t.by {
		tables = append(tables, table)
	}
	t.mu.RUnlock()
	shapes := map[string]int{}
	for _, table := range tables {
		table.mu.Lock()
		shapes[table.spec.Entity] += len(table.plans)
		table.mu.Unlock()
	}
	return shapes
}
