package encode

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/entity"
)

// cell is a single value in both forms in which PostgreSQL sends values.
type cell struct {
	json string  // from Debezium
	text *string // from ::text
}

func drawCell(t *rapid.T, f entity.Field) cell {
	if !f.Required && rapid.Bool().Draw(t, "null "+f.Column) {
		return cell{json: "null"}
	}
	both := func(v any, text string) cell {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return cell{string(raw), &text}
	}
	switch f.Kind {
	case entity.UUID:
		text := rapid.StringMatching(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).Draw(t, f.Column)
		return both(text, text)
	case entity.Text:
		text := rapid.String().Draw(t, f.Column)
		return both(text, text)
	case entity.Bool:
		b := rapid.Bool().Draw(t, f.Column)
		return both(b, fmt.Sprint(b))
	case entity.Int:
		text := fmt.Sprint(rapid.Int64().Draw(t, f.Column))
		return both(json.Number(text), text)
	case entity.Decimal:
		scale := rapid.IntRange(0, 15).Draw(t, "scale")
		whole := rapid.StringMatching(`-?(0|[1-9][0-9]{0,16})`).Draw(t, f.Column)
		text := whole
		if scale > 0 {
			text += "." + rapid.StringMatching(fmt.Sprintf(`[0-9]{%d}`, scale)).Draw(t, "fraction")
		}
		// A variable scale loses zeros on Debezium's way, not on PostgreSQL's.
		short := text
		if scale > 0 && rapid.Bool().Draw(t, "stripped") {
			short = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
		}
		return both(short, text)
	case entity.Timestamp:
		at := time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t,
			f.Column)).UTC()
		digits := rapid.IntRange(0, 6).Draw(t, "digits")
		at = at.Truncate([]time.Duration{time.Second, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3}[digits])
		offset := rapid.SampledFrom([]int{0, 0, 3600, -8 * 3600, 19800, -12600, 3208}).Draw(t,
			"offset")
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

// judged: only values judged by no rule but kind and required are drawn.
func judged(v entity.Violation) bool {
	return v.Rule != entity.RuleEnum && v.Rule != entity.RuleFormat && v.Rule != entity.RuleRange
}

// TestRowEqualsDocument: a row compares equal after the whole way, with any content, and a single
// changed value does not.
func TestRowEqualsDocument(t *testing.T) {
	t.Parallel()
	all := entity.Default()
	tables := NewTables(all)
	rapid.Check(t, func(t *rapid.T) {
		spec := rapid.SampledFrom(all.All()).Draw(t, "spec")
		columns := map[string]*string{}
		var row []string
		for _, f := range spec.Fields {
			c := drawCell(t, f)
			columns[f.Column] = c.text
			row = append(row, quote(f.Column)+":"+c.json)
		}
		schema, name, _ := strings.Cut(spec.Table, ".")
		e := encode(t, tables.Table(schema, name), change{after: "{" + strings.Join(row, ",") + "}",
			key: fmt.Sprintf(`{"id":%q}`, *columns["id"])})
		if i := slices.IndexFunc(e.Violations, judged); i >= 0 {
			t.Fatalf("the row breaks %v", e.Violations[i])
		}
		fromRow, err := spec.RowText(columns)
		if err != nil {
			t.Fatal(err)
		}
		fromDocument, err := spec.DocumentText(readBack(t, e.Elements))
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
