package connector

import (
	"encoding/json"
	"testing"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"
)

// A type of the kitchen sink, without a modifier.
func plain(oid uint32) kind { return kind{oid: oid, typmod: -1} }
func array(oid uint32) kind { return kind{oid: oid, typmod: -1, array: true} }

// kitchenSink has PostgreSQL's texts of values, and the values that Debezium 3.6.3 sent for the
// texts (the "kitchen sink" of the corpus).
var kitchenSink = []struct {
	kind kind
	text string
	want any
}{
	{plain(pgtype.BoolOID), "t", true},
	{plain(pgtype.BoolOID), "f", false},
	{plain(pgtype.Int2OID), "-32768", int64(-32768)},
	{plain(pgtype.Int8OID), "9007199254740993", int64(9007199254740993)},
	{plain(pgtype.OIDOID), "4294967295", int64(4294967295)},
	{plain(pgtype.Float4OID), "3.3", json.Number("3.3")},
	{plain(pgtype.Float8OID), "1e+308", json.Number("1e+308")},
	{plain(pgtype.Float8OID), "NaN", "NaN"},
	{plain(pgtype.Float8OID), "-Infinity", "-Infinity"},
	{kind{oid: pgtype.BPCharOID, typmod: 10}, "ab    ", "ab    "},
	{plain(pgtype.UUIDOID), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
		"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
	{plain(pgtype.JSONOID), `{"b":1,  "a":[1,2]}`, `{"b":1,  "a":[1,2]}`},
	{plain(pgtype.NumericOID), "123456789012345678901234567890.123450",
		"123456789012345678901234567890.123450"},
	{plain(pgtype.NumericOID), "NaN", "NAN"},
	{plain(pgtype.NumericOID), "-Infinity", "NEGATIVE_INFINITY"},
	{plain(pgtype.TimestamptzOID), "2026-11-22 07:55:47.954888+00", "2026-11-22T07:55:47.954888Z"},
	{plain(pgtype.TimestamptzOID), "2026-11-22 10:00:00+00", "2026-11-22T10:00:00.000000Z"},
	{kind{oid: pgtype.TimestamptzOID, typmod: 0}, "2026-11-22 07:55:48+00", "2026-11-22T07:55:48Z"},
	{kind{oid: pgtype.TimestamptzOID, typmod: 3}, "2026-11-22 07:55:47.12+00",
		"2026-11-22T07:55:47.120Z"},
	{plain(pgtype.TimestamptzOID), "0044-03-15 12:00:00+00 BC", "-0043-03-15T12:00:00.000000Z"},
	{plain(pgtype.TimestamptzOID), "0001-03-15 12:00:00+00 BC", "0000-03-15T12:00:00.000000Z"},
	{plain(pgtype.TimestamptzOID), "294276-12-31 23:59:59+00", "+294276-12-31T23:59:59.000000Z"},
	{plain(pgtype.TimestamptzOID), "infinity", "infinity"},
	{plain(pgtype.TimestampOID), "2026-11-22 07:55:47.954888", int64(1795334147954888)},
	{kind{oid: pgtype.TimestampOID, typmod: 0}, "2026-11-22 07:55:48", int64(1795334148000)},
	{kind{oid: pgtype.TimestampOID, typmod: 3}, "2026-11-22 07:55:47.955", int64(1795334147955)},
	{kind{oid: pgtype.TimestampOID, typmod: 3}, "1969-12-31 23:59:59.999", int64(-1)},
	{kind{oid: pgtype.TimestampOID, typmod: 6}, "2026-11-22 07:55:47.9", int64(1795334147900000)},
	{plain(pgtype.TimestampOID), "1900-01-01 00:00:00.000001", int64(-2208988799999999)},
	{plain(pgtype.TimestampOID), "0044-03-15 12:00:00 BC", int64(-63517780800000000)},
	{plain(pgtype.TimestampOID), "-infinity", int64(-9223372036832400000)},
	{plain(pgtype.DateOID), "2026-11-22", int64(20779)},
	{plain(pgtype.DateOID), "1582-10-04", int64(-141438)},
	{plain(pgtype.DateOID), "infinity", int64(-2147472692)},
	{plain(pgtype.TimeOID), "13:01:02.345678", int64(46862345678)},
	{plain(pgtype.TimeOID), "24:00:00", int64(86400000000)},
	{kind{oid: pgtype.TimeOID, typmod: 3}, "13:01:02.346", int64(46862346)},
	{plain(pgtype.TimetzOID), "13:01:02.5+02:30", "10:31:02.5Z"},
	{plain(pgtype.TimetzOID), "00:00:00.000001-12", "12:00:00.000001Z"},
	{plain(pgtype.IntervalOID), "P1Y2M3DT4H5M6.789S", "P1Y2M3DT4H5M6.789S"},
	{plain(pgtype.IntervalOID), "P-1MT-0.000001S", "P0Y-1M0DT0H0M-0.000001S"},
	{plain(pgtype.IntervalOID), "PT0S", "P0Y0M0DT0H0M0S"},
	{plain(pgtype.IntervalOID), "P1X", "P1X"},
	{plain(pgtype.IntervalOID), "PT1M1H", "PT1M1H"},
	{plain(pgtype.ByteaOID), `\x010203ff`, "AQID/w=="},
	{plain(pgtype.ByteaOID), `\x`, ""},
	{plain(pgtype.Int4rangeOID), "[1,10)", "[1,10)"},
	{array(pgtype.Int4OID), "{1,NULL,-3}", []any{int64(1), nil, int64(-3)}},
	{array(pgtype.TextOID), `{a,NULL,"c,d","\"q\"","NULL","",{}}`,
		[]any{"a", nil, "c,d", `"q"`, "NULL", "", []any{}}},
	{array(pgtype.BoolOID), "{t,f,NULL}", []any{true, false, nil}},
	{array(pgtype.TimestamptzOID), `{"2026-11-22 10:00:00+00",NULL}`,
		[]any{"2026-11-22T10:00:00.000000Z", nil}},
	{array(pgtype.Int4OID), "{{1,2},{3,4}}",
		[]any{[]any{int64(1), int64(2)}, []any{int64(3), int64(4)}}},
	{array(pgtype.Int4OID), "[0:1]={1,2}", []any{int64(1), int64(2)}},
	{array(pgtype.Int4OID), "{}", []any{}},
	{array(pgtype.Int4OID), "{1,2", "{1,2"},
	// Unreadable text stays text.
	{plain(pgtype.Int4OID), "one", "one"},
	{plain(pgtype.DateOID), "2026-13-01", "2026-13-01"},
	{plain(pgtype.Float8OID), "1 ", "1 "},
}

func TestValues(t *testing.T) {
	t.Parallel()
	for _, c := range kitchenSink {
		if diff := cmp.Diff(c.want, c.kind.value(c.text)); diff != "" {
			t.Errorf("%+v of %q (-want +got):\n%s", c.kind, c.text, diff)
		}
	}
}

func TestLiteralDefaults(t *testing.T) {
	t.Parallel()
	money := kind{oid: pgtype.NumericOID, typmod: 12<<16 | 2 + 4}
	text := kind{oid: pgtype.TextOID, typmod: -1}
	for _, c := range []struct {
		kind       kind
		expression string
		want       any
	}{
		{text, "'active'::text", "active"},
		{text, "'it''s'::character varying", "it's"},
		{text, "lower('A'::text)", ""},
		{text, "", ""},
		{money, "0", "0.00"},
		{money, "1.5", "1.50"},
		{money, "'-3'::integer", "-3.00"},
		{kind{oid: pgtype.BoolOID, typmod: -1}, "true", true},
		{kind{oid: pgtype.Int4OID, typmod: -1}, "'-7'::integer", int64(-7)},
		{kind{oid: pgtype.Int4OID, typmod: -1}, "nextval('s'::regclass)", int64(0)},
		{kind{oid: pgtype.DateOID, typmod: -1}, "'2020-02-29'::date", int64(18321)},
		{kind{oid: pgtype.TimestamptzOID, typmod: -1}, "now()", "1970-01-01T00:00:00.000000Z"},
		{kind{oid: pgtype.TimestamptzOID, typmod: 3}, "CURRENT_TIMESTAMP",
			"1970-01-01T00:00:00.000Z"},
	} {
		got := catalogColumn{notNull: true, expression: c.expression}.absent(c.kind)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("default %q (-want +got):\n%s", c.expression, diff)
		}
	}
	if got := (catalogColumn{expression: "7"}).absent(text); got != nil {
		t.Errorf("a nullable column is %v, want null", got)
	}
}

var testSource = debezium.Source{
	Version: version, Connector: "postgresql", Name: "cdc", DB: "lab", Schema: "public", Table: "t",
	LSN: 1,
}

func TestUnavailableIsRecognised(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{
		{oid: pgtype.TextOID}, {oid: pgtype.JSONBOID}, {oid: pgtype.ByteaOID},
		{oid: pgtype.NumericOID},
		{oid: pgtype.TextOID, array: true}, {oid: pgtype.Int4OID, array: true},
		{oid: pgtype.UUIDOID, array: true},
	} {
		row := []debezium.Column{{Name: "v", Value: k.unavailable()}}
		change := debezium.Change{Op: debezium.Update, After: row, Source: testSource}
		value, err := change.AppendValue(nil)
		if err != nil {
			t.Fatal(err)
		}
		event, err := new(debezium.Decoder).Decode(nil, value, nil)
		if err != nil {
			t.Fatal(err)
		}
		if v := event.After.Get("v").Value; !v.Unavailable() {
			t.Errorf("%+v: %s is not recognised", k, v.AppendJSON(nil))
		}
	}
}

// FuzzValue: whatever PostgreSQL's text is, the value can be encoded and the record decoded.
func FuzzValue(f *testing.F) {
	oids := []uint32{
		pgtype.BoolOID, pgtype.Int4OID, pgtype.Float8OID, pgtype.NumericOID, pgtype.DateOID,
		pgtype.TimeOID,
		pgtype.TimetzOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.IntervalOID,
		pgtype.ByteaOID,
		pgtype.TextOID,
	}
	for n, text := range []string{
		"t", "1", "1e5", "NaN", "2026-11-22", "24:00:00", "00:00:00.000001-12",
		"2026-11-22 10:00:00",
		"294276-12-31 23:59:59+00", "P1Y2M3DT4H5M6.789S", `\x00ff`, `{"a\"b",NULL,{}}`,
	} {
		f.Add(uint8(n), int32(-1), n%2 == 0, text)
	}
	f.Fuzz(func(t *testing.T, n uint8, typmod int32, array bool, text string) {
		k := kind{oid: oids[int(n)%len(oids)], typmod: typmod, array: array}
		change := debezium.Change{
			Key: []debezium.Column{{Name: "v", Value: k.value(text)}},
			Op:  debezium.Create, Source: testSource,
			After: []debezium.Column{{Name: "v", Value: k.value(k.scaled(text))}},
		}
		value, err := change.AppendValue(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := new(debezium.Decoder).Decode(change.AppendKey(nil), value, nil); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
	})
}
