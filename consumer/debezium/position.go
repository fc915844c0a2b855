package debezium

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Position orders the events of one key, whatever order they arrive in: by commit, then by the
// change's place in its transaction. It is two 64-bit numbers as 32 hexadecimal digits, so that
// texts compare as the numbers do. source.lsn alone would not do: it goes back from one
// transaction to the next.
//
// The numbers are CommitLSN and source.lsn where the lab's own connector sends the first, else the
// pair in source.sequence. A snapshot's row is (CommitLSN, 0), and without one (0, 0): then its
// Kafka offset alone orders it. Rows of an incremental snapshot have a sequence and are ordered by
// it like streamed ones.
//
// A tombstone, and an event without either source of a position, is an error.
func (e Event) Position() (string, error) {
	switch {
	case e.Tombstone:
		return "", errors.New("a tombstone has no position")
	case e.CommitLSN != 0 && e.Op == Read:
		return pair(e.CommitLSN, 0), nil
	case e.CommitLSN != 0:
		return pair(e.CommitLSN, e.Source.LSN), nil
	case e.Op == Read && e.Source.Snapshot != "incremental":
		return pair(0, 0), nil
	case e.Source.Sequence == [2]uint64{}:
		return "", fmt.Errorf("the event has no position: neither header %s nor source.sequence",
			HeaderCommitLSN)
	}
	return pair(e.Source.Sequence[0], e.Source.Sequence[1]), nil
}

func pair(high, low uint64) string { return fmt.Sprintf("%016x%016x", high, low) }

// What the placeholder becomes in columns that are not text: PostgresValueConverter and
// UnchangedToastedPlaceholder of Debezium.
const (
	unavailableBase64 = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
	unavailableUUID   = "b68a35a7-17ad-35b3-af2a-ae46edb4545a" // in uuid[] only
	unavailableHstore = `{"` + Unavailable + `":"` + Unavailable + `"}`
)

// IsUnavailable says whether a column's value is the placeholder for an unchanged TOASTed value, in
// any of the shapes it takes: the text itself, its base64 (bytea), arrays of one of it or of its
// UUID, an array of its bytes as numbers (int[]), an hstore of it as an object or a text.
func IsUnavailable(v any) bool {
	switch v := v.(type) {
	case string:
		return v == Unavailable || v == unavailableBase64 || v == unavailableHstore
	case []any:
		if len(v) == 1 {
			return v[0] == Unavailable || v[0] == unavailableBase64 || v[0] == unavailableUUID
		}
		return isUnavailableNumbers(v)
	case map[string]any:
		return len(v) == 1 && v[Unavailable] == Unavailable
	}
	return false
}

func isUnavailableNumbers(v []any) bool {
	if len(v) != len(Unavailable) {
		return false
	}
	for i, n := range v {
		if n != json.Number(strconv.Itoa(int(Unavailable[i]))) {
			return false
		}
	}
	return true
}
