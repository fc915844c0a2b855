package connector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// corpusCase is SQL, and the records that a real Debezium (3.6.3, schemas off, decimals as strings)
// made of it, with 3 partitions, without what clocks and the log decide.
type corpusCase struct {
	Doc   string
	Steps []struct {
		Session, SQL, Connector string
		Stdin                   []string
		Blocks                  bool
	}
	Records []corpusRecord
}

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
	paths, err := filepath.Glob("testdata/corpus/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var c corpusCase
			decodeNumbers(t, text, &c)
			l := newLab(t, sharedServer(t), 3)
			l.runSteps(c)
			l.drained()
			var sent []corpusRecord
			for _, g := range l.records() {
				sent = append(sent, l.corpusRecord(g))
			}
			if diff := cmp.Diff(byPartition(c.Records), byPartition(sent)); diff != "" {
				t.Errorf("%s (-Debezium +ours):\n%s", c.Doc, diff)
			}
		})
	}
}

func (l *lab) runSteps(c corpusCase) {
	l.t.Helper()
	sessions := map[string]*pgx.Conn{"main": l.conn}
	blocked := make(chan error, 1)
	var blocks string
	for _, step := range c.Steps {
		switch {
		case step.Connector == "stop":
			continue
		case step.Connector == "start":
			l.start()
			continue
		case l.current == nil && c.Steps[0].Connector == "":
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
				if l.query(fmt.Sprintf("SELECT cardinality(pg_blocking_pids(%d))::text", pid)) == "0" {
					return fmt.Errorf("%s waits for nobody", step.SQL)
				}
				return nil
			})
			continue
		}
		if err := run(); err != nil {
			l.t.Fatalf("%s: %v", step.SQL, err)
		}
	}
}

func (l *lab) corpusRecord(g got) corpusRecord {
	l.t.Helper()
	r := corpusRecord{
		Topic: g.Topic, Partition: g.Partition, Key: string(g.Record.Key),
		NewKey: g.header(headerNewKey), OldKey: g.header(headerOldKey),
	}
	if g.Value != nil {
		var envelope struct {
			Op            string
			Before, After any
		}
		decodeNumbers(l.t, g.Value, &envelope)
		r.Op, r.Before, r.After = envelope.Op, envelope.Before, envelope.After
	}
	return r
}

// byPartition groups the records whose order is fixed, leaves out what the connector does, and
// makes numbers comparable: 1e+308 is 1E308.
func byPartition(records []corpusRecord) map[string][]corpusRecord {
	partitions := map[string][]corpusRecord{}
	for _, r := range records {
		const logicalMessage = "m"
		if r.Op == logicalMessage {
			continue
		}
		r.Before, r.After = numbered(r.Before), numbered(r.After)
		at := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
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
