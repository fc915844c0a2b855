package encode

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

func optional(t *debezium.Type) *debezium.Type {
	copied := *t
	copied.Optional = true
	return &copied
}

func with(t *debezium.Type, parameters ...string) *debezium.Type {
	copied := *t
	copied.Parameters = map[string]string{}
	for i := 0; i < len(parameters); i += 2 {
		copied.Parameters[parameters[i]] = parameters[i+1]
	}
	return &copied
}

// texts of changes: the column, the kind and the severity.
func changesOf(changes []SchemaChange) []string {
	var all []string
	for _, c := range changes {
		all = append(all, c.Column+" "+string(c.Kind)+" "+string(c.Severity))
	}
	return all
}

// shape is a row {id, v} with a type, and the stored value.
type shape struct {
	t    *debezium.Type
	v    string
	want []string
	is   any
}

const leftOut = "left out"

// feed gives a table the shapes in turn.
func feed(t *testing.T, name string, table *Table, shapes []shape) {
	t.Helper()
	encoder := new(Encoder)
	for i, s := range shapes {
		c := change{key: `{"id":1}`, after: `{"id":1,"v":` + s.v + `}`,
			types: map[string]*debezium.Type{"v": s.t}, commit: int64(i + 1)}
		if s.t != nil {
			c.types["id"] = named("int32", "")
		}
		e, err := encoder.Encode(table, c.event(t), Facts{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.want, changesOf(e.Changes)); diff != "" {
			t.Errorf("%s, step %d (-want +got):\n%s", name, i, diff)
		}
		got, there := readBack(t, e.Elements)["v"]
		if !there {
			got = leftOut
			if len(e.Violations) != 1 || e.Violations[0].Rule != entity.RuleDrift ||
				e.Violations[0].Severity != entity.Warn {
				t.Errorf("%s, step %d: left out, with %v", name, i, e.Violations)
			}
		} else if len(e.Violations) > 0 {
			t.Errorf("%s, step %d breaks %v", name, i, e.Violations)
		}
		if diff := cmp.Diff(s.is, got, compareStored); diff != "" {
			t.Errorf("%s, step %d is stored as (-want +got):\n%s", name, i, diff)
		}
	}
}

// TestBadValueIsNoDrift: a value outside its column's own type is a violation.
func TestBadValueIsNoDrift(t *testing.T) {
	t.Parallel()
	for _, typ := range []*debezium.Type{named("int32", ""), nil} {
		table := tableOf(t, "kind: int")
		for _, v := range []string{`1`, `"abc"`, `"abc"`} {
			e := encode(t, table,
				change{key: `{"id":1}`, after: `{"id":1,"v":` + v + `}`,
					types: map[string]*debezium.Type{"v": typ}})
			if bad := v != `1`; len(e.Changes) > 0 && typ != nil ||
				bad != (len(e.Violations) == 1 && e.Violations[0].Rule == entity.RuleKind) {
				t.Errorf("%s with type %v: changes %v, violations %v", v, typ, e.Changes,
					e.Violations)
			}
		}
	}
}

func TestColumnChanges(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][][2]string{
		"added": {{`{"a":1}`, ""}, {`{"a":1,"b":"x"}`, "b added info"},
			{`{"a":1}`, ""}, {`{"a":2,"b":null}`, ""}},
		"removed": {{`{"a":1,"b":"x"}`, ""}, {`{"a":1}`, "b removed warn"},
			{`{"a":1,"b":"x"}`, ""}},
		"renamed": {{`{"a":1,"b":"x"}`, ""},
			{`{"a":1,"c":"x"}`, "c added info, b removed warn, c renamed warn"}},
		"replaced by another type": {{`{"a":1,"b":"x"}`, ""},
			{`{"a":1,"c":5}`, "c added info, b removed warn"}},
		"two renamed": {{`{"a":1,"b":"x"}`, ""},
			{`{"c":1,"d":"x"}`, "c added info, d added info, a removed warn, b removed warn"}},
		"another order":     {{`{"a":1,"b":"x"}`, ""}, {`{"b":"x","a":1}`, ""}},
		"added and changed": {{`{"a":1}`, ""}, {`{"a":"x","b":1}`, "a widened info, b added info"}},
	} {
		table := generic()
		for i, step := range steps {
			e := encode(t, table, change{key: `{"id":1}`, after: step[0]})
			if got := strings.Join(changesOf(e.Changes), ", "); got != step[1] {
				t.Errorf("%s, step %d: %q, want %q", name, i, got, step[1])
			}
		}
	}
	table := generic()
	encode(t, table, change{key: `{"id":1}`, after: `{"a":1,"b":"x"}`})
	changes := encode(t, table, change{key: `{"id":1}`, after: `{"a":1,"c":"x"}`}).Changes
	want := SchemaChange{Entity: "nospec", Column: "c", Kind: Renamed, From: "b", To: "c",
		Severity: entity.Warn}
	if diff := cmp.Diff(want, changes[2]); diff != "" || changes[2].String() == "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFirstShapeOfSpec: before the first event only the Spec's columns are known.
func TestFirstShapeOfSpec(t *testing.T) {
	t.Parallel()
	row := `"id":` + quote(someUUID) + `,"email":"a@x","updated_at":"2026-11-22T10:00:00Z"`
	for after, want := range map[string]string{
		// lab_version is optional.
		`,"status":"active"`:                             "",
		`,"status":"active","lab_version":1`:             "",
		`,"status":"active","lab_version":1,"phone":"1"`: "phone added info",
		``:                  "status removed warn",
		`,"state":"active"`: "state added info, status removed warn, state renamed warn",
	} {
		after = "{" + row + after + "}"
		table := lab().Table("public", "customer")
		for _, expected := range []string{want, ""} {
			e := encode(t, table, change{key: `{"id":` + quote(someUUID) + `}`, after: after})
			if got := strings.Join(changesOf(e.Changes), ", "); got != expected {
				t.Errorf("%s: %q, want %q", after, got, expected)
			}
			if got := readBack(t,
				e.Elements); strings.Contains(after, "phone") && got["phone"] != "1" {
				t.Errorf("the new column is not stored: %v", got)
			}
		}
	}
}

// TestOptionalColumns may come and go.
func TestOptionalColumns(t *testing.T) {
	t.Parallel()
	table := tableOf(t, "kind: int, optional: true")
	for _, after := range []string{`{"id":1}`, `{"id":1,"v":1}`, `{"id":1,"v":1,"w":1}`,
		`{"id":1,"w":1}`} {
		e := encode(t, table, change{key: `{"id":1}`, after: after})
		if got := strings.Join(changesOf(e.Changes), ", "); got != "" && got != "w added info" {
			t.Errorf("%s: %s", after, got)
		}
	}
}

// TestLateShapesAreNoNews: a lagging partition, or a replay by a new process, shows older columns
// after newer ones. Late columns raise nothing, and are stored as if in order.
func TestLateShapesAreNoNews(t *testing.T) {
	t.Parallel()
	table := generic()
	decimals := map[string]*debezium.Type{"v": scaled(2)}
	text := map[string]*debezium.Type{"v": named("string", "")}
	for i, c := range []struct {
		change
		changes string
		is      any
	}{
		{change{after: `{"v":"abc","w":1}`, types: text, commit: 100}, "", "abc"},
		{change{after: `{"v":"APo="}`, types: decimals, commit: 50}, "", decimal(t, "2.50")},
		{change{after: `{"v":"APo="}`, types: decimals, commit: 60}, "", decimal(t, "2.50")},
		{change{after: `{"v":"def","w":1}`, types: text, commit: 110}, "", "def"},
		{change{after: `{"v":"def","w":1,"x":2}`, types: text, commit: 120}, "x added info", "def"},
	} {
		c.key = `{"id":1}`
		e := encode(t, table, c.change)
		if got := strings.Join(changesOf(e.Changes), ", "); got != c.changes {
			t.Errorf("step %d: %q, want %q", i, got, c.changes)
		}
		if diff := cmp.Diff(c.is, readBack(t, e.Elements)["v"], compareStored); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestDriftIsShared: partitions share the shapes seen; two Decoders have other Types of the same
// schema.
func TestDriftIsShared(t *testing.T) {
	t.Parallel()
	table := generic()
	var mu sync.Mutex
	seen := map[string]int{}
	var partitions sync.WaitGroup
	for range 4 {
		partitions.Go(func() {
			var encoder Encoder
			types := map[string]*debezium.Type{"v": named("int32", ""), "w": named("string", "")}
			for i := range 50 {
				after := `{"v":1}`
				if i >= 10 {
					after = `{"v":1,"w":"x"}`
				}
				e, err := encoder.Encode(table,
					change{key: `{"id":1}`, after: after, types: types}.event(t), Facts{})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, c := range changesOf(e.Changes) {
					seen[c]++
				}
				mu.Unlock()
			}
		})
	}
	partitions.Wait()
	// Whoever is first to have the second column makes the first shape's absence no news.
	if len(seen) > 1 || seen["w added info"] > 1 {
		t.Errorf("reported %v", seen)
	}
}

// TestShapesAreBounded: columns that come and go do not fill the memory.
func TestShapesAreBounded(t *testing.T) {
	t.Parallel()
	table := generic()
	for i := range 3 * plansMax {
		encode(t, table, change{key: `{"id":1}`, after: `{"c` + strings.Repeat("x", i) + `":1}`})
	}
	if len(table.plans) > plansMax {
		t.Errorf("%d shapes are kept", len(table.plans))
	}
}

// TestNullsTellNothing: without schemas a column is known by its values.
func TestNullsTellNothing(t *testing.T) {
	t.Parallel()
	table, encoder := generic(), new(Encoder)
	for _, after := range []string{`{"a":null,"b":null}`, `{"a":1,"b":null}`, `{"a":null,"b":"x"}`,
		`{"a":2,"b":"y"}`, `{"a":null,"b":null}`} {
		e, err := encoder.Encode(table, change{key: `{"id":1}`, after: after}.event(t), Facts{})
		if err != nil || len(e.Changes) > 0 {
			t.Errorf("%s: %v, %v", after, e.Changes, err)
		}
	}
	if len(table.plans) != 1 {
		t.Errorf("%d shapes of one table", len(table.plans))
	}
}
