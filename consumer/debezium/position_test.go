package debezium

import (
	"encoding/base64"
	"encoding/json"
	"testing"
)

func TestPosition(t *testing.T) {
	t.Parallel()
	sequence := Source{Sequence: [2]uint64{0x10, 0x20}, LSN: 0x20}
	incremental := Source{Sequence: [2]uint64{0x10, 0x20}, Snapshot: "incremental"}
	for name, c := range map[string]struct {
		event Event
		want  string
	}{
		"sequence":            {Event{Op: Update, Source: sequence}, "00000000000000100000000000000020"},
		"first after restart": {Event{Op: Update, Source: Source{Sequence: [2]uint64{0, 7}}}, "00000000000000000000000000000007"},
		"commit LSN":          {Event{Op: Delete, Source: sequence, CommitLSN: 0xabc}, "0000000000000abc0000000000000020"},
		"largest":             {Event{Op: Create, Source: Source{LSN: 1<<64 - 1}, CommitLSN: 1<<64 - 1}, "ffffffffffffffffffffffffffffffff"},
		"snapshot":            {Event{Op: Read, Source: sequence}, "00000000000000000000000000000000"},
		"snapshot of ours":    {Event{Op: Read, Source: sequence, CommitLSN: 0x30}, "00000000000000300000000000000000"},
		"incremental":         {Event{Op: Read, Source: incremental}, "00000000000000100000000000000020"},
		"no sequence":         {Event{Op: Update, Source: Source{LSN: 5}}, ""},
		"tombstone":           {Event{Tombstone: true, CommitLSN: 5}, ""},
	} {
		got, err := c.event.Position()
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestPositionAgainstLSN is the history in which an insert has a lower LSN than the delete of the
// row before it: captured from PostgreSQL, the last event must have the highest position.
func TestPositionAgainstLSN(t *testing.T) {
	t.Parallel()
	for _, c := range corpusCases(t, corpusDir) {
		if c.name() != "schemas-off/interleaved_same_key" {
			continue
		}
		var last string
		var lsn uint64
		back := false
		for _, r := range corpusRecords(t, corpusDir, c) {
			e, err := Decode(r.Key, r.Value, nil)
			if err != nil {
				t.Fatal(err)
			}
			if e.Tombstone {
				continue
			}
			position, err := e.Position()
			if err != nil || position <= last {
				t.Errorf("%s of transaction %d: position %s after %s, %v", e.Op, e.Source.TxID, position, last, err)
			}
			back = back || e.Source.LSN < lsn
			last, lsn = position, e.Source.LSN
		}
		if !back {
			t.Error("no LSN goes back: this case proves nothing")
		}
		return
	}
	t.Error("the case is not in the corpus")
}

func TestIsUnavailable(t *testing.T) {
	t.Parallel()
	var numbers []any
	for _, b := range []byte(Unavailable) {
		numbers = append(numbers, json.Number(json.Number([]byte{'0' + b/100, '0' + b/10%10, '0' + b%10})))
	}
	for i, n := range numbers { // JSON has no leading zeros
		if text := n.(json.Number); text[0] == '0' {
			numbers[i] = text[1:]
		}
	}
	for name, v := range map[string]any{
		"text":      Unavailable,
		"bytea":     base64.StdEncoding.EncodeToString([]byte(Unavailable)),
		"bytea url": base64.URLEncoding.EncodeToString([]byte(Unavailable)),
		"text[]":    []any{Unavailable},
		"uuid[]":    []any{"b68a35a7-17ad-35b3-af2a-ae46edb4545a"},
		"int[]":     numbers,
		"hstore":    `{"__debezium_unavailable_value":"__debezium_unavailable_value"}`,
		"map":       map[string]any{Unavailable: Unavailable},
	} {
		if !IsUnavailable(v) {
			t.Errorf("%s: %v is not recognised", name, v)
		}
	}
	for _, v := range []any{
		nil, "", "x" + Unavailable, []any{}, []any{Unavailable, "b"}, numbers[1:], map[string]any{}, true,
		[]any{nil}, []any{map[string]any{}}, json.Number("1"), map[string]any{Unavailable: "x"},
		append([]any{json.Number("1")}, numbers[1:]...), "b68a35a7-17ad-35b3-af2a-ae46edb4545a",
	} {
		if IsUnavailable(v) {
			t.Errorf("%v is taken for the placeholder", v)
		}
	}
}

// TestUnavailableInCorpus: every unchanged large column of a captured update.
func TestUnavailableInCorpus(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, c corpusCase, records []corpusRecord) {
		if c.Case != "toast_default" || c.Config == "flat-default" {
			t.Skip("no large values")
		}
		event, err := Decode(records[2].Key, records[2].Value, nil)
		if err != nil {
			t.Fatal(err)
		}
		for column, v := range event.After {
			if want := column != "id" && column != "n"; IsUnavailable(v) != want {
				t.Errorf("column %s, %v: unavailable is %t", column, v, !want)
			}
		}
	})
}
