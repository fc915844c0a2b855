package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/apply"
)

// oddCase is a recording of testdata/cases: a log as users of Debezium met the log, and the right
// end. Want is a sentence, or documents by collection and _id: null for no living document, else
// the members to be found, with null for a member that must be absent.
type oddCase struct{ Want json.RawMessage }

// oddEnd is how a replay ended.
type oddEnd struct {
	living map[string]map[string]map[string]any // documents by collection and _id
	counts ReplayCounts
	err    error
	log    string
}

func (e oddEnd) document(collection, id string) map[string]any { return e.living[collection][id] }

func (e oddEnd) letters(rule string) bool {
	return e.counts.DeadLettered[rule] > 0 && strings.Contains(e.log, "rule="+rule)
}

// sentences judge the ends that cases.json tells in words.
var sentences = map[string]func(oddEnd) bool{
	"failover-create-on-tombstone":  oddEnd.alarmed,
	"failover-update-in-same-batch": oddEnd.alarmed,
	"deferrable-key-swap": func(e oddEnd) bool {
		return e.document("slide", "1")["title"] == "s2" &&
			e.document("slide", "2")["title"] == "s1"
	},
	// Row 3 lives. Rows 1 and 2 share a key: row 2 and the end of row 1 are letters.
	"message-key-columns-default-identity": func(e oddEnd) bool {
		return len(e.living["item"]) == 2 && e.document("item", "7")["id"] == "1" &&
			e.document("item", "7")["sku"] == "a" && e.document("item", "8")["id"] == "3" &&
			e.letters("key") && e.counts.DeadLettered["key"] >= 3
	},
	"unique-index-as-key": func(e oddEnd) bool {
		d := e.document("member", "x@example.org")
		return len(e.living["member"]) == 1 && d["memberNo"] == "1" && d["deleted"] == true &&
			e.letters("key") && e.counts.DeadLettered["key"] == 3
	},
	"two-databases-one-table-name": func(e oddEnd) bool {
		users := e.living["users"]
		return len(users) == 2 && users["1"]["name"] == "Ann" && users["2"]["name"] == "Dee" &&
			e.letters("source")
	},
	"json-null-tombstone": func(e oddEnd) bool {
		return len(e.living["users"]) == 0 && len(e.counts.DeadLettered) == 0
	},
	"toast-update-of-unknown-row": func(e oddEnd) bool {
		own, _ := e.document("doc", "1")["cdcMetadata"].(map[string]any)
		return reflect.DeepEqual(own["unknown"], []any{"body"}) &&
			strings.Contains(e.log, "rule=unknown")
	},
}

func (e oddEnd) alarmed() bool {
	return e.err != nil && strings.Contains(e.err.Error(), "positions went back") &&
		e.counts.Stale == 0
}

// TestOddLogs plays each recording record by record, in one batch, mixed and delivered again, and
// wants the end that cases.json calls right.
func TestOddLogs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/cases/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string]oddCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if paths, _ := filepath.Glob("testdata/cases/*.jsonl"); len(paths) != len(cases) {
		t.Errorf("%d recordings and %d cases", len(paths), len(cases))
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, o := range []ReplayOptions{{BatchMax: 1}, {BatchMax: 500},
				{BatchMax: 500, Duplicate: 0.4, Shuffle: 3}} {
				if name == "two-databases-one-table-name" && o.Shuffle > 0 {
					continue // the first database to come is the table's
				}
				e := playOddLog(t, name, o)
				if judge := sentences[name]; judge != nil {
					if !judge(e) {
						t.Errorf("%+v ends in\n%v\n%+v, %v\n%s", o, e.living, e.counts, e.err,
							e.log)
					}
					continue
				}
				var want map[string]map[string]map[string]any
				if err := json.Unmarshal(c.Want, &want); err != nil {
					t.Fatal(err)
				}
				compareOddEnd(t, o, want, e)
			}
		})
	}
}

func playOddLog(t *testing.T, name string, o ReplayOptions) oddEnd {
	t.Helper()
	var out, log bytes.Buffer
	o.Apply, o.Log = apply.DefaultConfig(), slog.New(slog.NewTextHandler(&log, nil))
	records := readRecords(t, "testdata/cases/"+name+".jsonl")
	var e oddEnd
	e.counts, e.err = Replay(context.Background(), records, o, &out)
	e.log = log.String()
	e.living = map[string]map[string]map[string]any{}
	for line := range bytes.Lines(out.Bytes()) {
		var one struct {
			Collection string
			Document   map[string]any
		}
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatal(err)
		}
		if e.living[one.Collection] == nil {
			e.living[one.Collection] = map[string]map[string]any{}
		}
		for member, value := range one.Document {
			one.Document[member] = plainValue(value)
		}
		e.living[one.Collection][one.Document["_id"].(string)] = one.Document
	}
	return e
}

// plainValue returns a number of canonical Extended JSON as a text, and other values unchanged.
func plainValue(v any) any {
	if number, is := v.(map[string]any); is && len(number) == 1 {
		for name, text := range number {
			if strings.HasPrefix(name, "$number") {
				return text
			}
		}
	}
	return v
}

func compareOddEnd(t *testing.T, o ReplayOptions, want map[string]map[string]map[string]any,
	e oddEnd) {
	t.Helper()
	if e.err != nil || len(e.counts.DeadLettered) > 0 {
		t.Errorf("%+v: %v, dead letters %v\n%s", o, e.err, e.counts.DeadLettered, e.log)
	}
	for collection, rows := range want {
		for id, members := range rows {
			got := e.document(collection, id)
			if (got == nil) != (members == nil) {
				t.Errorf("%+v: %s %s is %v, want %v", o, collection, id, got, members)
			}
			for member, value := range members {
				if number, is := value.(float64); is {
					value, _ = strings.CutSuffix(jsonText(number), ".0")
				}
				if got[member] != value {
					t.Errorf("%+v: %s %s has %s %v, want %v", o, collection, id, member,
						got[member],
						value)
				}
			}
		}
	}
}

func jsonText(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

func readRecords(t *testing.T, path string) []*kgo.Record {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var records []*kgo.Record
	if err := Read(file, func(r *kgo.Record) error {
		records = append(records, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return records
}
