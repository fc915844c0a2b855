package order

import "slices"

// Recent remembers the last changes of a partition, to tell a change sent again by a connector. The
// zero value is ready; one goroutine uses a Recent.
type Recent struct {
	last   []noted // a ring, once full
	next   int
	low    string // all changes above are remembered
	high   string // the highest change recalled
	offset int64  // the offset after the change recalled last
}

type noted struct {
	Change
	position string
}

// Change names a change of the log, at every delivery alike.
type Change struct {
	TxID uint32
	LSN  uint64
}

// RecentMax is the number of changes remembered in a partition.
const RecentMax = 1024

// Note notes a change. resent is true if a change behind a later change is remembered, unseen if
// the change would be remembered had the partition met the change.
func (r *Recent) Note(id Change, position string, behind bool) (resent, unseen bool) {
	switch {
	case len(r.last) == 0:
		r.low = position
	case behind && id.LSN != 0 && r.contains(id):
		resent = true
	case behind:
		unseen = position > r.low
	}
	if len(r.last) < RecentMax {
		r.last = append(r.last, noted{id, position})
		return resent, unseen
	}
	oldest := &r.last[r.next]
	r.low = max(r.low, oldest.position)
	*oldest = noted{id, position}
	r.next = (r.next + 1) % RecentMax
	return resent, unseen
}

// Recall notes a change at an offset before the partition's beginning. Behind a hole of several
// offsets, where a compaction may have left out changes, the remembering begins anew; a hole of one
// may be the mark of a transaction's end. Records that are no changes look as holes look.
func (r *Recent) Recall(id Change, position string, offset int64) {
	const mark = 1
	if len(r.last) > 0 && offset > r.offset+mark {
		*r = Recent{}
	}
	r.Note(id, position, position < r.high)
	r.high, r.offset = max(r.high, position), offset+1
}

func (r *Recent) contains(id Change) bool {
	return slices.ContainsFunc(r.last, func(n noted) bool { return n.Change == id })
}
