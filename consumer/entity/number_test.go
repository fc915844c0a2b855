package entity

import (
	"encoding/base64"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// TestDecimalsAreExact: what is read of a decimal is what the driver reads, where that is exact; what
// it would cut stays a text.
func TestDecimalsAreExact(t *testing.T) {
	t.Parallel()
	digits := rapid.OneOf(rapid.StringMatching(`[0-9]{1,5}`), rapid.StringMatching(`[0-9]{15,45}`), rapid.StringMatching(`[1-9]0{20,60}`))
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", "-", "+"}).Draw(t, "sign") + digits.Draw(t, "whole")
		if rapid.Bool().Draw(t, "point") {
			text += "." + digits.Draw(t, "fraction")
		}
		if rapid.Bool().Draw(t, "scientific") {
			text += "E" + strconv.Itoa(rapid.OneOf(rapid.IntRange(-50, 50), rapid.IntRange(-6300, 6300)).Draw(t, "exponent"))
		}
		high, low, v := parseDecimal([]byte(text))
		want, err := decimalText(text)
		if err != nil || v == noDecimal {
			t.Fatalf("%s is no decimal: %v", text, err)
		}
		if v == tooLong {
			if driver, err := bson.ParseDecimal128(text); err == nil {
				if got, err := decimalText(driver.String()); err == nil && got == want {
					t.Fatalf("%s fits Decimal128 as %v", text, driver)
				}
			}
			return
		}
		stored := bson.NewDecimal128(high, low)
		if got, err := decimalText(stored.String()); err != nil || got != want {
			t.Fatalf("%s is stored as %v", text, stored)
		}
		if got, err := decimalText(string(appendDecimalText(nil, high, low))); err != nil || got != want {
			t.Fatalf("the text of %s is %s", text, got)
		}
	})
}

// TestPreciseDecimals: the base64 of an unscaled number is that number.
func TestPreciseDecimals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 1, 24).Draw(t, "bytes")
		scale := rapid.IntRange(-40, 60).Draw(t, "scale")
		n := new(big.Int).SetBytes(raw)
		if raw[0] >= 0x80 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
		}
		want, err := decimalText(n.String() + "E" + strconv.Itoa(-scale))
		if err != nil {
			t.Fatal(err)
		}
		high, low, long, v := unscaled([]byte(base64.StdEncoding.EncodeToString(raw)), scale, nil)
		text := string(long)
		if v == fits {
			text = bson.NewDecimal128(high, low).String()
		}
		if got, err := decimalText(text); err != nil || got != want || v == noDecimal {
			t.Fatalf("%x of scale %d is %s, want %s", raw, scale, text, want)
		}
	})
}

// TestDecimalOrder: decimals compare as their rational numbers do.
func TestDecimalOrder(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,14})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		aHigh, aLow, _ := parseDecimal([]byte(a))
		bHigh, bLow, _ := parseDecimal([]byte(b))
		if order, ordered := compareDecimals(aHigh, aLow, bHigh, bLow); !ordered || sign(order) != x.Cmp(y) {
			t.Fatalf("%s and %s: %d", a, b, order)
		}
	})
	infinite := [][2]uint64{{decimalInfinity | decimalSign, 0}, {decimalSign, 5}, {decimalInfinity, 0}}
	for i, a := range infinite {
		for j, b := range infinite {
			if order, ordered := compareDecimals(a[0], a[1], b[0], b[1]); !ordered || i != 1 && j != 1 && sign(order) != sign(i-j) {
				t.Errorf("%d and %d: %d", i, j, order)
			}
		}
	}
	if _, ordered := compareDecimals(decimalNaN, 0, 0, 0); ordered {
		t.Error("NaN has an order")
	}
}

func sign(n int) int { return max(-1, min(1, n)) }

// TestTimesAreTimes: instants are read and written as the standard library does.
func TestTimesAreTimes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
		local := at.In(time.FixedZone("", 60*rapid.IntRange(-900, 900).Draw(t, "offset")))
		if local.Year() < 1 || local.Year() > 9999 {
			local = at
		}
		got, dated, _ := parseZoned([]byte(local.Format(time.RFC3339Nano)))
		if !dated || !time.Unix(got.seconds, got.nanos).Equal(at) {
			t.Fatalf("%v is read as %v", local, got)
		}
		if text := string(got.appendISO(nil)); text != at.Format(time.RFC3339Nano) {
			t.Fatalf("%v is written as %s", at, text)
		}
		if n := units(at.UnixMicro(), 1e6); n.seconds != at.Unix() || n.nanos != int64(at.Nanosecond())/1000*1000 {
			t.Fatalf("%v in microseconds is %v", at, n)
		}
	})
}

// TestAnyDayIsReadBack: dates far beyond the standard library's texts too.
func TestAnyDayIsReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		day := rapid.Int64Range(-2440588, 2145031948).Draw(t, "day") // PostgreSQL's
		year, month, of := civil(day)
		if daysOf(year, month, of) != day {
			t.Fatalf("day %d is %d-%d-%d", day, year, month, of)
		}
		text := appendDay(nil, day)
		if short, ok := parseDay(text); ok && short != day || !ok && !isFarDay(text) {
			t.Fatalf("day %d is written as %s", day, text)
		}
	})
}

// TestCoercions: a value of another type is stored where the kind can hold it without loss.
func TestCoercions(t *testing.T) {
	t.Parallel()
	plainText, double, big := named("string", ""), named("double", ""), named("int64", "")
	for _, c := range []struct {
		kind Kind
		t    *debezium.Type
		json string
		want any // nil: it does not fit
	}{
		{Int, double, `5.0`, int64(5)}, {Int, double, `5.5`, nil}, {Int, double, `1e300`, nil}, {Int, scaled(2), `"AfQ="`, int64(5)},
		{Int, scaled(2), `"APo="`, nil}, {Int, plainText, `"-5"`, int64(-5)}, {Int, named("boolean", ""), `true`, nil},
		{Int, scaled(0), `"BWvHXi1jD///"`, nil},
		{Double, scaled(2), `"APo="`, 2.5}, {Double, big, `9007199254740993`, nil}, {Double, big, `5`, 5.0}, {Double, plainText, `"2.50"`, 2.5},
		{Double, plainText, `"NaN"`, compareNaN}, {Double, plainText, `"0.1234567890123456789"`, nil}, {Double, plainText, `"x"`, nil},
		{Decimal, double, `2.5`, decimal(t, "2.5")}, {Decimal, big, `5`, decimal(t, "5")}, {Decimal, double, `"NaN"`, decimal(t, "NaN")},
		{Decimal, double, `"-Infinity"`, decimal(t, "-Infinity")}, {Decimal, named("boolean", ""), `true`, nil},
		{Text, big, `5`, "5"}, {Text, double, `2.50`, "2.50"}, {Text, double, `"-Infinity"`, "-Infinity"}, {Text, scaled(2), `"APo="`, "2.50"},
		{Text, named("bytes", ""), `"AQI="`, "AQI="}, {Text, named("boolean", ""), `false`, "false"}, {Text, arrayOf(big), `[1]`, nil},
		{Text, debeziumType("int32", "time.Date"), `0`, "1970-01-01"}, {Text, debeziumType("int64", "time.MicroTime"), `1`, "00:00:00.000001"},
		{Timestamp, debeziumType("int32", "time.Date"), `20779`, date(t, "2026-11-22T00:00:00Z")}, {Timestamp, big, `5`, nil},
		{Date, debeziumType("int64", "time.MicroTimestamp"), `86400000000`, date(t, "1970-01-02T00:00:00Z")},
		{Date, debeziumType("int64", "time.MicroTimestamp"), `86400000001`, nil},
		{Bits, named("boolean", ""), `true`, "1"}, {JSON, named("map", ""), `{"a": 1}`, `{"a": 1}`}, {Bytes, plainText, `"01ff"`, blob("\x01\xff")},
		{UUID, plainText, `"x"`, nil}, {Bool, big, `1`, nil}, {Array, named("map", ""), `{}`, nil},
	} {
		e := encode(t, tableOf(t, "kind: "+string(c.kind)), change{key: `{"id":1}`, after: `{"id":1,"v":` + c.json + `}`,
			types: map[string]*debezium.Type{"v": c.t}})
		got, there := readBack(t, e.Elements)["v"]
		if !there != (c.want == nil) || there && c.want != compareNaN && cmp.Diff(c.want, got, compareStored) != "" {
			t.Errorf("%s of %s as %s is %v, want %v", c.json, typeText(c.t), c.kind, got, c.want)
		}
		if there == (len(e.Violations) > 0) {
			t.Errorf("%s of %s as %s breaks %v", c.json, typeText(c.t), c.kind, e.Violations)
		}
	}
}

const compareNaN = "NaN, which is not equal to itself"

func TestLongArrays(t *testing.T) {
	t.Parallel()
	list := "[" + strings.TrimSuffix(strings.Repeat("7,", 300), ",") + "]"
	got := readBack(t, encode(t, generic(), change{key: `{"id":1}`, after: `{"v":` + list + `}`}).Elements)["v"]
	if items, is := got.(bson.A); !is || len(items) != 300 || items[299] != int64(7) {
		t.Errorf("stored as %v", got)
	}
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	if got := readBack(t, encode(t, generic(), change{key: `{"id":1}`, after: `{"v":` + deep + `}`}).Elements)["v"]; got == nil {
		t.Error("a nested array is lost")
	}
}
