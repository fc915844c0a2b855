package deadletter

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestLetterForTerminals: no control text of a record reaches the terminal raw.
func TestLetterForTerminals(t *testing.T) {
	t.Parallel()
	evil := "\x1b[2J\u009b\xff"
	l := &Letter{ID: "1", Rule: evil, Reasons: []string{evil}, Entity: evil, Operation: evil,
		Table: evil, Position: evil,
		Consumer: evil, Group: evil, ReplayOf: evil,
		Record: &kgo.Record{Topic: evil, Key: []byte(evil),
			Value: []byte("{\"a\":\"\u009b\"}"),
			Headers: []kgo.RecordHeader{{Key: evil, Value: []byte(evil)},
				{Key: "h", Value: []byte("\x1b")}}}}
	var text bytes.Buffer
	for _, write := range []func() error{
		func() error { return l.WriteText(&text) }, func() error { return l.WriteLine(&text) },
		func() error { return l.WriteJSON(&text, true) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	if strings.ContainsAny(text.String(), "\x1b") || strings.Contains(text.String(), "\xff") {
		t.Errorf("printed raw:\n%q", text.String())
	}
}

func TestWriteText(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	r := &kgo.Record{Topic: "cdc.public.order", Partition: 1, Offset: 9, Timestamp: at,
		Key:     []byte(`{"id":1}`),
		Value:   []byte(`{"a":[1,{}]}`),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "none"}}}
	var text bytes.Buffer
	l := &Letter{ID: "4", Time: at,
		Rule: "enum", Reasons: []string{"enum: one", "two"},
		Entity: "order", Operation: "INSERT", Record: r, Table: "public.order", Position: "00ff",
		TxID:      7,
		Committed: at,
		Consumer:  "v1", Group: "g", Attempts: 2, ReplayOf: "3", Done: "dropped",
		Again: []string{"5", "6"}}
	if err := l.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := `letter 4
  state      dropped
  written    2026-11-23 06:00:00.000 UTC by the consumer v1 of the group g
  rule       enum
  reason     enum: one
  reason     two
  event      INSERT of order
  record     cdc.public.order, partition 1, offset 9, 2026-11-23 06:00:00.000 UTC
  source     public.order, position 00ff, transaction 7, committed 2026-11-23 06:00:00.000000 UTC
  attempts   2, the last as a replay of letter 3
  again      5, 6, of the same record
  headers    2
    h: v
    none: null
key, 8 bytes of JSON:
{
  "id": 1
}
value, 12 bytes of JSON:
{
  "a": [
    1,
    {}
  ]
}

`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
