package connector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
	"github.com/google/go-cmp/cmp"
)

const createItems = "CREATE TABLE item (id int PRIMARY KEY, v text NOT NULL)"

func TestSnapshotMarksAndPositions(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec("CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1)",
		"CREATE TABLE b (id int PRIMARY KEY)", "INSERT INTO b VALUES (1), (2), (3)",
		"CREATE TABLE c (id int PRIMARY KEY)", "INSERT INTO c VALUES (1), (2)",
		"CREATE TABLE empty (id int PRIMARY KEY)")
	l.start()
	l.exec("UPDATE b SET id = id WHERE id = 1")
	l.drained()
	marks := map[string][]string{}
	var snapshot, streamed []string
	for _, g := range l.records() {
		position := g.position(t)
		if g.Op != debezium.Read {
			streamed = append(streamed, position)
			continue
		}
		marks[g.Source.Table] = append(marks[g.Source.Table], g.Source.Snapshot)
		snapshot = append(snapshot, position)
		if g.CommitLSN == 0 || g.Source.LSN != g.CommitLSN || g.Source.TsUs == 0 {
			t.Errorf("snapshot source %+v, commit LSN %d", g.Source, g.CommitLSN)
		}
	}
	want := map[string][]string{
		"a": {"first"},
		"b": {"first_in_data_collection", "true", "last_in_data_collection"},
		"c": {"first_in_data_collection", "last"},
	}
	if diff := cmp.Diff(want, marks); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	if len(streamed) != 1 || slices.Max(snapshot) >= streamed[0] {
		t.Errorf("positions %v of the snapshot, %v of the stream", snapshot, streamed)
	}
}

// TestSnapshotHasGeneratedColumns: as Debezium's does; PostgreSQL's stream leaves generated columns
// out.
func TestSnapshotHasGeneratedColumns(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec("CREATE TABLE gen (id int PRIMARY KEY, "+
		"total int GENERATED ALWAYS AS (qty * 2) STORED, qty int)",
		"INSERT INTO gen (id, qty) VALUES (1, 3)")
	l.start()
	l.exec("INSERT INTO gen (id, qty) VALUES (2, 4)")
	l.drained()
	var rows []string
	for _, g := range l.records() {
		rows = append(rows, fmt.Sprintf("%d columns, total %q", len(g.After),
			text(g.After, "total")))
	}
	if diff := cmp.Diff([]string{`3 columns, total "6"`, `2 columns, total ""`}, rows); diff != "" {
		t.Errorf("snapshot and stream (-want +got):\n%s", diff)
	}
}

// TestPositionsFollowCommits: facts of logical decoding that defeat source.lsn (a late commit's
// change, an insert that waited for a deleting transaction) must not defeat the header's position.
func TestPositionsFollowCommits(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec(createItems, "INSERT INTO item VALUES (1, 'old'), (2, 'old')")
	l.start()
	other := l.connect(l.config.Slot)
	run := func(sql string) {
		t.Helper()
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	l.exec("BEGIN", "UPDATE item SET v = 'first written' WHERE id = 1")
	run("BEGIN")
	run("UPDATE item SET v = 'first committed' WHERE id = 2")
	run("COMMIT")
	l.exec("COMMIT")
	l.exec("INSERT INTO item VALUES (3, 'x'), (4, 'x'), (5, 'x')")
	l.drained()
	var last string
	var lsns []uint64
	var values []string
	for _, g := range l.records() {
		if g.Op == debezium.Read {
			continue
		}
		position := g.position(t)
		if position <= last {
			t.Errorf("position %s after %s", position, last)
		}
		if g.header(debezium.HeaderCommitLSN) != strconv.FormatUint(g.CommitLSN, 10) {
			t.Errorf("header %q", g.header(debezium.HeaderCommitLSN))
		}
		if g.Source.Sequence[1] != g.Source.LSN || g.Source.Sequence[0] > g.CommitLSN {
			t.Errorf("sequence %v of lsn %d, commit %d", g.Source.Sequence, g.Source.LSN,
				g.CommitLSN)
		}
		last, lsns = position, append(lsns, g.Source.LSN)
		values = append(values, text(g.After, "v"))
	}
	if want := []string{"first committed", "first written", "x", "x", "x"}; !slices.Equal(values,
		want) {
		t.Errorf("values %q, want %q", values, want)
	}
	if slices.IsSorted(lsns) {
		t.Error("the LSNs go up: this history does not test what it is for")
	}
}

func TestUnchangedToastUnderFullIsCopied(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec("CREATE TABLE doc (id int PRIMARY KEY, n int, body text)",
		"ALTER TABLE doc ALTER body SET STORAGE external", "ALTER TABLE doc REPLICA IDENTITY FULL")
	l.start()
	l.exec("INSERT INTO doc VALUES (1, 0, repeat('x', 9000))", "UPDATE doc SET n = 1",
		"UPDATE doc SET id = 2")
	l.drained()
	records := l.records()
	for _, g := range records {
		body := text(g.After, "body")
		if g.After != nil && len(body) != 9000 {
			t.Errorf("%s: a body of %d bytes", g.Op, len(body))
		}
	}
	if before := records[1].Before; text(before, "n") != text(records[0].After, "n") ||
		len(before) != 3 {
		t.Errorf("before of the update is %.80s", text(before, "n"))
	}
}

func TestNewTableWhileRunning(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 5)
	l.start()
	l.exec(`CREATE TABLE "My Table" (id int PRIMARY KEY)`, `INSERT INTO "My Table" VALUES (1)`)
	l.drained()
	records := l.records()
	if len(records) != 1 || records[0].Topic != "cdc.public.My_Table" {
		t.Fatalf("got %v", records)
	}
	if info := l.kafka.PartitionInfos("cdc.public.My_Table"); len(info) != 5 {
		t.Errorf("%d partitions, want 5", len(info))
	}
}

// TestIdleFollowsTheLog: writes outside the published tables are confirmed as well, otherwise the
// log would grow and nobody could tell when the stream has drained.
func TestIdleFollowsTheLog(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.start()
	for n := range 3 {
		l.exec("SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))")
		l.drained()
		t.Logf("drained %d times", n+1)
	}
	if got := l.records(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestStopAndStartAgainSendsNothingTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec(createItems, "INSERT INTO item VALUES (0, '')")
	for n := range 4 {
		l.start()
		l.exec(fmt.Sprintf("INSERT INTO item VALUES (%d, '')", n+1))
		l.drained()
		l.stop(nil)
	}
	if state, err := New(l.config).State(); state != Stopped || err != nil {
		t.Errorf("state %s, %v", state, err)
	}
	var ids []string
	for _, g := range l.records() {
		ids = append(ids, text(g.After, "id"))
	}
	if want := []string{"0", "1", "2", "3", "4"}; !slices.Equal(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
}

func TestStateSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.config.DSN = strings.Replace(l.config.DSN, "/"+l.config.Slot, "/nowhere", 1)
	l.launch()
	eventually(t, "the state names the database", func() error {
		state, err := l.current.State()
		if state != Reconnecting || err == nil ||
			!strings.Contains(err.Error(), `"nowhere" does not exist`) {
			return fmt.Errorf("%s: %w", state, err)
		}
		return nil
	})
}

func TestConfigThatCannotWork(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"slot":       func(c *Config) { c.Slot = "No Slot" },
		"brokers":    func(c *Config) { c.Brokers = nil },
		"partitions": func(c *Config) { c.Partitions = 0 },
	} {
		config := DefaultConfig()
		config.Brokers = []string{"127.0.0.1:1"}
		change(&config)
		if err := New(config).Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec(createItems)
	l.start()
	l.exec("INSERT INTO item VALUES (1, ''), (2, '')", "DELETE FROM item WHERE id = 1")
	l.drained()
	text := metricsOf(t, l.current)
	for _, want := range []string{
		`debezium_metrics_Connected{context="streaming",name="cdc",plugin="postgres"} 1`,
		`debezium_metrics_TotalNumberOfEventsSeen{` +
			`context="streaming",name="cdc",plugin="postgres"} 3`,
		`debezium_metrics_MilliSecondsBehindSource{`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in:\n%s", want, text)
		}
	}
}

func metricsOf(t *testing.T, c *Connector) string {
	t.Helper()
	answer := httptest.NewRecorder()
	c.Metrics().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(answer.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestConnectedBeforeAConnection: a connector is neither connected nor without a connection before
// its first try has ended, because an alert takes a 0 for a lost PostgreSQL.
func TestConnectedBeforeAConnection(t *testing.T) {
	t.Parallel()
	const connected = `debezium_metrics_Connected{context="streaming",name="cdc",` +
		`plugin="postgres"} `
	config := DefaultConfig()
	config.Brokers, config.DSN = []string{"127.0.0.1:1"}, "postgres://nobody@127.0.0.1:1/none"
	c := New(config)
	if text := metricsOf(t, c); !strings.Contains(text, connected+"NaN") {
		t.Errorf("before the first try:\n%s", text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	expect.True(t, "the first try has failed", func() bool {
		state, _ := c.State()
		return state == Reconnecting
	})
	if text := metricsOf(t, c); !strings.Contains(text, connected+"0") {
		t.Errorf("without a PostgreSQL:\n%s", text)
	}
}

// TestTraceOfATransaction: the records of a transaction have the trace context left in the log in
// front of the rows, and no record of another transaction has.
func TestTraceOfATransaction(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec(createItems)
	l.start()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	const message = "SELECT pg_logical_emit_message(%t, '%s', '%s')"
	l.exec("INSERT INTO item VALUES (1, '')",
		"BEGIN; "+fmt.Sprintf(message, true, "traceparent", parent)+
			"; INSERT INTO item VALUES (2, ''); DELETE FROM item WHERE id = 2; COMMIT",
		"BEGIN; "+fmt.Sprintf(message, true, "other", parent)+
			"; INSERT INTO item VALUES (3, ''); COMMIT",
		fmt.Sprintf(message, false, "traceparent", parent), "INSERT INTO item VALUES (4, '')")
	l.drained()
	var got []string
	for _, g := range l.records() {
		got = append(got, g.header("traceparent"))
	}
	want := []string{"", parent, parent, parent, "", ""} // the delete has a tombstone
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

var errTest = errors.New("the test says so")

// TestLargeRow: a row of more than Kafka's usual largest batch, 1 MB, and the row's update.
func TestLargeRow(t *testing.T) {
	t.Parallel()
	l := newLab(t, servertest.SharedPostgres(t), 1)
	l.exec(createItems)
	l.start()
	l.exec("INSERT INTO item VALUES (1, repeat('0123456789abcdef', 1 << 17))",
		"UPDATE item SET v = 'small'")
	l.drained()
	l.same()
}
