package entity

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

func decimal(t *testing.T, text string) bson.Decimal128 {
	t.Helper()
	d, err := bson.ParseDecimal128(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func date(t *testing.T, text string) bson.DateTime {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return bson.NewDateTimeFromTime(at)
}

const someUUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

// TestBSON: what is stored, and its text.
func TestBSON(t *testing.T) {
	t.Parallel()
	whole := "9999999999999999999999999999999999" // 34 digits
	for _, c := range []struct {
		kind   Kind
		value  any
		stored any
		exact  string
		text   string
	}{
		{UUID, someUUID, someUUID, "", someUUID},
		{UUID, strings.ToUpper(someUUID), someUUID, "", someUUID},
		{Text, "", "", "", ""},
		{Text, "é\n$x", "é\n$x", "", "é\n$x"},
		{Bool, true, true, "", "true"},
		{Bool, false, false, "", "false"},
		{Int, json.Number("-9223372036854775808"), int64(-1 << 63), "", "-9223372036854775808"},
		{Int, json.Number("9007199254740993"), int64(9007199254740993), "", "9007199254740993"},
		{Int, int64(5), int64(5), "", "5"},
		{Decimal, "1.50", decimal(t, "1.50"), "", "1.5"},
		{Decimal, "1.5", decimal(t, "1.5"), "", "1.5"},
		{Decimal, "-0.00", decimal(t, "-0.00"), "", "0"},
		{Decimal, "-10.00", decimal(t, "-10.00"), "", "-10"},
		{Decimal, "100", decimal(t, "100"), "", "100"},
		{Decimal, ".5", decimal(t, ".5"), "", "0.5"},
		{Decimal, "-0.000000000000000001", decimal(t, "-1E-18"), "", "-0.000000000000000001"},
		{Decimal, whole, decimal(t, whole), "", whole},
		{Decimal, "-0." + whole, decimal(t, "-0."+whole), "", "-0." + whole},
		{Decimal, whole + "000.00", decimal(t, whole+"E+3"), "", whole + "000"},
		{Decimal, "1E+3", decimal(t, "1E+3"), "", "1000"},
		{Decimal, "1e6144", decimal(t, "1E+6144"), "", "1" + strings.Repeat("0", 6144)},
		{Decimal, "1e-6176", decimal(t, "1E-6176"), "", "0." + strings.Repeat("0", 6175) + "1"},
		{Decimal, "NAN", decimal(t, "NaN"), "", "NaN"},
		{Decimal, "NaN", decimal(t, "NaN"), "", "NaN"},
		{Decimal, "POSITIVE_INFINITY", decimal(t, "Infinity"), "", "Infinity"},
		{Decimal, "NEGATIVE_INFINITY", decimal(t, "-Infinity"), "", "-Infinity"},
		{Decimal, json.Number("2.5"), decimal(t, "2.5"), "", "2.5"},
		{Timestamp, "2026-11-22T10:00:01Z", date(t, "2026-11-22T10:00:01Z"), "", "2026-11-22T10:00:01.000000Z"},
		{Timestamp, "2026-11-22T10:00:01.1Z", date(t, "2026-11-22T10:00:01.1Z"), "", "2026-11-22T10:00:01.100000Z"},
		{Timestamp, "2026-11-22T10:00:01.123000Z", date(t, "2026-11-22T10:00:01.123Z"), "", "2026-11-22T10:00:01.123000Z"},
		{Timestamp, "2026-11-22T10:00:01.1234Z", date(t, "2026-11-22T10:00:01.123Z"), "2026-11-22T10:00:01.1234Z", "2026-11-22T10:00:01.123400Z"},
		{Timestamp, "2026-11-22T10:00:01.123456Z", date(t, "2026-11-22T10:00:01.123Z"), "2026-11-22T10:00:01.123456Z", "2026-11-22T10:00:01.123456Z"},
		{Timestamp, "2026-11-22T10:00:01.123456789Z", date(t, "2026-11-22T10:00:01.123Z"), "2026-11-22T10:00:01.123456789Z", "2026-11-22T10:00:01.123456789Z"},
		{Timestamp, "2026-11-22T10:00:01.123456+02:30", date(t, "2026-11-22T07:30:01.123Z"), "2026-11-22T07:30:01.123456Z", "2026-11-22T07:30:01.123456Z"},
		{Timestamp, "1969-12-31T23:59:59.999999Z", date(t, "1969-12-31T23:59:59.999Z"), "1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"},
		{Timestamp, "0001-01-01T00:00:00.000000Z", date(t, "0001-01-01T00:00:00Z"), "", "0001-01-01T00:00:00.000000Z"},
		{Timestamp, "9999-12-31T23:59:59.999999Z", date(t, "9999-12-31T23:59:59.999Z"), "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"},
	} {
		f := Field{Column: "c", Kind: c.kind}
		stored, exact, err := f.BSON(c.value)
		if err != nil || exact != c.exact {
			t.Errorf("%s %v: exact %q, %v; want %q", c.kind, c.value, exact, err, c.exact)
		}
		if diff := cmp.Diff(c.stored, stored, cmp.AllowUnexported(bson.Decimal128{})); diff != "" {
			t.Errorf("%s %v (-want +got):\n%s", c.kind, c.value, diff)
		}
		document := bson.M{"c": stored}
		if exact != "" {
			document["cExact"] = exact
		}
		spec := Spec{Fields: []Field{f}}
		texts, err := spec.DocumentText(document)
		if err != nil || texts["c"] == nil || *texts["c"] != c.text {
			t.Errorf("%s %v: text %v, %v; want %q", c.kind, c.value, texts["c"], err, c.text)
		}
	}
}

func TestNull(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		f := Field{Column: "c", Kind: kind}
		if stored, exact, err := f.BSON(nil); stored != nil || exact != "" || err != nil {
			t.Errorf("null %s is stored as %v, %q, %v", kind, stored, exact, err)
		}
		if text, there, err := f.Text(nil); text != "" || there || err != nil {
			t.Errorf("the text of null %s is %q, %t, %v", kind, text, there, err)
		}
	}
}

func TestBSONErrors(t *testing.T) {
	t.Parallel()
	for kind, values := range map[Kind][]any{
		UUID: {"", "a0eebc99", someUUID + "0", "{" + someUUID[1:35] + "}", "g" + someUUID[1:], json.Number("1"), true},
		Text: {json.Number("1"), true, []any{"a"}, map[string]any{}},
		Bool: {"t", "true", json.Number("1")},
		Int:  {"5", json.Number("1.0"), json.Number("1e3"), json.Number("9223372036854775808"), true, 1.0},
		Decimal: {"", ".", "-", "+", "abc", "1.2.3", "1 ", " 1", "1e", "0x10", "1_000", true, 1.5, "1e7000", "1e-7000",
			"1e99999999999999999999", "12345678901234567890123456789012345", // 35 digits
			"0.12345678901234567890123456789012345", "1e6145", "1e-6177",
			"1" + strings.Repeat("0", 7000), "0." + strings.Repeat("0", 7000) + "1", "APo=", "--1", "1-"},
		Timestamp: {"infinity", "-infinity", "", "2026-11-22", "2026-11-22 10:00:00+00", "2026-11-22T10:00:00",
			"+10000-01-01T00:00:00Z", "-0044-03-15T00:00:00Z", "0000-01-01T00:00:00Z", "2026-13-01T00:00:00Z",
			"0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", json.Number("1795391886611595"), true},
		"money": {"1"},
	} {
		for _, v := range values {
			f := Field{Column: "c", Kind: kind}
			if stored, _, err := f.BSON(v); err == nil || stored != nil {
				t.Errorf("%s %v (%T) is stored as %v, error %v", kind, v, v, stored, err)
			}
		}
	}
}

// TestLongValuesInErrors: an error ends in logs and dead letters.
func TestLongValuesInErrors(t *testing.T) {
	t.Parallel()
	_, _, err := Field{Kind: UUID}.BSON(strings.Repeat("é", 5000))
	if err == nil || len(err.Error()) > 200 || !strings.Contains(err.Error(), "...") {
		t.Errorf("error %v", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	spec, _ := Default().ByEntity("order")
	good := func() map[string]any {
		return map[string]any{
			"id": someUUID, "customer_id": someUUID, "status": "new", "total_amount": "1.00",
			"created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z",
			"lab_version": json.Number("1"), "a_new_column": json.Number("5"),
		}
	}
	if v := spec.Check(good()); v != nil {
		t.Errorf("a good row breaks %v", v)
	}
	row := good()
	row["lab_version"] = nil
	if v := spec.Check(row); v != nil {
		t.Errorf("a null that may be breaks %v", v)
	}
	row = good()
	delete(row, "customer_id")
	row["status"], row["total_amount"] = nil, "much"
	violations := spec.Check(row)
	for i := range violations {
		if violations[i].Error() == "" || violations[i].Reason == "" {
			t.Errorf("%#v does not explain itself", violations[i])
		}
		violations[i].Reason = ""
	}
	want := []Violation{
		{Rule: RuleRequired, Field: "customer_id"},
		{Rule: RuleRequired, Field: "status"},
		{Rule: RuleKind, Field: "total_amount", Value: "much"},
	}
	if diff := cmp.Diff(want, violations); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
	if v := spec.Check(nil); len(v) != 6 {
		t.Errorf("an empty row breaks %v", v)
	}
}
