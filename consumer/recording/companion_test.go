package recording

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// companionForms are forms of a column: the field of the schema, "" for schemas off, and values.
var companionForms = []struct{ field, values string }{
	{"at string io.debezium.time.ZonedTimestamp", `"2026-01-01T00:00:00.123456Z" ` +
		`"2026-01-01T00:00:00.5Z" null "infinity"`},
	{"at int64 io.debezium.time.MicroTimestamp", `1767225600123456 1767225600123000 null`},
	{"at int64 io.debezium.time.Timestamp", `1767225600123 null`},
	{"at int32 io.debezium.time.Date", `20000 null`},
	{"at string", `"2026-05-05T10:00:00.654321Z" "x" null`},
	{"at int64", `7 null`},
	{"at boolean", `true`},
	{"", `"2026-05-05T10:00:00.654321Z" 5 true null ["2026-05-05T10:00:00.654321Z"] {"a":1}`},
}

// TestCompanionsEndWithTheirForm: however the type of a column changes, the exact text beside a
// value is there only for the value: of the same millisecond, beside a date.
func TestCompanionsEndWithTheirForm(t *testing.T) {
	t.Parallel()
	seen := 0
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 7))
		var log tape
		for i := range 2 + random.IntN(5) {
			form := companionForms[random.IntN(len(companionForms))]
			values := strings.Fields(form.values)
			op := "u"
			if i == 0 {
				op = "c"
			}
			one := taped{table: "ev", lsn: uint64(101 + 20*i), key: `{"id":1}`, op: op,
				after: fmt.Sprintf(`{"id":1,"at":%s}`, values[random.IntN(len(values))])}
			if form.field != "" {
				one.fields, one.keyFields = fieldsOf("id int32", form.field), fieldsOf("id int32")
			}
			log = append(log, one)
		}
		printed, _ := sameHoweverDelivered(t, log.records(), 2, ReplayOptions{})
		at, exact := members(t, printed, "at")["1"], members(t, printed, "atExact")["1"]
		if exact == "" {
			continue
		}
		seen++
		var date struct {
			Date struct {
				Millis string `json:"$numberLong"`
			} `json:"$date"`
		}
		var text string
		if json.Unmarshal([]byte(at), &date) != nil || json.Unmarshal([]byte(exact), &text) != nil {
			t.Fatalf("seed %d: at %s, atExact %s\n%+v", seed, at, exact, log)
		}
		moment, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || fmt.Sprint(moment.UnixMilli()) != date.Date.Millis {
			t.Fatalf("seed %d: at %s, atExact %s, %v\n%+v", seed, at, exact, err, log)
		}
	}
	if seen < 20 {
		t.Errorf("%d logs ended with an exact text: too few", seen)
	}
}

// TestMembersHaveOneMeaning: whatever columns come and go, each value of a document is a value of
// the column that first had the member.
func TestMembersHaveOneMeaning(t *testing.T) {
	t.Parallel()
	columns := []string{"first_name", "firstName", "first_name_exact", "firstNameExact", "a.b",
		"first__name", "_id", "cdcMetadata"}
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 8))
		var log tape
		for i := range 3 + random.IntN(5) {
			row, fields := []string{fmt.Sprintf(`"id":%d`, i)}, []string{"id int32"}
			for _, column := range columns {
				if random.IntN(3) > 0 {
					continue
				}
				if random.IntN(4) == 0 {
					fields = append(fields, column+" int64 io.debezium.time.MicroTimestamp")
					row = append(row, fmt.Sprintf(`%q:1767225600123456`, column))
				} else {
					fields = append(fields, column+" string")
					row = append(row, fmt.Sprintf(`%q:%q`, column, "of "+column))
				}
			}
			log = append(log, taped{table: "ev", lsn: uint64(101 + 20*i),
				key: fmt.Sprintf(`{"id":%d}`, i), op: "c",
				after: "{" + strings.Join(row, ",") + "}", fields: fieldsOf(fields...),
				keyFields: fieldsOf("id int32")})
		}
		printed, _ := sameHoweverDelivered(t, log.records(), 1, ReplayOptions{})
		meaning := map[string]string{}
		for line := range strings.Lines(string(printed)) {
			var one struct{ Document map[string]any }
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				t.Fatal(err)
			}
			for member, value := range one.Document {
				text, is := value.(string)
				column, is2 := strings.CutPrefix(text, "of ")
				if !is || !is2 {
					continue
				}
				if was := meaning[member]; was != "" && was != column {
					t.Fatalf("seed %d: %s was of %s, and is of %s\n%s", seed, member, was, column,
						printed)
				}
				meaning[member] = column
			}
		}
	}
}
