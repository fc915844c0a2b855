package entity

// Shapes tells by entity how many shapes of its table's rows were seen: sets of columns with their
// types, at most 64 of each table are remembered. Reload forgets those of a table whose Spec changed.
func (r *Registry) Shapes() map[string]int {
	r.mu.RLock()
	tables := make([]*Table, 0, len(r.tables))
	for _, t := range r.tables {
		tables = append(tables, t)
	}
	r.mu.RUnlock()
	shapes := map[string]int{}
	for _, t := range tables {
		t.mu.Lock()
		shapes[t.spec.Entity] += len(t.plans)
		t.mu.Unlock()
	}
	return shapes
}
