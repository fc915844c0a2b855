package debezium

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// Position orders the events of one key, whatever order they arrive in: by commit, then by the
// change's place in its transaction. It is two 64-bit numbers as 32 hexadecimal digits, so that
// texts compare as the numbers do.
type Position [32]byte

func (p Position) String() string { return string(p[:]) }

// Position is where the event stands in the order of commits. source.lsn alone would not do: it goes
// back from one transaction to the next.
//
// The numbers are CommitLSN and source.lsn where the lab's own connector sends the first, else the
// pair in source.sequence. Of that the first is null until the connector has seen a commit, also
// after a snapshot that is taken anew: the change's LSN stands in its place, (LSN, 0), which is after
// all that was committed before its row could be changed. A snapshot's row is (CommitLSN, 0), and
// without one (0, 0): then its Kafka offset alone orders it. Rows of an incremental snapshot have a
// sequence and are ordered by it like streamed ones.
//
// A tombstone, a logical message, and an event without either source of a position, is an error.
func (e *Event) Position() (Position, error) {
	switch {
	case e.Tombstone:
		return Position{}, errors.New("a tombstone has no position")
	case e.Op == Message:
		return Position{}, errors.New("a logical message has no position")
	case e.CommitLSN != 0 && e.Op == Read:
		return pair(e.CommitLSN, 0), nil
	case e.CommitLSN != 0:
		return pair(e.CommitLSN, e.Source.LSN), nil
	case e.Op == Read && e.Source.Snapshot != "incremental":
		return pair(0, 0), nil
	case e.Source.Sequence == [2]uint64{}:
		return Position{}, fmt.Errorf("the event has no position: neither header %s nor source.sequence",
			HeaderCommitLSN)
	}
	if e.Source.Sequence[0] == 0 {
		return pair(e.Source.Sequence[1], 0), nil
	}
	return pair(e.Source.Sequence[0], e.Source.Sequence[1]), nil
}

func pair(high, low uint64) (p Position) {
	var numbers [16]byte
	binary.BigEndian.PutUint64(numbers[:8], high)
	binary.BigEndian.PutUint64(numbers[8:], low)
	hex.Encode(p[:], numbers[:])
	return p
}
