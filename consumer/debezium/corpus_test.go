package debezium

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

func headersOf(r corpus.Record) []Header {
	var hs []Header
	for _, h := range r.Headers {
		hs = append(hs, Header{h.Key, h.Value})
	}
	return hs
}

// record is the n-th record of the project's own case.
func record(t testing.TB, name string, n int) corpus.Record {
	t.Helper()
	return corpus.Find(t, name).Records(t)[n]
}

// eachCase runs a test for every case of every corpus.
func eachCase(t *testing.T, test func(t *testing.T, c *corpus.Case, records []corpus.Record)) {
	for _, c := range corpus.Cases(t) {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			test(t, c, c.Records(t))
		})
	}
}

func TestCorpusDecodes(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, c *corpus.Case, records []corpus.Record) {
		ops := map[string]int{}
		var d Decoder
		for n, r := range records {
			event, err := d.Decode(r.Key, r.Value, headersOf(r))
			if reason := rejection(c, r); reason != "" {
				var format *FormatError
				if !errors.As(err, &format) || !strings.Contains(format.Reason, reason) ||
					format.Other != other(r) {
					t.Errorf("record %d of %s: error %v, want a FormatError with %q", n, r.Topic,
						err, reason)
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
				checkSource(t, c, r, event)
			case c.Config == "flat-default":
				ops["other"]++ // the record of a delete there
			default:
				ops["tombstone"]++
			}
		}
		if diff := cmp.Diff(c.Ops, ops); diff != "" || len(records) != c.Count {
			t.Errorf("%d records of %d, operations (-want +got):\n%s", len(records), c.Count, diff)
		}
	})
}

// rejection is the reason to refuse a record; "" for a change or a tombstone.
func rejection(c *corpus.Case, r corpus.Record) string {
	switch {
	case len(r.Value) == 0:
		return ""
	case strings.HasPrefix(r.Topic, "__debezium-heartbeat."):
		return "is a heartbeat"
	case strings.HasSuffix(r.Topic, ".transaction"):
		return "is transaction metadata"
	case c.Config == "flat-default" && bytes.HasSuffix(r.Value, []byte(`"payload":null}`)):
		return "" // the record of a delete
	case c.Config == "flat-default":
		return "is a flattened row"
	}
	return ""
}

// other is FormatError.Other as expected of a record without a change.
func other(r corpus.Record) string {
	switch {
	case strings.HasPrefix(r.Topic, "__debezium-heartbeat."):
		return "heartbeat"
	case strings.HasSuffix(r.Topic, ".transaction"):
		return "transaction"
	}
	return ""
}

func checkSource(t *testing.T, c *corpus.Case, r corpus.Record, e *Event) {
	s := e.Source
	name, db := "cdc", "lab"
	if c.Folder == corpus.Postgres17 { // each case there has its own prefix and database
		name, _, _ = strings.Cut(r.Topic, ".")
		db = name[:max(0, len(name)-1)]
	}
	if s.Connector != "postgresql" || s.Name != name || s.DB != db || s.TsUs == 0 || e.TsUs == 0 {
		t.Errorf("source of a record of %s is incomplete: %+v", r.Topic, e)
	}
	if e.Op == Message {
		return
	}
	sanitized := strings.ReplaceAll(name+"."+s.Schema+"."+s.Table, " ", "_")
	if sanitized != r.Topic {
		t.Errorf("the record of %s says it is from %s.%s", r.Topic, s.Schema, s.Table)
	}
	if (len(r.Key) == 0) != (e.Key == nil) {
		t.Errorf("key %q became %v", r.Key, e.Key)
	}
}

// TestCorpusPositions: the position of a key's events never goes back, except after a replay or
// where a snapshot begins again.
func TestCorpusPositions(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, c *corpus.Case, records []corpus.Record) {
		type place struct {
			topic     string
			partition int32
		}
		again := slices.ContainsFunc(c.Steps,
			func(s corpus.Step) bool { return s.Overrides["snapshot.mode"] == "always" })
		last := map[place]Position{}
		back := 0
		for n, r := range records {
			event, err := decodeRecord(r.Key, r.Value, nil)
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
				if c.Config != "crash" && !(again && event.Op == Read) {
					t.Errorf("record %d of %s goes back from %s to %s", n, r.Topic, last[at],
						position)
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
