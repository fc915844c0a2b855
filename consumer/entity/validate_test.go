package entity

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRuleMistakes: each is named with its line.
func TestRuleMistakes(t *testing.T) {
	t.Parallel()
	head := "entity: t\ntable: public.t\ncollection: ts\nkey: id\n"
	fields := "fields:\n  - {column: id, kind: int}\n"
	for _, c := range [][2]string{
		{"kind: text, items: int",
			`a.yaml:7: items "int": only an array has items, not the text of column "v"`},
		{"kind: array, items: money", `a.yaml:7: items "money" are not one of`},
		{"kind: text, format: phone",
			`a.yaml:7: format "phone" is neither email nor uuid of column "v"`},
		{"kind: int, format: email", `a.yaml:7: format "email" does not fit the int of column "v"`},
		{"kind: text, min: 1", `a.yaml:7: min does not fit the text of column "v"`},
		{"kind: int, max: much", `a.yaml:7: max "much" of column "v" is no number`},
		{"kind: int, min: 2, max: 1.5", `a.yaml:7: min 2 of column "v" is above max 1.5`},
		{"kind: int, min: NaN, max: 1.5", `a.yaml:7: min NaN of column "v" is above max 1.5`},
		{"kind: text, not_after: 5m", `a.yaml:7: not_after does not fit the text of column "v"`},
		{"kind: timestamp, not_after: -5m", `a.yaml:7: not_after -5m0s is negative of column "v"`},
		{"kind: timestamp, not_after: soon",
			`a.yaml:7:45: not_after "soon" is no duration such as 5s or 1h30m`},
		{"kind: timestamp, not_after: 5", `a.yaml:7:45: not_after "5" is no duration`},
		{"kind: timestamp, not_before: -5m",
			`a.yaml:7: not_before -5m0s is negative of column "v"`},
		{"kind: date, not_before: 5m", `a.yaml:7: not_before does not fit the date of column "v"`},
		{"kind: timestamp, not_before: 5", `a.yaml:7:46: not_before "5" is no duration`},
		{"kind: timestamp, too_old: 5m", `a.yaml:7:34: unknown field "too_old"`},
		{"kind: int, transitions: {a: [b]}",
			`a.yaml:7: transitions do not fit the int of column "v"`},
		{"kind: text, enum: [a], transitions: {a: [b]}",
			`a.yaml:7: the value "b" in the transitions is not in the enum of column "v"`},
		{"kind: text, transitions: {a: [" + strings.Repeat("b", 256) + "]}",
			`a.yaml:7: a value in the transitions has 256 bytes, at most 255 of column "v"`},
	} {
		field, want := c[0], c[1]
		text := head + fields + "  - {column: v, " + field + "}\n"
		_, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", field, err, want)
		}
	}
	for _, c := range [][2]string{
		{"severity: {colour: warn}", `a.yaml:5: rule "colour" is not one of [clock_skew`},
		{"severity: {enum: info}",
			`a.yaml:5: severity "info" of rule enum is neither warn nor reject`},
		{"severity: {out_of_order: info}",
			`a.yaml:5: severity "info" of rule out_of_order is neither warn nor reject`},
		{"skew: -1s", `a.yaml:5: skew is negative`},
		{"late: -1s", `a.yaml:5: late is negative`},
		{"references: [{column: id, entity: t, missing: ignore}]",
			`a.yaml:5: missing "ignore" is neither store nor dead_letter`},
		{"references: [{column: id, entity: t, grace: -1s}]", `a.yaml:5: grace -1s is negative`},
	} {
		line, want := c[0], c[1]
		_, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(head + line + "\n" + fields)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", line, err, want)
		}
	}
}

func TestReferenceDefaults(t *testing.T) {
	t.Parallel()
	r, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(`entity: a
table: public.a
collection: as
key: id
fields: [{column: id, kind: int}]
references:
  - {column: id, entity: a}
  - {column: id, entity: a, grace: 0s, missing: dead_letter}
`)}})
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := r.ByEntity("a")
	want := []Reference{{"id", "a", 10 * time.Second, Store}, {"id", "a", 0, DeadLetter}}
	if diff := cmp.Diff(want, spec.References); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
