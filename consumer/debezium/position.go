package debezium

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Position orders the events of a key by commit, then by the change's place in the transaction,
// whatever the order of arrival. A Position is two 64-bit numbers as 32 hexadecimal digits, so that
// texts compare as the numbers do. Example: (1, 255) is 000000000000000100000000000000ff.
type Position [32]byte

func (p Position) String() string { return string(p[:]) }

// placing is a row of the table of places: where an event of a kind says its place in the log.
type placing struct {
	kind          string
	first, second func(*Event) uint64
}

// placings says for each kind of event which numbers are compared. source.lsn alone would not do,
// because source.lsn goes back from one transaction to the next. Source: SourceInfo.java,
// PostgresOffsetContext.java and the incremental snapshots of Debezium 1.5.0 to 3.6.1.
//
//	kind         version   sequence[0]        sequence[1]        lsn     compared
//	streamed     1.5, 1.6  last commit        last commit        change  sequence[0], lsn
//	             from 1.7  last commit        change             change  sequence[0], lsn
//	first        1.5, 1.6  null, or no pair   start of stream    change  lsn, 0
//	             from 1.7  null               change             change  lsn, 0
//	snapshot     all       any                snapshot           same    the Kafka offset
//	incremental  1.6       last commit        last commit        any     sequence[0], 0
//	             from 1.7  last commit        emission           null    sequence[0], 0
//	             all       null               any                any     the Kafka offset
//	message      from 1.8  changes no row
//	ours         all       commit LSN in a header                change  header, lsn
//
// Streamed includes truncates; first is before the connector has seen a commit, also after a
// snapshot taken anew. Rows of an incremental snapshot come when the window closes: at the close of
// the signal table's window, after a commit, or in the middle of a transaction (read.only=true).
// There sequence[1] is the place of the emission and not of the row: an older open transaction that
// commits next has lower LSNs, and is newer. So the row comes before all events that share the
// row's last commit.
//
// Until 1.9.3 a connector restarted within a transaction goes on with a change's LSN in place of
// the last commit's (DBZ-3942): events that look older by this number raise the alarm of a log that
// began anew. Before 1.5 there is no sequence, and the event is refused.
var placings = [...]placing{
	streamed:    {"streamed", (*Event).lastCommit, (*Event).changeLSN},
	first:       {"first", (*Event).changeLSN, nowhere},
	snapshotRow: {"snapshot", nowhere, nowhere},
	incremental: {"incremental", (*Event).lastCommit, nowhere},
	ours:        {"ours", (*Event).commitHeader, (*Event).changeLSN},
	oursRead:    {"ours, snapshot", (*Event).commitHeader, nowhere},
}

// eventKind is a kind of event in the table of places.
type eventKind int

const (
	streamed eventKind = iota
	first
	snapshotRow
	incremental
	ours
	oursRead
)

func nowhere(*Event) uint64 { return 0 }

func (e *Event) lastCommit() uint64 { return e.Source.Sequence[0] }

func (e *Event) commitHeader() uint64 { return e.CommitLSN }

// changeLSN is the place of the change: source.lsn, because in Debezium 1.5 and 1.6 the second
// number of the sequence is the last commit's.
func (e *Event) changeLSN() uint64 { return cmp.Or(e.Source.LSN, e.Source.Sequence[1]) }

// LeastVersion is the oldest Debezium with positions.
const LeastVersion = "1.5"

// kind returns the event's kind in the table of places. The error says why the event has no place.
func (e *Event) kind() (eventKind, error) {
	switch {
	case e.Tombstone:
		return 0, errors.New("a tombstone has no position")
	case e.Op == Message:
		return 0, errors.New("a logical message has no position")
	case e.CommitLSN != 0 && e.Op == Read:
		return oursRead, nil
	case e.CommitLSN != 0:
		return ours, nil
	case isBefore15(e.Source.Version):
		return 0, fmt.Errorf("source.version %.40s has no position: Debezium sends source.sequence"+
			" from %s on; upgrade the connector", e.Source.Version, LeastVersion)
	case e.Op == Read && e.Source.Snapshot == SnapshotIncremental:
		return incremental, nil
	case e.Op == Read:
		return snapshotRow, nil
	case e.Source.Sequence == [2]uint64{}:
		return 0, fmt.Errorf(
			"the event has no position: neither header %s nor source.sequence", HeaderCommitLSN)
	case e.Source.Sequence[0] == 0:
		return first, nil
	}
	return streamed, nil
}

// needsSequence is true if the event's place is in source.sequence.
func (e *Event) needsSequence() bool {
	return e.CommitLSN == 0 && e.Op != Message &&
		(e.Op != Read || e.Source.Snapshot == SnapshotIncremental)
}

// isBefore15 is true for the version of a Debezium before 1.5; false for a text of another form.
func isBefore15(version string) bool {
	if len(version) < 2 || version[0] != '0' && version[0] != '1' || version[1] != '.' {
		return false
	}
	rest := version[2:]
	if end := strings.IndexAny(rest, ".-"); end >= 0 {
		rest = rest[:end]
	}
	n, err := strconv.Atoi(rest)
	return err == nil && (version[0] == '0' || n < 5)
}

// Position is where the event stands in the order of commits, by the table of places. A Position of
// zeros is a snapshot's row, which the Kafka offset alone orders.
//
// A tombstone, a logical message, and an event without either source of a position, is an error.
func (e *Event) Position() (Position, error) {
	kind, err := e.kind()
	if err != nil {
		return Position{}, err
	}
	place := placings[kind]
	return newPosition(place.first(e), place.second(e)), nil
}

func newPosition(high, low uint64) (p Position) {
	var numbers [16]byte
	binary.BigEndian.PutUint64(numbers[:8], high)
	binary.BigEndian.PutUint64(numbers[8:], low)
	hex.Encode(p[:], numbers[:])
	return p
}
