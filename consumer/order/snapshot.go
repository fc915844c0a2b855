package order

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cdclab/cdclab/consumer/documents"
)

// A snapshot taken anew (snapshot.mode=always, a lost slot, a new topic or prefix) has rows changed
// while nobody read the log. The position of a snapshot's row, (0, LSN of the snapshot), comes
// before everything streamed, as necessary in a first snapshot: the first transaction after a
// snapshot may have lower LSNs than the snapshot says. So a stale row of a snapshot is looked at
// again. In the partition of the stored row the offsets tell, because a connector reads a row after
// the commit of everything streamed before. In another topic, partition or incarnation of the topic
// the LSNs tell, and the commit time where an open transaction may have lower LSNs: such a
// transaction is in the topic that the snapshot is in, and not in an incarnation before.
//
// A row with a place in the log (the lab's own connector has the LSN in a header) is stale only as
// a replay, or where the log began anew.

func (e *Event) judgeSnapshot(s documents.Metadata) Verdict {
	after, there := e.FollowsStored(s)
	_, first, second := Split(s.Position)
	lsn, later := hexLSN(e.ReadAt), e.SourceAt.UnixMilli() > s.SourceTimestamp
	inLog := !IsSnapshot(e.Position)
	switch {
	case e.ReadAt == 0:
		return Older
	case s.Operation == documents.OperationTruncate && e.WasReadSince(s.Position),
		after && !inLog && e.AfterStored(s.Position) > s.Position:
		return Newer
	case after && (lsn < first || IsSnapshot(s.Position)),
		!after && lsn < max(first, second) && e.wasCommittedLongAfter(s):
		return Contradictory
	case after || lsn <= max(first, second):
		return Older
	case there: // a replay
		if e.wasCommittedLongAfter(s) && second != noLSN {
			return Contradictory
		}
		return Older
	case s.Topic == e.Topic && s.Incarnation < e.Incarnation, // whatever the clocks say
		later && second != noLSN, e.wasCommittedLongAfter(s):
		return Newer
	case later:
		return Contradictory // cannot be decided
	}
	return Older
}

// AfterStored returns the position of a snapshot's row right after a stored row. Everything
// streamed later is of a later commit. Two snapshots have one LSN where the log did not move, and
// then the offset decides: LSNs are multiples of 8.
func (e *Event) AfterStored(position string) string {
	epoch, first, second := Split(position)
	place, err := strconv.ParseUint(second, 16, 64)
	if first == noLSN && err == nil && place-e.ReadAt < 8 {
		return epoch + first + hexLSN(place+1)
	}
	return epoch + first + hexLSN(e.ReadAt)
}

// WasReadSince returns true if the snapshot was taken after both places of the position in the log.
// For a truncate no more is needed, because a truncate has the table alone until the commit.
func (e *Event) WasReadSince(position string) bool {
	_, first, second := Split(position)
	return e.ReadAt != 0 && SameEpoch(e.Position, position) && max(first, second) < hexLSN(e.ReadAt)
}

// SnapshotPosition puts rows of a snapshot without positions before everything streamed, and among
// each other in the order of the snapshots' LSNs, so that a snapshot begun anew wins, also in
// another topic. The rows of a snapshot share the LSN, and each row is there once.
func SnapshotPosition(position string, lsn uint64) string {
	if strings.Trim(position[EpochDigits:], "0") != "" {
		return position
	}
	return position[:EpochDigits] + noLSN + hexLSN(lsn)
}

// EpochDigits and LSNDigits are the lengths of a position's parts, in hexadecimal digits.
const (
	EpochDigits = 4
	LSNDigits   = 16
	noLSN       = "0000000000000000"
)

func hexLSN(lsn uint64) string { return fmt.Sprintf("%0*x", LSNDigits, lsn) }

// Split returns a position's epoch and two places in the log, "" where there are none.
func Split(position string) (epoch, first, second string) {
	if len(position) != EpochDigits+2*LSNDigits {
		return "", "", ""
	}
	return position[:EpochDigits], position[EpochDigits : EpochDigits+LSNDigits],
		position[EpochDigits+LSNDigits:]
}

// SameEpoch returns true if both positions are of one epoch.
func SameEpoch(a, b string) bool {
	epoch, _, _ := Split(a)
	other, _, _ := Split(b)
	return epoch == other
}

// IsSnapshot returns true for the position of a snapshot's row that nothing streamed came before.
func IsSnapshot(position string) bool {
	_, first, _ := Split(position)
	return first == noLSN
}

// Next returns the position right after another, before any event to come. The error is about a
// text that is no position.
func Next(position string) (string, error) {
	epoch, first, second := Split(position)
	place, err := strconv.ParseUint(second, 16, 64)
	if err != nil {
		return "", fmt.Errorf("read the position %q: %w", position, err)
	}
	return epoch + first + hexLSN(place+1), nil
}

// Raise returns the position of a place that two rows share: above all of the epoch, or, with the
// transaction alone, above all of the transaction.
func Raise(position string, transaction bool) string {
	if transaction {
		return position[:EpochDigits+LSNDigits] + strings.Repeat("f", LSNDigits)
	}
	return position[:EpochDigits] + strings.Repeat("f", 2*LSNDigits)
}

// IsRaised returns true for a position above all of its epoch.
func IsRaised(position string) bool {
	return len(position) > EpochDigits && position == Raise(position, false)
}
