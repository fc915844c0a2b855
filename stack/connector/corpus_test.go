package connector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/debezium/corpus"
	"github.com/cdclab/cdclab/stack/servertest"
)

// corpusRecord is a record without the parts decided by clocks and the log.
type corpusRecord struct {
	Topic          string
	Partition      int32
	Key            string
	Op             string
	Before, After  any
	NewKey, OldKey string
}

// TestCorpus: the same SQL gives the same records as Debezium, in the same partition and order.
func TestCorpus(t *testing.T) {
	t.Parallel()
	played := 0
	for _, c := range corpus.Own(t) {
		truncates := c.Name() == "truncate-on/truncate"
		if c.Folder != corpus.Postgres15 || !truncates &&
			(c.Config != "schemas-off" || notPlayed[c.Case] != "") {
			continue
		}
		played++
		t.Run(c.Case, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, servertest.SharedPostgres(t), 3)
			l.runSteps(withoutHstore(c.Steps))
			l.drained()
			var want, sent []corpusRecord
			for _, r := range c.Records(t) {
				want = append(want, captured(t, r))
			}
			for _, g := range l.records() {
				r := corpusRecord{Topic: g.Topic, Partition: g.Partition, Key: string(g.Record.Key),
					NewKey: g.header(debezium.HeaderNewKey),
					OldKey: g.header(debezium.HeaderOldKey)}
				r.read(t, g.Value)
				if truncates {
					r.Partition = ofWrappedKey
				}
				sent = append(sent, r)
			}
			if diff := cmp.Diff(byPartition(want), byPartition(sent)); diff != "" {
				t.Errorf("%s (-Debezium +ours):\n%s", c.Doc, diff)
			}
		})
	}
	if played < 34 {
		t.Errorf("%d cases are played", played)
	}
}

// notPlayed are the cases that cannot have the same records here, and why. The case truncate is
// played with truncate-on only, for the truncates.
var notPlayed = map[string]string{
	"incremental_source": "ours has no signals",
	"kitchen_sink":       "the test's server lacks the extensions",
	"null_vs_default":    "a column's default is the time of the insert",
	"snapshot_types":     "the test's server lacks the extensions",
	"truncate":           "has no truncates",
}

// withoutHstore are the steps without the column of toast_default whose type is an extension's.
func withoutHstore(steps []corpus.Step) []corpus.Step {
	strip := strings.NewReplacer(" h ext.hstore,", "", " ext.hstore('k',repeat('abcdefghij',320)),",
		"")
	var left []corpus.Step
	for _, step := range steps {
		if step.SQL = strip.Replace(step.SQL); !strings.Contains(step.SQL, " alter h ") {
			left = append(left, step)
		}
	}
	return left
}

// captured is Debezium's record as ours would be: with schemas the key has other bytes, and so
// another partition.
func captured(t *testing.T, from corpus.Record) corpusRecord {
	t.Helper()
	r := corpusRecord{Topic: from.Topic, Partition: from.Partition, Key: string(from.Key)}
	for _, h := range from.Headers {
		switch h.Key {
		case debezium.HeaderNewKey:
			r.NewKey = string(h.Value)
		case debezium.HeaderOldKey:
			r.OldKey = string(h.Value)
		}
	}
	payload := func(text []byte) []byte {
		var wrapped struct{ Payload json.RawMessage }
		if bytes.HasPrefix(text, []byte(`{"schema":`)) && json.Unmarshal(text, &wrapped) == nil {
			r.Partition = ofWrappedKey
			return wrapped.Payload
		}
		return text
	}
	r.read(t, payload(from.Value))
	r.Key = string(payload(from.Key))
	for _, image := range []any{r.Before, r.After} {
		if row, ok := image.(map[string]any); ok && strings.HasSuffix(r.Topic, ".toasty") {
			delete(row, "h")
		}
	}
	return r
}

// ofWrappedKey stands for the partition of a key with a schema.
const ofWrappedKey = -1

func (l *lab) runSteps(steps []corpus.Step) {
	l.t.Helper()
	sessions := map[string]*pgx.Conn{"main": l.conn}
	blocked := make(chan error, 1)
	var blocks string
	for _, step := range steps {
		switch {
		case step.Connector == "stop":
			continue
		case step.Connector == "start":
			l.start()
			continue
		case l.current == nil && steps[0].Connector == "":
			l.start()
		}
		conn := sessions[step.Session]
		if conn == nil {
			conn = l.connect(l.config.Slot)
			sessions[step.Session] = conn
		}
		if step.Session == blocks {
			if err := <-blocked; err != nil {
				l.t.Fatalf("%s: %v", step.SQL, err)
			}
		}
		run := func() error {
			if step.Stdin != nil {
				rows := strings.NewReader(strings.Join(step.Stdin, "\n") + "\n")
				_, err := conn.PgConn().CopyFrom(l.t.Context(), rows, step.SQL)
				return err
			}
			_, err := conn.PgConn().Exec(l.t.Context(), step.SQL).ReadAll()
			return err
		}
		if step.Blocks {
			blocks = step.Session
			pid := conn.PgConn().PID()
			go func() { blocked <- run() }()
			eventually(l.t, "the statement waits for a lock", func() error {
				if l.query(fmt.Sprintf("SELECT cardinality(pg_blocking_pids(%d))::text",
					pid)) == "0" {
					return fmt.Errorf("%s waits for nobody", step.SQL)
				}
				return nil
			})
			continue
		}
		if err := run(); (err != nil) != (step.Error != "") {
			l.t.Fatalf("%s: %v", step.SQL, err)
		}
	}
}

// read reads the row in an envelope.
func (r *corpusRecord) read(t *testing.T, value []byte) {
	t.Helper()
	if value != nil {
		var envelope struct {
			Op            string
			Before, After any
		}
		decodeNumbers(t, value, &envelope)
		r.Op, r.Before, r.After = envelope.Op, envelope.Before, envelope.After
	}
}

// byPartition groups the records of a fixed order, leaves out logical messages, and makes numbers
// comparable: 1e+308 is 1E308.
func byPartition(records []corpusRecord) map[string][]corpusRecord {
	partitions := map[string][]corpusRecord{}
	for _, r := range records {
		const logicalMessage = "m"
		if r.Op == logicalMessage {
			continue
		}
		r.Before, r.After = numbered(r.Before), numbered(r.After)
		at := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
		if r.Partition == ofWrappedKey {
			at += r.Key
		}
		if r.Key == "" {
			// Without a key any partition will do, and nothing is in order.
			r.Partition = 0
			at = fmt.Sprintf("%s: %v %v %v", r.Topic, r.Op, r.Before, r.After)
		}
		partitions[at] = append(partitions[at], r)
	}
	return partitions
}

func numbered(v any) any {
	row, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for name, value := range row {
		if n, ok := value.(json.Number); ok && strings.ContainsAny(string(n), ".eE") {
			float, err := strconv.ParseFloat(string(n), 64)
			if err == nil {
				row[name] = float
			}
		}
		if value == json.Number("-0") {
			row[name] = 0.0
		}
	}
	return row
}

func decodeNumbers(t *testing.T, text []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		t.Fatal(err)
	}
}
