package encode

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// TestCoercions: a value of another type is stored where the kind can hold it without loss.
func TestCoercions(t *testing.T) {
	t.Parallel()
	plainText, double, big := named("string", ""), named("double", ""), named("int64", "")
	for _, c := range []struct {
		kind entity.Kind
		t    *debezium.Type
		json string
		want any // nil: does not fit
	}{
		{entity.Int, double, `5.0`, int64(5)}, {entity.Int, double, `5.5`, nil},
		{entity.Int, double, `1e300`, nil}, {entity.Int, scaled(2), `"AfQ="`, int64(5)},
		{entity.Int, scaled(2), `"APo="`, nil}, {entity.Int, plainText, `"-5"`, int64(-5)},
		{entity.Int, named("boolean", ""), `true`, nil},
		{entity.Int, scaled(0), `"BWvHXi1jD///"`, nil},
		{entity.Double, scaled(2), `"APo="`, 2.5}, {entity.Double, big, `9007199254740993`, nil},
		{entity.Double, big, `5`, 5.0}, {entity.Double, plainText, `"2.50"`, 2.5},
		{entity.Double, plainText, `"NaN"`, compareNaN},
		{entity.Double, plainText, `"0.1234567890123456789"`, nil},
		{entity.Double, plainText, `"x"`, nil},
		{entity.Decimal, double, `2.5`, decimal(t, "2.5")},
		{entity.Decimal, big, `5`, decimal(t, "5")},
		{entity.Decimal, double, `"NaN"`, decimal(t, "NaN")},
		{entity.Decimal, double, `"-Infinity"`, decimal(t, "-Infinity")},
		{entity.Decimal, named("boolean", ""), `true`, nil},
		{entity.Text, big, `5`, "5"}, {entity.Text, double, `2.50`, "2.50"},
		{entity.Text, double, `"-Infinity"`, "-Infinity"},
		{entity.Text, scaled(2), `"APo="`, "2.50"},
		{entity.Text, named("bytes", ""), `"AQI="`, "AQI="},
		{entity.Text, named("boolean", ""), `false`, "false"},
		{entity.Text, arrayOf(big), `[1]`, nil},
		{entity.Text, debeziumType("int32", "time.Date"), `0`, "1970-01-01"},
		{entity.Text, debeziumType("int64", "time.MicroTime"), `1`, "00:00:00.000001"},
		{entity.Timestamp, debeziumType("int32", "time.Date"), `20779`,
			date(t, "2026-11-22T00:00:00Z")}, {entity.Timestamp, big, `5`, nil},
		{entity.Date, debeziumType("int64", "time.MicroTimestamp"), `86400000000`,
			date(t, "1970-01-02T00:00:00Z")},
		{entity.Date, debeziumType("int64", "time.MicroTimestamp"), `86400000001`, nil},
		{entity.Bits, named("boolean", ""), `true`, "1"},
		{entity.JSON, named("map", ""), `{"a": 1}`, `{"a": 1}`},
		{entity.Bytes, plainText, `"01ff"`, blob("\x01\xff")},
		{entity.UUID, plainText, `"x"`, nil}, {entity.Bool, big, `1`, nil},
		{entity.Array, named("map", ""), `{}`, nil},
	} {
		e := encode(t, tableOf(t, "kind: "+string(c.kind)),
			change{key: `{"id":1}`, after: `{"id":1,"v":` + c.json + `}`,
				types: map[string]*debezium.Type{"v": c.t}})
		got, there := readBack(t, e.Elements)["v"]
		if !there != (c.want == nil) ||
			there && c.want != compareNaN && cmp.Diff(c.want, got, compareStored) != "" {
			t.Errorf("%s of %s as %s is %v, want %v",
				c.json, describeType(c.t), c.kind, got, c.want)
		}
		if there == (len(e.Violations) > 0) {
			t.Errorf("%s of %s as %s breaks %v", c.json, describeType(c.t), c.kind, e.Violations)
		}
	}
}

const compareNaN = "NaN, which is not equal to itself"

func TestLongArrays(t *testing.T) {
	t.Parallel()
	list := "[" + strings.TrimSuffix(strings.Repeat("7,", 300), ",") + "]"
	got := readBack(t, encode(t, generic(),
		change{key: `{"id":1}`, after: `{"v":` + list + `}`}).Elements)["v"]
	if items, is := got.(bson.A); !is || len(items) != 300 || items[299] != int64(7) {
		t.Errorf("stored as %v", got)
	}
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	if got := readBack(t, encode(t, generic(),
		change{key: `{"id":1}`, after: `{"v":` + deep + `}`}).Elements)["v"]; got == nil {
		t.Error("a nested array is lost")
	}
}
