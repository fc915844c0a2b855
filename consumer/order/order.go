// Package order decides between two events of a row where the positions alone do not tell the newer
// event: a snapshot taken anew, a log that began anew, a key of two rows, two sources of a table.
// The package writes nothing; package apply acts on the verdicts. Start reading at Event.Judge.
package order

import (
	"time"

	"github.com/cdclab/cdclab/consumer/documents"
)

// Event is the place of an event in its log and in Kafka.
type Event struct {
	Position  string // the epoch and debezium.Event.Position
	TxID      uint32 // 0 where not known
	SourceAt  time.Time
	Topic     string
	Partition int32
	Offset    int64 // where the event first was in Kafka
	// Gap is the offset behind the last hole in the partition's offsets; 0 for no hole.
	Gap int64
	// ReadAt is the LSN of a snapshot of the whole table, 0 for other events.
	ReadAt uint64
	// Incarnation is of the topic: 0 for the first that was read, 1 for the topic made anew.
	// Offsets of one incarnation alone compare.
	Incarnation int32
	// Resent is true if a partition of the topic met the very change before, Unseen if this
	// partition would have met the change, and did not. Unmet is true if neither is known, because
	// the change is behind all changes that the partition remembers. Letter is true for a replayed
	// dead letter.
	Resent, Unseen, Unmet, Letter bool
	// Comes is true if the row's key changed to this key. Embedded is true for a row in another
	// row's document, Read for a row of a snapshot.
	Comes, Embedded, Read bool
}

// Verdict says what a stale event is.
type Verdict int

// The verdicts on an event whose position is not above the stored position, or that makes a row
// where a row lives.
const (
	Older         Verdict = iota // a replay
	Newer                        // a snapshot's row read after the stored row, or the place is free
	Contradictory                // of a log that began anew
	Occupied                     // another row has the key
	Displaced                    // takes the key of a row whose own change of key is to come
)

// Commits this much later in the source's time have later positions: where the event also follows
// the stored row in the partition by a later transaction, and otherwise.
const (
	logResetAfter     = time.Minute
	logResetFollowing = time.Second
)

// FollowsStored returns true if the event follows the stored row in the partition; there is false
// where the row is of another topic, incarnation or partition, whose offsets do not compare.
func (e *Event) FollowsStored(s documents.Metadata) (after, there bool) {
	there = (s.Topic == e.Topic || s.Topic == "" && e.Embedded) && s.Partition == e.Partition &&
		s.Incarnation == e.Incarnation
	return there && s.Offset < e.Offset, there
}

// wasCommittedLongAfter returns true if neither the commit times nor the transactions allow the
// event to be older than the stored row. A clock that stepped back does not deceive both. Where a
// transaction is not known (a row of an incremental snapshot has the connector's clock and no
// transaction), a redelivery is told by the offset.
func (e *Event) wasCommittedLongAfter(s documents.Metadata) bool {
	after, there := e.FollowsStored(s)
	least, known := logResetAfter, e.TxID != 0 && s.TxID != 0
	switch {
	case known && int32(e.TxID-s.TxID) < 0, // transactions wrap around
		!known && there && !after:
		return false
	case known && after:
		least = logResetFollowing
	}
	return e.sinceStored(s) >= least
}

// sinceStored returns the time between the commits of the stored row and of the event, in the
// source's time; 0 where the stored row does not tell.
func (e *Event) sinceStored(s documents.Metadata) time.Duration {
	if s.SourceTimestamp == 0 || s.Operation == documents.OperationTombstone {
		return 0
	}
	return e.SourceAt.Sub(time.UnixMilli(s.SourceTimestamp))
}

// Judge judges an event whose position is not above the stored row's. A redelivered event is told
// by its transaction and LSN, which the partition met before, or else by the order of transactions
// and commits.
func (e *Event) Judge(s documents.Metadata) Verdict {
	switch {
	case s.Shared != "" && s.Shared < e.Position:
		return Occupied
	case s.Position == e.Position && e.Read && IsSnapshot(s.Position):
		return e.judgeSnapshot(s)
	case s.Position <= e.Position || e.Letter || e.Resent || s.Shared != "" ||
		!SameEpoch(e.Position, s.Position):
		return Older
	case e.Read:
		return e.judgeSnapshot(s)
	case IsSnapshot(s.Position):
		return Older
	}
	after, _ := e.FollowsStored(s)
	if after && (e.Unseen || e.Unmet && e.sinceStored(s) >= logResetAfter) ||
		e.wasCommittedLongAfter(s) {
		return Contradictory
	}
	return Older
}

// JudgeClaim judges an event that makes a row where a row lives. A key change within a transaction
// may come before the other row's own key change, where the key is deferrable. A hole in the
// offsets may have held the other row's delete, in a compacted topic.
func (e *Event) JudgeClaim(s documents.Metadata) Verdict {
	_, first, second := Split(e.Position)
	_, storedFirst, storedSecond := Split(s.Position)
	after, _ := e.FollowsStored(s)
	switch {
	case s.Deleted || s.Shell || !SameEpoch(e.Position, s.Position):
		return Newer
	case e.Comes:
		return Displaced
	case first == storedFirst && second != noLSN && storedSecond != noLSN:
		return Occupied
	case after && e.Gap <= s.Offset:
		return Occupied
	}
	return Newer
}
