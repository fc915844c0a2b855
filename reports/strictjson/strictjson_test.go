package strictjson

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestJoinLines: the layout changes blanks alone, whatever the texts hold.
func TestJoinLines(t *testing.T) {
	t.Parallel()
	text := rapid.SampledFrom([]string{"", "a\n  b", `"`, `\`, `\"`, "{", "}]", ",\n"})
	value := rapid.Deferred(func() *rapid.Generator[any] {
		leaf := rapid.OneOf(rapid.Just[any](1.5), rapid.Just[any](true), text.AsAny())
		list := rapid.SliceOfN(leaf, 0, 3).AsAny()
		object := rapid.MapOfN(text, rapid.OneOf(leaf, list), 0, 3).AsAny()
		return rapid.OneOf(leaf, list, object, rapid.SliceOfN(object, 0, 3).AsAny())
	})
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.MapOfN(text, value, 0, 4).Draw(t, "value")
		indented, err := json.MarshalIndent(given, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		joined := JoinLines(indented)
		var want, got any
		if err := json.Unmarshal(indented, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(joined, &got); err != nil {
			t.Fatalf("%v in\n%s", err, joined)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
	got := string(JoinLines([]byte("{\n  \"a\": [\n    {\n      \"b\": 1,\n" +
		"      \"c\": []\n    },\n    {}\n  ]\n}")))
	if want := "{\n  \"a\": [\n    {\"b\": 1, \"c\": []},\n    {}\n  ]\n}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !strings.Contains(got, "\n") {
		t.Error("one line")
	}
}
