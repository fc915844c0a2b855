package debezium

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const corpusDir = "testdata/corpus"

// corpusCase is one entry of cases.json.
type corpusCase struct {
	Config, Case, File string
	Records            int
	Ops                map[string]int
	Expected           map[string]struct {
		Columns []struct{ Name, Type string }
		Rows    []map[string]*string
		Key     []string `json:"primary_key"`
	}
}

func (c corpusCase) name() string { return c.Config + "/" + c.Case }

// corpusRecord is one line of a case's file.
type corpusRecord struct {
	Topic      string
	Partition  int
	Key, Value []byte
	Headers    []struct {
		K string
		V []byte
	}
}

func (r corpusRecord) headers() []Header {
	var hs []Header
	for _, h := range r.Headers {
		hs = append(hs, Header{h.K, h.V})
	}
	return hs
}

// corpora are the folders of captured records: the project's, and the one CDCLAB_CORPUS names.
func corpora() []string {
	folders := []string{corpusDir}
	if whole := os.Getenv("CDCLAB_CORPUS"); whole != "" {
		folders = append(folders, whole)
	}
	return folders
}

func corpusCases(t testing.TB, folder string) []corpusCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Cases []corpusCase }
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Cases) == 0 {
		t.Fatalf("%s has no cases", folder)
	}
	return all.Cases
}

func corpusRecords(t testing.TB, folder string, c corpusCase) []corpusRecord {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join(folder, c.File))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unpacked)
	lines.Buffer(nil, 16<<20)
	var records []corpusRecord
	for lines.Scan() {
		var r corpusRecord
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return records
}

// record is the n-th record of one of the project's own cases.
func record(t testing.TB, name string, n int) corpusRecord {
	t.Helper()
	for _, c := range corpusCases(t, corpusDir) {
		if c.name() == name {
			return corpusRecords(t, corpusDir, c)[n]
		}
	}
	t.Fatalf("there is no case %s", name)
	return corpusRecord{}
}

// eachCase runs a test for every case of every corpus.
func eachCase(t *testing.T, test func(t *testing.T, c corpusCase, records []corpusRecord)) {
	for _, folder := range corpora() {
		for _, c := range corpusCases(t, folder) {
			t.Run(filepath.Base(folder)+"/"+c.name(), func(t *testing.T) {
				t.Parallel()
				test(t, c, corpusRecords(t, folder, c))
			})
		}
	}
}

func TestCorpusDecodes(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, c corpusCase, records []corpusRecord) {
		ops := map[string]int{}
		var d Decoder
		for n, r := range records {
			event, err := d.Decode(r.Key, r.Value, r.headers())
			if reason := rejection(c, r); reason != "" {
				var format *FormatError
				if !errors.As(err, &format) || !strings.Contains(format.Reason, reason) || format.Other != other(r) {
					t.Errorf("record %d of %s: error %v, want a FormatError with %q", n, r.Topic, err, reason)
				}
				ops["other"]++
				continue
			}
			if err != nil {
				t.Errorf("record %d of %s: %v\n%.500s", n, r.Topic, err, r.Value)
				continue
			}
			switch {
			case !event.Tombstone:
				ops[string(event.Op)]++
				checkSource(t, r, event)
			case c.Config == "flat-default":
				ops["other"]++ // what a delete becomes there
			default:
				ops["tombstone"]++
			}
		}
		if diff := cmp.Diff(c.Ops, ops); diff != "" || len(records) != c.Records {
			t.Errorf("%d records of %d, operations (-want +got):\n%s", len(records), c.Records, diff)
		}
	})
}

// rejection says with which reason a record must be refused; "" for a change or a tombstone.
func rejection(c corpusCase, r corpusRecord) string {
	switch {
	case len(r.Value) == 0:
		return ""
	case strings.HasPrefix(r.Topic, "__debezium-heartbeat."):
		return "is a heartbeat"
	case strings.HasSuffix(r.Topic, ".transaction"):
		return "is transaction metadata"
	case c.Config == "flat-default":
		return "is a flattened row"
	}
	return ""
}

// other is what the FormatError of a record that is no change says it is.
func other(r corpusRecord) string {
	switch {
	case strings.HasPrefix(r.Topic, "__debezium-heartbeat."):
		return "heartbeat"
	case strings.HasSuffix(r.Topic, ".transaction"):
		return "transaction"
	}
	return ""
}

func checkSource(t *testing.T, r corpusRecord, e *Event) {
	s := e.Source
	if s.Connector != "postgresql" || s.Name != "cdc" || s.DB != "lab" || s.TsUs == 0 || e.TsUs == 0 {
		t.Errorf("source of a record of %s is incomplete: %+v", r.Topic, e)
	}
	if e.Op == Message {
		return
	}
	sanitized := strings.ReplaceAll("cdc."+s.Schema+"."+s.Table, " ", "_")
	if sanitized != r.Topic {
		t.Errorf("the record of %s says it is from %s.%s", r.Topic, s.Schema, s.Table)
	}
	if (len(r.Key) == 0) != (e.Key == nil) {
		t.Errorf("key %q became %v", r.Key, e.Key)
	}
}

// TestCorpusPositions: the position of a key's events never goes back, but where they are replayed.
func TestCorpusPositions(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, c corpusCase, records []corpusRecord) {
		type place struct {
			topic     string
			partition int
		}
		last := map[place]Position{}
		back := 0
		for n, r := range records {
			event, err := Decode(r.Key, r.Value, nil)
			if err != nil || event.Tombstone || event.Op == Message {
				continue
			}
			position, err := event.Position()
			if err != nil {
				t.Errorf("record %d: %v", n, err)
			}
			at := place{r.Topic, r.Partition}
			if position.String() < last[at].String() {
				back++
				if c.Config != "crash" {
					t.Errorf("record %d of %s goes back from %s to %s", n, r.Topic, last[at], position)
				}
			}
			if position.String() > last[at].String() {
				last[at] = position
			}
		}
		if c.Config == "crash" && back == 0 {
			t.Error("no position goes back: this case has no replay in it")
		}
	})
}
