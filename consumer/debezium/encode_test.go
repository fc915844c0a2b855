package debezium

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

// nanoseconds are rounded to microseconds, because an Event keeps only microseconds.
var nanoseconds = regexp.MustCompile(`("ts_ns":\d+)\d\d\d\b`)

// TestEncodeCorpus: a captured record, decoded and encoded again, has the same bytes.
func TestEncodeCorpus(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, c *corpus.Case, records []corpus.Record) {
		if c.Config == "flat-default" || c.Config == "tx-metadata" ||
			strings.Contains(c.Config, "heartbeat") {
			t.Skip("holds more than plain envelopes")
		}
		for n, r := range records {
			event, err := decodeRecord(r.Key, r.Value, nil)
			if err != nil {
				t.Fatal(err)
			}
			if event.Tombstone || event.Op == Message ||
				bytes.Contains(r.Value, []byte(`"schema":{"type"`)) {
				continue
			}
			change := changeOf(event)
			value, err := change.AppendValue(nil)
			if err != nil {
				t.Fatal(err)
			}
			want := nanoseconds.ReplaceAll(r.Value, []byte("${1}000"))
			if diff := cmp.Diff(string(want), string(value)); diff != "" {
				t.Errorf("value of record %d (-want +got):\n%s", n, diff)
			}
			if diff := cmp.Diff(string(r.Key), string(change.AppendKey(nil))); diff != "" {
				t.Errorf("key of record %d (-want +got):\n%s", n, diff)
			}
		}
	})
}

// changeOf is the Change behind the event.
func changeOf(e Event) Change {
	return Change{Key: columns(e.Key), Before: columns(e.Before), After: columns(e.After), Op: e.Op,
		Source: e.Source, TsUs: e.TsUs}
}

func columns(row Row) []Column {
	if row == nil {
		return nil
	}
	cs := []Column{}
	for _, c := range row {
		cs = append(cs, Column{c.Name, columnValue(c.Value)})
	}
	return cs
}

// columnValue keeps the order of a structure's members.
func columnValue(v Value) any {
	if v.Kind() != Object {
		return plain(v)
	}
	cs := []Column{}
	for name, member := range v.Members() {
		cs = append(cs, Column{string(name), columnValue(member)})
	}
	return cs
}

// TestRoundTrip: whatever is encoded decodes to the same.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	scalar := rapid.OneOf(
		rapid.Just[any](nil),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.Int64(), func(n int64) any { return n }),
		rapid.Map(rapid.Float64(),
			func(f float64) any { return json.Number(fmt.Sprintf("%g", f)) }),
		rapid.Map(rapid.String(), func(s string) any { return strings.ToValidUTF8(s, "") }),
	)
	value := rapid.OneOf(scalar,
		rapid.Map(rapid.SliceOfN(scalar, 0, 3), func(s []any) any { return s }))
	name := rapid.StringMatching(`[a-z_"\\é]{1,8}`)
	row := rapid.Custom(func(t *rapid.T) []Column {
		cs := []Column{}
		for _, n := range rapid.SliceOfDistinct(name, rapid.ID[string]).Draw(t, "columns") {
			cs = append(cs, Column{n, value.Draw(t, n)})
		}
		return cs
	})
	lsn := rapid.Uint64Range(0, 1<<63-1)
	micros := rapid.Int64Range(-1<<50, 1<<52)
	rapid.Check(t, func(t *rapid.T) {
		op := rapid.SampledFrom([]Op{Create, Update, Delete, Read}).Draw(t, "op")
		c := Change{
			Key: row.Draw(t, "key"), Before: row.Draw(t, "before"), After: row.Draw(t, "after"),
			Op:   op,
			TsUs: micros.Draw(t, "ts"), Source: Source{
				Version: "v", Connector: "postgresql", Name: name.Draw(t, "prefix"), DB: "d",
				Schema: "public",
				Table:  name.Draw(t, "table"), TsUs: micros.Draw(t, "committed"),
				LSN:      lsn.Draw(t, "lsn"),
				Snapshot: rapid.SampledFrom([]string{"", "true", "last"}).Draw(t, "snapshot"),
				Sequence: [2]uint64{lsn.Draw(t, "last commit"), lsn.Draw(t, "lsn again")},
				TxID:     rapid.Uint32().Draw(t, "xid"),
			},
		}
		if op == Delete {
			c.After = nil
		}
		encoded, err := c.AppendValue([]byte("kept"))
		if err != nil || !bytes.HasPrefix(encoded, []byte("kept{")) {
			t.Fatalf("%s: %v", encoded, err)
		}
		want := []any{decoded(c.Key), decoded(c.Before), decoded(c.After), op, c.Source, c.TsUs,
			uint64(9)}
		if len(c.Key) == 0 {
			want[0] = map[string]any(nil)
		}
		headers := []Header{{HeaderCommitLSN, []byte("9")}}
		e, err := decodeRecord(c.AppendKey(nil), encoded[4:], headers)
		if err != nil {
			t.Fatal(err)
		}
		got := []any{plainRow(e.Key), plainRow(e.Before), plainRow(e.After), e.Op, e.Source, e.TsUs,
			e.CommitLSN}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// decoded is the row decoded from the columns.
func decoded(cs []Column) map[string]any {
	if cs == nil {
		return nil
	}
	var number func(v any) any
	number = func(v any) any {
		switch v := v.(type) {
		case int64:
			return json.Number(fmt.Sprint(v))
		case []any:
			all := make([]any, len(v))
			for i := range v {
				all[i] = number(v[i])
			}
			return all
		}
		return v
	}
	row := map[string]any{}
	for _, c := range cs {
		row[c.Name] = number(c.Value)
	}
	return row
}

func TestEncodeErrors(t *testing.T) {
	t.Parallel()
	for _, v := range []any{1.5, int32(1), struct{}{}, json.Number("NaN"), json.Number(""),
		json.Number(`"a"`),
		json.Number("1 "), json.Number("01"), json.Number("true"), []any{1.5}, map[string]any{}} {
		bad := []Column{{"good", "x"}, {"bad", v}}
		for name, c := range map[string]Change{
			"key": {Key: bad}, "before": {Before: bad}, "after": {After: bad},
		} {
			got, err := c.AppendValue([]byte("kept"))
			if err == nil || !strings.Contains(err.Error(), "column bad") || string(got) != "kept" {
				t.Errorf("%s with %v: %q, error %v", name, v, got, err)
			}
		}
		c := Change{Key: bad}
		if got := c.AppendKey(nil); !json.Valid(got) {
			t.Errorf("key with %v: %q", v, got)
		}
	}
	if got := (&Change{}).AppendKey(nil); got != nil {
		t.Errorf("no key became %q", got)
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\"b\\c/<>&":        `"a\"b\\c/<>&"`,
		"\b\t\n\f\r\x00\x1f": `"\b\t\n\f\r\u0000\u001F"`,
		"é€😀\u2028\x7f":      "\"é€\\uD83D\\uDE00\u2028\x7f\"",
		"\xff":               "\"\ufffd\"",
	} {
		if got := string(appendString(nil, in)); got != want {
			t.Errorf("%q became %s, want %s", in, got, want)
		}
	}
}

func BenchmarkAppendValue(b *testing.B) {
	r := record(b, "schemas-off/insert", 0)
	e, err := decodeRecord(r.Key, r.Value, nil)
	if err != nil {
		b.Fatal(err)
	}
	c := Change{Op: e.Op, Source: e.Source, TsUs: e.TsUs}
	c.After = columns(e.After)
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		if buffer, err = c.AppendValue(buffer[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
