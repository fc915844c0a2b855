package recording

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// member is a process of the consumer with one partition.
type member struct {
	t testing.TB
	*apply.Applier
}

func newMember(t testing.TB, s documents.Store) member {
	shared := apply.NewShared(apply.DefaultConfig(), encode.NewTables(entity.Default()), s,
		telemetry.NewMetrics(), slog.New(slog.DiscardHandler), nil)
	return member{t, shared.Applier(func(_ context.Context, l []deadletter.Rejected) error {
		t.Errorf("dead letter: %v", l[0].Err)
		return nil
	}, func() time.Time { return consumertest.Time })}
}

func (m member) take(records ...*kgo.Record) {
	var batch []telemetry.Arrival
	for _, r := range records {
		batch = append(batch, telemetry.Arrival{Record: r, Polled: consumertest.Time})
	}
	m.Take(batch)
}

func (m member) step() {
	m.t.Helper()
	if err := m.Step(context.Background()); err != nil {
		m.t.Fatal(err)
	}
}

// TestNamesOutliveProcesses: a member of the documents is of one column, and the exact text beside
// a value ends with the value's form, also where another process goes on, or writes at once.
func TestNamesOutliveProcesses(t *testing.T) {
	t.Parallel()
	const stamp = "at int64 io.debezium.time.MicroTimestamp"
	for name, c := range map[string]struct {
		first, second, third string // the columns beside id, and their schema
		want                 string // the members of the row of the third event
	}{
		"snake first": {"first_name=a", "first_name=b firstName=c", "firstName=d",
			`firstName="b" firstName_="d"`},
		"camel first": {"firstName=a", "first_name=b firstName=c", "first_name=d",
			`firstName="c" first_name="d"`},
		"both from the first": {"first_name=b firstName=c", "first_name=d", "firstName=e",
			`firstName="e" first_name="d"`},
		"dropped and another": {"first_name=a", "other=b", "firstName=c",
			`firstName="a" firstName_="c"`},
		"text after time": {stamp, "at=x", "at=y", `at="y"`},
		"another beside the exact text": {stamp, stamp + "|at_exact=x", "at_exact=y",
			`at={"$date":{"$numberLong":"1767225600123"}} ` +
				`atExact="2026-01-01T00:00:00.123456Z" at_exact="y"`},
	} {
		for _, way := range []string{"one process", "restarts", "at once"} {
			memory := documents.NewMemory()
			all := make([]member, 3)
			records := make([]*kgo.Record, 3)
			for i, columns := range []string{c.first, c.second, c.third} {
				records[i] = namedRow(i, columns)
				if all[i] = newMember(t, memory); way == "one process" {
					all[i] = all[0]
				}
			}
			if way == "at once" { // each has read its record before any has written
				for i := range all {
					all[i].take(records[i])
				}
			}
			for i := range all {
				if way != "at once" {
					all[i].take(records[i])
				}
				all[i].step()
			}
			var out bytes.Buffer
			if err := documents.Print(context.Background(), memory, false, &out); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, member := range strings.Fields("firstName firstName_ first_name first_name_ " +
				"at atExact at_exact atExact_ atExact__") {
				if value, has := members(t, out.Bytes(), member)["1"]; has {
					got += fmt.Sprintf(" %s=%s", member, value)
				}
			}
			if strings.TrimSpace(got) != c.want {
				t.Errorf("%s, %s: the row is%s, want %s\n%s", name, way, got, c.want, out.String())
			}
		}
	}
}

// namedRow is an event of the row 1, number of three, with the columns: texts without schemas, or
// a timestamp with a schema.
func namedRow(number int, columns string) *kgo.Record {
	one := taped{table: "person", lsn: uint64(101 + 10*number), key: docKey(1), op: "u"}
	if number == 0 {
		one.op = "c"
	}
	row, fields := []string{`"id":1`}, []string{"id int32"}
	for _, part := range strings.Split(columns, "|") {
		if strings.HasPrefix(part, "at int64") {
			row, fields = append(row, `"at":1767225600123456`), append(fields, part)
			continue
		}
		for _, column := range strings.Fields(part) {
			name, value, _ := strings.Cut(column, "=")
			row = append(row, fmt.Sprintf("%q:%q", name, value))
			fields = append(fields, name+" string")
		}
	}
	one.after = "{" + strings.Join(row, ",") + "}"
	one.fields, one.keyFields = fieldsOf(fields...), fieldsOf("id int32")
	r := tape{one}.records()[0]
	r.Offset = int64(number)
	return r
}
