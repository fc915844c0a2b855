package order

import "slices"

// Recent remembers the last changes of a partition, to tell a change sent again by a connector. The
// zero value is ready; one goroutine uses a Recent.
type Recent struct {
	ids       []Change
	positions []string
	next      int
	low       string // all changes above are remembered
}

// Change names a change of the log, at every delivery alike.
type Change struct {
	TxID uint32
	LSN  uint64
}

// recentMax is the number of changes remembered in a partition.
const recentMax = 1024

// Note notes a change. resent is true if a change behind a later change is remembered, unseen if
// the change would be remembered had the partition met the change.
func (r *Recent) Note(id Change, position string, behind bool) (resent, unseen bool) {
	switch {
	case len(r.ids) == 0:
		r.low = position
	case behind && id.LSN != 0 && slices.Contains(r.ids, id):
		resent = true
	case behind:
		unseen = position > r.low
	}
	if len(r.ids) < recentMax {
		r.ids, r.positions = append(r.ids, id), append(r.positions, position)
		return resent, unseen
	}
	r.low = max(r.low, r.positions[r.next])
	r.ids[r.next], r.positions[r.next] = id, position
	r.next = (r.next + 1) % recentMax
	return resent, unseen
}
