package entity

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

func TestPostgresText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind     Kind
		in, want string
	}{
		{UUID, strings.ToUpper(someUUID), someUUID},
		{Text, " a ", " a "},
		{Bool, "t", "true"}, {Bool, "true", "true"}, {Bool, "f", "false"}, {Bool, "false", "false"},
		{Int, "-5", "-5"}, {Int, "9223372036854775807", "9223372036854775807"},
		{Decimal, "1.50", "1.5"}, {Decimal, "0.00", "0"}, {Decimal, "-10.00", "-10"}, {Decimal, "100", "100"},
		{Decimal, "NaN", "NaN"}, {Decimal, "Infinity", "Infinity"}, {Decimal, "-Infinity", "-Infinity"},
		{Decimal, strings.Repeat("9", 100) + ".10", strings.Repeat("9", 100) + ".1"},
		{Timestamp, "2026-11-22 10:00:01.123456+00", "2026-11-22T10:00:01.123456Z"},
		{Timestamp, "2026-11-22 10:00:01+00", "2026-11-22T10:00:01.000000Z"},
		{Timestamp, "2026-11-22 10:00:01.1+02", "2026-11-22T08:00:01.100000Z"},
		{Timestamp, "2026-11-22 10:00:01.1-08", "2026-11-22T18:00:01.100000Z"},
		{Timestamp, "2026-11-22 10:00:01+05:30", "2026-11-22T04:30:01.000000Z"},
		{Timestamp, "2026-11-22 10:00:01-03:30", "2026-11-22T13:30:01.000000Z"},
		{Timestamp, "1880-01-01 00:53:28+00:53:28", "1880-01-01T00:00:00.000000Z"},
		{Timestamp, "0001-01-01 00:00:00+00", "0001-01-01T00:00:00.000000Z"},
	} {
		if got, err := (Field{Kind: c.kind}).PostgresText(c.in); err != nil || got != c.want {
			t.Errorf("%s %q: %q, %v; want %q", c.kind, c.in, got, err, c.want)
		}
	}
	for kind, texts := range map[Kind][]string{
		UUID: {"", "x"}, Bool: {"", "yes", "T"}, Int: {"", "1.0", "9223372036854775808"}, Decimal: {"", "x", "1,5"},
		Timestamp: {"", "infinity", "-infinity", "2026-11-22", "2026-11-22 10:00:00", "0044-03-15 00:00:00+00 BC",
			"294276-12-31 23:59:59+00", "2026-11-22T10:00:00Z"},
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
		UUID:      {strings.ToUpper(someUUID), "x", 5},
		Text:      {int64(1), true},
		Bool:      {"true", int32(1)},
		Int:       {"5", 5.0, decimal(t, "5")},
		Decimal:   {"1.5", 1.5, int64(1)},
		Timestamp: {"2026-11-22T10:00:00Z", int64(5)},
		"money":   {"1"},
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
		if got, there, err := (Field{Kind: c.kind}).Text(c.v); got != c.want || !there || err != nil {
			t.Errorf("%v: %q, %t, %v; want %q", c.v, got, there, err, c.want)
		}
	}
}

func TestExactText(t *testing.T) {
	t.Parallel()
	spec := Spec{Fields: []Field{{Column: "at", Kind: Timestamp}}}
	at := date(t, "2026-11-22T10:00:01.123Z")
	good, err := spec.DocumentText(bson.M{"at": at, "atExact": "2026-11-22T10:00:01.123456Z"})
	if err != nil || *good["at"] != "2026-11-22T10:00:01.123456Z" {
		t.Errorf("text %v, %v", good["at"], err)
	}
	for _, bad := range []bson.M{
		{"at": at, "atExact": "2026-11-22T10:00:01.124456Z"}, // a date of another version
		{"at": at, "atExact": "2026-11-22"},
		{"at": at, "atExact": 5},
		{"at": nil, "atExact": "2026-11-22T10:00:01.123456Z"},
		{"atExact": "2026-11-22T10:00:01.123456Z"},
	} {
		if texts, err := spec.DocumentText(bad); err == nil || !strings.Contains(err.Error(), "member at:") {
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

// cell is one value in the two forms in which it leaves PostgreSQL.
type cell struct {
	json any     // as Debezium has it, decoded
	text *string // as ::text has it
}

func drawCell(t *rapid.T, f Field) cell {
	if !f.Required && rapid.Bool().Draw(t, "null "+f.Column) {
		return cell{}
	}
	both := func(v any, text string) cell { return cell{v, &text} }
	switch f.Kind {
	case UUID:
		text := rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`).Draw(t, f.Column)
		return both(text, text)
	case Text:
		text := rapid.String().Draw(t, f.Column)
		return both(text, text)
	case Bool:
		b := rapid.Bool().Draw(t, f.Column)
		return both(b, fmt.Sprint(b))
	case Int:
		text := fmt.Sprint(rapid.Int64().Draw(t, f.Column))
		return both(json.Number(text), text)
	case Decimal:
		scale := rapid.IntRange(0, 15).Draw(t, "scale")
		whole := rapid.StringMatching(`-?(0|[1-9][0-9]{0,16})`).Draw(t, f.Column)
		text := whole
		if scale > 0 {
			text += "." + rapid.StringMatching(fmt.Sprintf(`[0-9]{%d}`, scale)).Draw(t, "fraction")
		}
		// A variable scale loses its zeros on Debezium's way, not on PostgreSQL's.
		short := text
		if scale > 0 && rapid.Bool().Draw(t, "stripped") {
			short = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
		}
		return both(short, text)
	case Timestamp:
		at := time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, f.Column)).UTC()
		digits := rapid.IntRange(0, 6).Draw(t, "digits")
		at = at.Truncate([]time.Duration{time.Second, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3}[digits])
		offset := rapid.SampledFrom([]int{0, 0, 3600, -8 * 3600, 19800, -12600, 3208}).Draw(t, "offset")
		local := at.In(time.FixedZone("", offset))
		if local.Year() < 1 || local.Year() > 9999 {
			local = at
		}
		layout := "2006-01-02 15:04:05.999999-07"
		if _, seconds := local.Zone(); seconds%60 != 0 {
			layout += ":00:00"
		} else if seconds%3600 != 0 {
			layout += ":00"
		}
		width := rapid.IntRange(digits, 9).Draw(t, "width")
		iso := at.Format("2006-01-02T15:04:05.000000000")
		iso = iso[:len(iso)-9+width]
		return both(strings.TrimSuffix(iso, ".")+"Z", local.Format(layout))
	}
	t.Fatalf("kind %s", f.Kind)
	return cell{}
}

// TestRowEqualsDocument: a row that went the whole way compares equal, whatever is in it, and one
// changed value does not.
func TestRowEqualsDocument(t *testing.T) {
	t.Parallel()
	specs := Default().All()
	rapid.Check(t, func(t *rapid.T) {
		spec := rapid.SampledFrom(specs).Draw(t, "spec")
		columns := map[string]*string{}
		row := map[string]any{}
		document := bson.M{"_id": "x", "cdcMetadata": bson.M{"position": ""}}
		for _, f := range spec.Fields {
			c := drawCell(t, f)
			columns[f.Column], row[f.Column] = c.text, c.json
			if f.Column == spec.Key {
				continue
			}
			stored, exact, err := f.BSON(c.json)
			if err != nil {
				t.Fatalf("%s %v: %v", f.Column, c.json, err)
			}
			document[f.Member()] = stored
			if exact != "" {
				document[f.Member()+ExactSuffix] = exact
			}
		}
		if v := spec.Check(row); v != nil {
			t.Fatalf("the row breaks %v", v)
		}
		fromRow, err := spec.RowText(columns)
		if err != nil {
			t.Fatal(err)
		}
		fromDocument, err := spec.DocumentText(throughBSON(t, document))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fromRow, fromDocument); diff != "" {
			t.Fatalf("(-row +document):\n%s", diff)
		}
		if len(fromRow) != len(spec.Fields)-1 {
			t.Fatalf("%d texts for %d fields without the key", len(fromRow), len(spec.Fields)-1)
		}
	})
}

// throughBSON is what a reader gets of what was written.
func throughBSON(t *rapid.T, document bson.M) bson.M {
	raw, err := bson.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	var read bson.M
	if err := bson.Unmarshal(raw, &read); err != nil {
		t.Fatal(err)
	}
	return read
}

// FuzzBSON: any text is an error or something that can be stored and has a text.
func FuzzBSON(f *testing.F) {
	for _, seed := range []string{
		"1.50", "-1e-6176", "NaN", "2026-11-22T10:00:01.123456789Z", someUUID, "true", "99999999999999999999",
		"0." + strings.Repeat("0", 300) + "1", "infinity", "1" + strings.Repeat("0", 7000),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range kinds {
			field := Field{Column: "c", Kind: kind}
			for _, v := range []any{text, json.Number(text)} {
				stored, _, err := field.BSON(v)
				if err != nil {
					continue
				}
				if _, there, err := field.Text(stored); !there || err != nil {
					t.Errorf("%s %q is stored as %v and has no text: %v", kind, text, stored, err)
				}
			}
			if canonical, err := field.PostgresText(text); err == nil && kind == Decimal {
				if again, err := field.PostgresText(canonical); err != nil || again != canonical {
					t.Errorf("decimal %q became %q, then %q, %v", text, canonical, again, err)
				}
			}
		}
	})
}
