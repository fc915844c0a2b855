package entity

import (
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestPostgresText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind     Kind
		in, want string
	}{
		{UUID, strings.ToUpper("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
			"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{Text, " a ", " a "},
		{Bool, "t", "true"}, {Bool, "true", "true"}, {Bool, "f", "false"}, {Bool, "false", "false"},
		{Int, "-5", "-5"}, {Int, "9223372036854775807", "9223372036854775807"},
		{Decimal, "1.50", "1.5"}, {Decimal, "0.00", "0"}, {Decimal, "-10.00", "-10"},
		{Decimal, "100", "100"},
		{Decimal, "NaN", "NaN"}, {Decimal, "Infinity", "Infinity"},
		{Decimal, "-Infinity", "-Infinity"},
		{Decimal, strings.Repeat("9", 100) + ".10", strings.Repeat("9", 100) + ".1"},
		{Timestamp, "2026-11-22 10:00:01.123456+00", "2026-11-22T10:00:01.123456Z"},
		{Timestamp, "2026-11-22 10:00:01+00", "2026-11-22T10:00:01.000000Z"},
		{Timestamp, "2026-11-22 10:00:01.1+02", "2026-11-22T08:00:01.100000Z"},
		{Timestamp, "2026-11-22 10:00:01.1-08", "2026-11-22T18:00:01.100000Z"},
		{Timestamp, "2026-11-22 10:00:01+05:30", "2026-11-22T04:30:01.000000Z"},
		{Timestamp, "2026-11-22 10:00:01-03:30", "2026-11-22T13:30:01.000000Z"},
		{Timestamp, "1880-01-01 00:53:28+00:53:28", "1880-01-01T00:00:00.000000Z"},
		{Timestamp, "0001-01-01 00:00:00+00", "0001-01-01T00:00:00.000000Z"},
		{Timestamp, "2026-11-22 10:00:00", "2026-11-22T10:00:00.000000Z"},
		{Timestamp, "infinity", "infinity"}, {Timestamp, "-infinity", "-infinity"},
		{Timestamp, "0044-03-15 12:00:00.50+00 BC", "-0043-03-15T12:00:00.5Z"},
		{Timestamp, "294276-12-31 23:59:59+00", "+294276-12-31T23:59:59Z"},
		{Date, "2026-11-22", "2026-11-22"}, {Date, "0044-03-15 BC", "-0043-03-15"},
		{Date, "-infinity", "-infinity"},
		{Date, "10000-01-01", "+10000-01-01"},
		{Time, "13:01:02.345678", "13:01:02.345678"}, {Time, "24:00:00", "24:00:00"},
		{Time, "13:01:02.5+02:30", "10:31:02.5Z"}, {Time, "01:00:00+02", "23:00:00Z"},
		{Time, "23:00:00-02", "01:00:00Z"},
		{Double, "1e+308", "1e+308"}, {Double, "3.3", "3.3"}, {Double, "NaN", "NaN"},
		{Double, "-Infinity", "-Infinity"},
		{Interval, "1 year 2 mons 3 days 04:05:06.789", "37091106789000"},
		{Interval, "-1 mons -00:00:00.000001", "-2629800000001"},
		{Interval, "00:00:00", "0"}, {Interval, "1 mon -2 days", "2457000000000"},
		{JSON, `{"a": 1}`, `{"a": 1}`}, {Bytes, `\x01FF`, `\x01ff`}, {Bits, "0101", "0101"},
		{Any, "2.50", "2.5"}, {Any, "x", "x"}, {Any, "2026-11-22", "2026-11-22T00:00:00.000000Z"},
		{Array, "{}", "[]"}, {Array, `{1,NULL,-3.0}`, `["1",null,"-3"]`},
		{Array, `{a,"c,d","\"q\"",""}`, `["a","c,d","\"q\"",""]`},
		{Array, `{{1,2},{3,4}}`, `[["1","2"],["3","4"]]`}, {Array, `[0:1]={1,2}`, `["1","2"]`},
		{Array, `{"NULL"}`, `["NULL"]`},
	} {
		if got, err := (Field{Kind: c.kind}).PostgresText(c.in); err != nil || got != c.want {
			t.Errorf("%s %q: %q, %v; want %q", c.kind, c.in, got, err, c.want)
		}
	}
	for kind, texts := range map[Kind][]string{
		UUID: {"", "x"}, Bool: {"", "yes", "T"}, Int: {"", "1.0", "9223372036854775808"},
		Decimal: {"", "x", "1,5"},
		Timestamp: {"", "2026-11-22", "2026-13-22 10:00:00", "2026-02-30 10:00:00",
			"2026-11-22 24:00:00", "2026-11-22T10:00:00Z"},
		Date:   {"", "2026-11-22 10:00:00", "2026-02-29", "x"},
		Time:   {"", "25:00:00", "1:00", "13:60:00"},
		Double: {"", "x"}, Interval: {"", "x", "1 fortnight"}, Bytes: {"", "01", `\x0`},
		Array:   {"", "1", "{", "{1", "{1,}", `{"a}`, "{1}x", "{{1}", "{,1}"},
		"money": {"1"},
	} {
		for _, text := range texts {
			if got, err := (Field{Kind: kind}).PostgresText(text); err == nil {
				t.Errorf("%s %q became %q", kind, text, got)
			}
		}
	}
}

// TestTextErrors: a document with the wrong BSON type is wrong, even if it looks the same.
func TestTextErrors(t *testing.T) {
	t.Parallel()
	for kind, values := range map[Kind][]any{
		UUID:      {strings.ToUpper("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), "x", 5},
		Text:      {int64(1), true},
		Bool:      {"true", int32(1)},
		Int:       {"5", 5.0, bson.NewDecimal128(0x3040<<48, 5)},
		Decimal:   {"1.5", 1.5, int64(1)},
		Timestamp: {"2026-11-22T10:00:00Z", "x", int64(5)},
		Date: {"2026-11-22",
			bson.NewDateTimeFromTime(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)), int64(5)},
		Double: {"1.5", int64(1), bson.NewDecimal128(0x303e<<48, 15)}, Time: {"x", int64(1)},
		Interval: {"x", "P", int64(1)},
		JSON:     {bson.M{}, int64(1)}, Bytes: {"AQ=="}, Bits: {true}, Array: {"[]", bson.M{}},
		Any:     {5, struct{}{}},
		"money": {"1"},
	} {
		for _, v := range values {
			if text, there, err := (Field{Kind: kind}).Text(v); err == nil || there {
				t.Errorf("%s %v (%T) has the text %q", kind, v, v, text)
			}
		}
	}
}

func TestOtherTypesWithText(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		kind Kind
		v    any
		want string
	}{{Int, int32(7), "7"}, {Timestamp, at, "2026-11-22T09:00:00.000000Z"}} {
		if got, there, err := (Field{Kind: c.kind}).Text(c.v); got != c.want || !there ||
			err != nil {
			t.Errorf("%v: %q, %t, %v; want %q", c.v, got, there, err, c.want)
		}
	}
}

func TestExactText(t *testing.T) {
	t.Parallel()
	spec := Spec{Fields: []Field{{Column: "at", Kind: Timestamp}}}
	at := bson.NewDateTimeFromTime(time.Date(2026, 11, 22, 10, 0, 1, 123e6, time.UTC))
	good, err := spec.DocumentText(bson.M{"at": at, "atExact": "2026-11-22T10:00:01.123456Z"})
	if err != nil || *good["at"] != "2026-11-22T10:00:01.123456Z" {
		t.Errorf("text %v, %v", good["at"], err)
	}
	for _, bad := range []bson.M{
		{"at": at, "atExact": "2026-11-22T10:00:01.124456Z"}, // a date of another version
		{"at": at, "atExact": "2026-11-22"},
		{"at": at, "atExact": 5}, {"at": at, "atExact": bson.A{}},
		{"at": nil, "atExact": "2026-11-22T10:00:01.123456Z"},
		{"atExact": "2026-11-22T10:00:01.123456Z"},
	} {
		if texts, err := spec.DocumentText(bad); err == nil ||
			!strings.Contains(err.Error(), "member at:") {
			t.Errorf("%v has the text %v, error %v", bad, texts["at"], err)
		}
	}
}

func TestErrorsNameTheColumn(t *testing.T) {
	t.Parallel()
	spec, _ := Default().ByEntity("order")
	bad := "x"
	if _, err := spec.RowText(map[string]*string{"total_amount": &bad}); err == nil ||
		!strings.HasPrefix(err.Error(), "column total_amount: ") {
		t.Errorf("error %v", err)
	}
	if _, err := spec.DocumentText(bson.M{"totalAmount": "x"}); err == nil ||
		!strings.HasPrefix(err.Error(), "member totalAmount: ") {
		t.Errorf("error %v", err)
	}
}

// TestExactItems: an array of timestamps with exact texts has the exact texts as its text.
func TestExactItems(t *testing.T) {
	t.Parallel()
	field := Field{Column: "at", Kind: Array, Items: Timestamp}
	spec := Spec{Fields: []Field{field}}
	got, err := spec.DocumentText(bson.M{"at": bson.A{bson.NewDateTimeFromTime(time.Date(2026, 11,
		22, 10, 0, 1, 123e6, time.UTC)), nil, "infinity"},
		"atExact": bson.A{"2026-11-22T10:00:01.123456Z", nil, "infinity"}})
	if err != nil {
		t.Fatal(err)
	}
	want, err := field.PostgresText(`{"2026-11-22 10:00:01.123456+00",NULL,infinity}`)
	if err != nil || want != *got["at"] {
		t.Errorf("the document has %s, the row %s, %v", *got["at"], want, err)
	}
	if _, err := spec.DocumentText(bson.M{"at": bson.A{}, "atExact": bson.A{5}}); err == nil {
		t.Error("a number is an exact text")
	}
}
