package debezium

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

// FuzzDecode: a bad record is an error and never more; an accepted record is whole, and equal to
// the reading of encoding/json.
func FuzzDecode(f *testing.F) {
	seen := map[string]bool{}
	for _, c := range corpus.Own(f) {
		for _, r := range c.Records(f) {
			e, _ := decodeRecord(r.Key, r.Value, nil)
			if kind := c.Config + r.Topic + string(e.Op); !seen[kind] && len(r.Value) < 20_000 {
				seen[kind] = true
				f.Add(r.Key, r.Value, []byte("123"))
			}
		}
	}
	f.Add([]byte(`{"schema":1,"payload":2}`), []byte(`{"schema":{},"payload":{"op":"c"}}`),
		[]byte("-1"))
	for _, name := range []string{"schemas-off/pk_change_full", "schemas-on/pk_change_full"} {
		for n := range 5 {
			if r := record(f, name, n); len(r.Headers) > 0 {
				f.Add(r.Headers[0].Value, r.Value, []byte(`{"id":1}`))
			}
		}
	}
	on, off := record(f, "schemas-on/kitchen_sink", 0), record(f, "schemas-off/kitchen_sink", 0)
	f.Add(off.Key, off.Value, []byte("{\"id\":NaN,\"at\":2026-11-22,\"t\":\"a\nb\"}"))
	f.Fuzz(func(t *testing.T, key, value, header []byte) {
		headers := []Header{{HeaderOldKey, header}, {HeaderNewKey, key}}
		var d Decoder
		if len(value)%2 == 0 { // over the memory of other rows
			for _, r := range []corpus.Record{on, off} {
				if _, err := d.Decode(r.Key, r.Value, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		first := outcome(t, &d, key, value, headers)
		if diff := cmp.Diff(first, outcome(t, &d, key, value, headers)); diff != "" {
			t.Fatalf("the second time the record is another (-first +second):\n%s", diff)
		}
		e, err := d.Decode(key, value, headers)
		if err != nil {
			return
		}
		if e.OtherKeyUnread != nil {
			header = nil
		} else if !json.Valid(header) {
			header = mendConnectJSON(header)
		}
		for _, text := range [][]byte{key, value, header} {
			if len(text) > 0 && !json.Valid(text) {
				t.Fatalf("%q is no JSON and accepted", text)
			}
		}
		compareWithMaps(t, "key", key, e.Key)
		compareWithMaps(t, "header", header, e.OldKey)
		compareWithMaps(t, "header", key, e.NewKey)
		if e.Tombstone != isNull(value) {
			t.Fatalf("tombstone is %t for %q", e.Tombstone, value)
		}
		if position, err := e.Position(); err == nil &&
			bytes.Trim(position[:], "0123456789abcdef") != nil {
			t.Fatalf("position %q", position)
		}
		if e.Tombstone {
			return
		}
		if (e.Op == Create || e.Op == Update || e.Op == Read) && e.After == nil {
			t.Fatalf("%q has no row", e.Op)
		}
		compareEnvelope(t, value, e)
	})
}

// isNull is true for no value, and for a null spelled out, beside a schema or not.
func isNull(value []byte) bool {
	if text := bytes.TrimSpace(value); len(text) == 0 || string(text) == "null" {
		return len(text) > 0 || len(value) == 0
	}
	var all map[string]any
	if json.Unmarshal(value, &all) != nil || len(all) != 2 || all["payload"] != nil {
		return false
	}
	schema, there := all["schema"]
	_, isBlock := schema.(map[string]any)
	_, hasPayload := all["payload"]
	return there && hasPayload && (schema == nil || isBlock)
}

// compareEnvelope compares an accepted event with the reading of encoding/json.
func compareEnvelope(t *testing.T, value []byte, e *Event) {
	envelope := mapsOf(t, value)
	if inner, ok := envelope["payload"].(map[string]any); ok && envelope["op"] == nil &&
		envelope["source"] == nil {
		envelope = inner
	}
	source := envelope["source"].(map[string]any)
	table, _ := source["table"].(string)
	for place, pair := range map[string][2]any{
		"before": {envelope["before"], plainRow(e.Before)},
		"after":  {envelope["after"], plainRow(e.After)},
		"op":     {envelope["op"], string(e.Op)}, "table": {table, e.Source.Table},
	} {
		if pair[0] == nil {
			pair[0] = map[string]any(nil)
		}
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", place, diff)
		}
	}
}

// outcome is a Decoder's whole verdict on a record, free of the Decoder's memory.
func outcome(t *testing.T, d *Decoder, key, value []byte, headers []Header) []any {
	e, err := d.Decode(key, value, headers)
	problem := ""
	if err != nil {
		var format *FormatError
		if !errors.As(err, &format) || format.Field == "" || format.Reason == "" {
			t.Fatalf("the error is no whole FormatError: %#v", err)
		}
		problem = err.Error()
	}
	all := []any{problem, e.Tombstone, e.Op, e.Source, e.TsUs, e.CommitLSN, e.Schema}
	for _, row := range []Row{e.Key, e.OldKey, e.NewKey, e.Before, e.After} {
		all = append(all, plainRow(row), rowNames(row))
		for _, c := range row {
			all = append(all, c.Type, c.Value.Unavailable())
		}
	}
	return all
}

// compareWithMaps compares a key, wrapped or not, with the reading of encoding/json.
func compareWithMaps(t *testing.T, place string, text []byte, got Row) {
	if len(text) == 0 {
		if got != nil {
			t.Fatalf("%s: nothing became %v", place, rowNames(got))
		}
		return
	}
	want := mapsOf(t, text)
	schema, hasSchema := want["schema"]
	block, _ := schema.(map[string]any)
	_, typed := block["type"].(string)
	if payload, hasPayload := want["payload"]; hasSchema && hasPayload && len(want) == 2 &&
		(schema == nil || typed) {
		want, _ = payload.(map[string]any)
	}
	if diff := cmp.Diff(want, plainRow(got)); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", place, diff)
	}
}
