package debezium

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

func TestPosition(t *testing.T) {
	t.Parallel()
	sequence := Source{Sequence: [2]uint64{0x10, 0x20}, LSN: 0x20}
	incremental := Source{Sequence: [2]uint64{0x10, 0x20}, Snapshot: "incremental"}
	for name, c := range map[string]struct {
		event Event
		want  string
	}{
		"sequence": {Event{Op: Update, Source: sequence},
			"00000000000000100000000000000020"},
		"first of a stream": {Event{Op: Update, Source: Source{Sequence: [2]uint64{0, 7}}},
			"00000000000000070000000000000000"},
		"commit LSN": {Event{Op: Delete, Source: sequence, CommitLSN: 0xabc},
			"0000000000000abc0000000000000020"},
		"largest": {Event{Op: Create, Source: Source{LSN: 1<<64 - 1},
			CommitLSN: 1<<64 - 1}, "ffffffffffffffffffffffffffffffff"},
		"snapshot": {Event{Op: Read, Source: sequence}, "00000000000000000000000000000000"},
		"snapshot of ours": {Event{Op: Read, Source: sequence, CommitLSN: 0x30},
			"00000000000000300000000000000000"},
		"incremental": {Event{Op: Read, Source: incremental},
			"00000000000000100000000000000000"},
		"incremental before a commit": {Event{Op: Read, Source: Source{Sequence: [2]uint64{0, 7},
			Snapshot: "incremental"}}, "00000000000000000000000000000000"},
		"Debezium 1.6": {Event{Op: Update, Source: Source{Version: "1.6.1.Final",
			Sequence: [2]uint64{0x10, 0x10}, LSN: 0x8}}, "00000000000000100000000000000008"},
		"Debezium 1.6, first": {Event{Op: Update, Source: Source{Version: "1.5.0.Final",
			Sequence: [2]uint64{0, 0x10}, LSN: 0x8}}, "00000000000000080000000000000000"},
		"Debezium 1.4": {Event{Op: Update, Source: Source{Version: "1.4.2.Final",
			Sequence: [2]uint64{0x10, 0x10}, LSN: 0x8}}, ""},
		"Debezium 0.10": {Event{Op: Read, Source: Source{Version: "0.10.0.Final", LSN: 8}}, ""},
		"Debezium 1.10": {Event{Op: Update, Source: Source{Version: "1.10.0-x",
			Sequence: [2]uint64{0x10, 0x10}, LSN: 0x8}}, "00000000000000100000000000000008"},
		"Debezium 10": {Event{Op: Update, Source: Source{Version: "10.0.0",
			Sequence: [2]uint64{0x10, 0x10}, LSN: 0x8}}, "00000000000000100000000000000008"},
		"no sequence":     {Event{Op: Update, Source: Source{LSN: 5}}, ""},
		"logical message": {Event{Op: Message, Source: sequence}, ""},
		"tombstone":       {Event{Tombstone: true, CommitLSN: 5}, ""},
	} {
		position, err := c.event.Position()
		got := position.String()
		if err != nil {
			got = ""
		}
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestPositionAgainstLSN is a history captured from PostgreSQL: an insert has a lower LSN than the
// delete of the row before, and the last event must have the highest position.
func TestPositionAgainstLSN(t *testing.T) {
	t.Parallel()
	var last Position
	var lsn uint64
	back := false
	for _, r := range corpus.Find(t, "schemas-off/interleaved_same_key").Records(t) {
		e, err := decodeRecord(r.Key, r.Value, nil)
		if err != nil {
			t.Fatal(err)
		}
		if e.Tombstone {
			continue
		}
		position, err := e.Position()
		if err != nil || bytes.Compare(position[:], last[:]) <= 0 {
			t.Errorf("%s of transaction %d: position %s after %s, %v", e.Op, e.Source.TxID,
				position, last, err)
		}
		back = back || e.Source.LSN < lsn
		last, lsn = position, e.Source.LSN
	}
	if !back {
		t.Error("no LSN goes back: this case proves nothing")
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	var numbers []string
	for _, b := range []byte(Unavailable) {
		numbers = append(numbers, strconv.Itoa(int(b)))
	}
	quoted := strconv.Quote(Unavailable)
	array := func(members ...string) string { return "[" + strings.Join(members, ",") + "]" }
	for name, text := range map[string]string{
		"text":      quoted,
		"escaped":   strings.Replace(quoted, "v", `\u0076`, 1),
		"bytea":     strconv.Quote(base64.StdEncoding.EncodeToString([]byte(Unavailable))),
		"bytea url": strconv.Quote(base64.URLEncoding.EncodeToString([]byte(Unavailable))),
		"text[]":    array(quoted),
		"spaces":    "[ " + quoted + " ]",
		"uuid[]":    array(`"b68a35a7-17ad-35b3-af2a-ae46edb4545a"`),
		"bytea[]":   array(strconv.Quote(base64.StdEncoding.EncodeToString([]byte(Unavailable)))),
		"int[]":     array(numbers...), // also of bigint[] and date[]
		"hstore":    `"{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}"`,
		"map":       "{" + quoted + ":" + quoted + "}",
	} {
		if v, err := parseValue(text); err != nil || !v.Unavailable() {
			t.Errorf("%s: %s is not recognised, %v", name, text, err)
		}
	}
	if (Value{}).Unavailable() {
		t.Error("nothing is taken for the placeholder")
	}
	for _, text := range []string{
		"null", `""`, strconv.Quote("x" + Unavailable), "[]", array(quoted, `"b"`),
		array(numbers[1:]...), "{}",
		"true", "[null]", "[{}]", "1", `{"` + Unavailable + `":"x"}`,
		array(append([]string{"1"}, numbers[1:]...)...),
		array(append(numbers[:len(numbers):len(numbers)], "1")...),
		`"b68a35a7-17ad-35b3-af2a-ae46edb4545a"`,
		`{"a":1,` + quoted + ":" + quoted + "}",
	} {
		if v, err := parseValue(text); err != nil || v.Unavailable() {
			t.Errorf("%s is taken for the placeholder, %v", text, err)
		}
	}
}

// TestUnavailableInCorpus: every unchanged large column of a captured update.
func TestUnavailableInCorpus(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, c *corpus.Case, records []corpus.Record) {
		if c.Case != "toast_default" || c.Config == "flat-default" {
			t.Skip("no large values")
		}
		event, err := decodeRecord(records[2].Key, records[2].Value, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range event.After {
			if want := c.Name != "id" && c.Name != "n"; c.Value.Unavailable() != want {
				t.Errorf("column %s, %.80s: unavailable is %t", c.Name, c.Value.AppendJSON(nil),
					!want)
			}
		}
	})
}
