package debezium

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parsed(t *testing.T, text string) Value {
	t.Helper()
	v, err := ParseValue(text)
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
		"[ 1 ,\n[2, [ ] ,3] , {\"a\":[]}, \",]\" ]": []any{json.Number("1"), []any{json.Number("2"), []any{},
			json.Number("3")}, map[string]any{"a": []any{}}, ",]"},
		`{"b":1,"a\n":{"c":null}}`: map[string]any{"b": json.Number("1"), "a\n": map[string]any{"c": nil}},
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
		if _, whole := v.Int(); whole || v.Bool() || v.Len() != 0 || v.At(0).Kind() != Null || v.Member("a").Kind() != Null {
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

// TestAtInAnyOrder: At remembers where it was, and that must not show.
func TestAtInAnyOrder(t *testing.T) {
	t.Parallel()
	v := parsed(t, `[0, [10, 11], 2, [30, 31]]`)
	for _, i := range []int{3, 0, 0, 2, 1, 3, 1, 9, 2, -1, 3} {
		member := v.At(i)
		switch {
		case i < 0 || i > 3:
			if member.Kind() != Null {
				t.Errorf("there is a member %d", i)
			}
		case i%2 == 0:
			if n, _ := member.Int(); int(n) != i {
				t.Errorf("member %d is %s", i, member.AppendJSON(nil))
			}
		default:
			if n, _ := member.At(1).Int(); int(n) != 10*i+1 || member.Len() != 2 || v.Len() != 4 {
				t.Errorf("member %d is %s", i, member.AppendJSON(nil))
			}
		}
	}
	sum := int64(0)
	for item := range v.Items() {
		for inner := range item.Items() {
			n, _ := inner.Int()
			sum += n
		}
	}
	if sum != 82 {
		t.Errorf("the sum is %d", sum)
	}
}

// TestLongArray: reading an array by At takes time in proportion to its length.
func TestLongArray(t *testing.T) {
	t.Parallel()
	const n = 200_000
	v := parsed(t, "["+strings.Repeat("1,", n)+"2]")
	sum := int64(0)
	for i := 0; i < v.Len(); i++ {
		one, _ := v.At(i).Int()
		sum += one
	}
	if sum != n+2 {
		t.Errorf("the sum is %d", sum)
	}
}

func TestParseValueErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " ", "{", "[1,]", "1 2", `{"a":1,"a":2}`, "01", `"\x"`, "nul", "NaN", `"` + "\xff" + `"`} {
		if v, err := ParseValue(text); err == nil {
			t.Errorf("%q became %s", text, v.AppendJSON(nil))
		}
	}
}
