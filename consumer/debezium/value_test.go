package debezium

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parseValue reads a JSON value; a duplicate name is an error.
func parseValue(text string) (Value, error) {
	var r reader
	data := []byte(text)
	r.beginStrict(data)
	raw, err := r.readRawValue()
	if err != nil {
		return Value{}, fmt.Errorf("parse a JSON value: %w", err)
	}
	if after := trailingError("the JSON value", data, r.inputOffset()); after != nil {
		return Value{}, after
	}
	return Value{raw, &memory{}}, nil
}

func parsed(t *testing.T, text string) Value {
	t.Helper()
	v, err := parseValue(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"null": nil, " true ": true, "false": false, "-0.50e+3": json.Number("-0.50e+3"),
		"123456789012345678901234567890": json.Number("123456789012345678901234567890"),
		`"a\"\u00e9\ud83d\ude00\/"`:      `a"é😀/`,
		`[]`:                             []any{},
		`{}`:                             map[string]any{},
		"[ 1 ,\n[2, [ ] ,3] , {\"a\":[]}, \",]\" ]": []any{json.Number("1"),
			[]any{json.Number("2"), []any{},
				json.Number("3")}, map[string]any{"a": []any{}}, ",]"},
		`{"b":1,"a\n":{"c":null}}`: map[string]any{"b": json.Number("1"),
			"a\n": map[string]any{"c": nil}},
	} {
		v := parsed(t, text)
		if diff := cmp.Diff(want, plain(v)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if got := string(v.AppendJSON([]byte("x"))); got != "x"+strings.TrimSpace(text) {
			t.Errorf("%s as JSON is %s", text, got)
		}
	}
}

func TestValueOfNothing(t *testing.T) {
	t.Parallel()
	for _, v := range []Value{{}, parsed(t, "null"), parsed(t, "7.5"), parsed(t, "[]")} {
		if _, whole := v.Int(); whole || v.Bool() || v.Member("a").Kind() != Null {
			t.Errorf("%s is more than it is", v.AppendJSON(nil))
		}
		for range v.Items() {
			t.Errorf("%s has items", v.AppendJSON(nil))
		}
	}
	if got := string(Value{}.AppendJSON(nil)); got != "null" {
		t.Errorf("nothing as JSON is %q", got)
	}
	if n, whole := parsed(t, "-9223372036854775808").Int(); !whole || n != -1<<63 {
		t.Errorf("%d, %t", n, whole)
	}
	if _, whole := parsed(t, "9223372036854775808").Int(); whole {
		t.Error("2^63 is no int64")
	}
}

// TestItemsEndEarly: a loop over items or members may end before the last.
func TestItemsEndEarly(t *testing.T) {
	t.Parallel()
	for range parsed(t, `[0, [10, 11], 2]`).Items() {
		break
	}
	for name, member := range parsed(t, `{"a": [1], "b": 2}`).Members() {
		if string(name) != "a" || member.Kind() != Array {
			t.Errorf("the first member is %q", name)
		}
		break
	}
	sum := int64(0)
	for item := range parsed(t, `[0, [10, 11], 2, [30, 31]]`).Items() {
		for inner := range item.Items() {
			n, _ := inner.Int()
			sum += n
		}
	}
	if sum != 82 {
		t.Errorf("the sum is %d", sum)
	}
}

func TestParseValueErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " ", "{", "[1,]", "1 2", `{"a":1,"a":2}`, "01", `"\x"`, "nul",
		"NaN", `"` + "\xff" + `"`} {
		if v, err := parseValue(text); err == nil {
			t.Errorf("%q became %s", text, v.AppendJSON(nil))
		}
	}
}
