package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/proxy"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// consumerDir holds the program built by consumerProgram; TestMain removes it.
var consumerDir string

// consumerProgram returns the consumer, built once for all tests.
var consumerProgram = sync.OnceValues(func() (string, error) {
	var err error
	if consumerDir, err = os.MkdirTemp("", "cdclab-consumer-"); err != nil {
		return "", err
	}
	path := filepath.Join(consumerDir, "consumer")
	text, err := exec.Command("go", "build", "-o", path,
		"../consumer/cmd/consumer").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, text)
	}
	return path, nil
})

// testOptions returns options for a Stack of parts on this machine already.
func testOptions(t *testing.T) Options {
	t.Helper()
	if testing.Short() {
		t.Skip("brings a whole stack up")
	}
	path, err := consumerProgram()
	if err != nil {
		t.Fatal(err)
	}
	return Options{ConsumerPath: path, Say: func(line string) { t.Log(line) }}
}

// upForTest brings a Stack up and takes it down after the test.
func upForTest(t *testing.T, options Options) *Stack {
	t.Helper()
	ctx := expect.Context(t)
	if options.Kind == Native || options.Kind == Compose {
		ctx = nativeContext(t)
	}
	s, err := Up(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), expect.Patience)
		defer cancel()
		if err := s.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

const insertCustomers = `INSERT INTO customer (id, email, status, lab_version)
	SELECT gen_random_uuid(), 'a' || n || '@example.com', 'ACTIVE', n
	FROM generate_series(1, $1::int) n`

func mustExec(t *testing.T, s *Stack, sql string, args ...any) {
	t.Helper()
	servertest.Exec(t, s.Endpoints().PostgresDSN, sql, args...)
}

func countDocuments(t *testing.T, s *Stack, collection string) int64 {
	t.Helper()
	ctx := expect.Context(t)
	client := servertest.MongoClient(t, s.Endpoints().MongoURI)
	documents := client.Database(s.Endpoints().MongoDatabase).Collection(collection)
	n, err := documents.CountDocuments(ctx, bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTwoConsumers: two consumers share the partitions, and after the end of either the other takes
// over.
func TestTwoConsumers(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.Consumers = 2
	s := upForTest(t, options)
	ctx := expect.Context(t)
	health := s.Health(ctx)
	for n := 1; n <= 2; n++ {
		if err, there := health[ConsumerName(n)]; !there || err != nil {
			t.Errorf("health of %s: %v, %v", ConsumerName(n), there, err)
		}
		wantMetric(t, s.Endpoints().ConsumerMetricsURLs[n-1], "process_start_time_seconds")
	}
	mustExec(t, s, insertCustomers, 100)
	if err := s.Drained(ctx); err != nil {
		t.Fatal(err)
	}
	second, err := s.Component(ConsumerName(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Kill(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, s, `UPDATE customer SET status = 'CLOSED'`)
	if err := s.Drained(ctx); err != nil {
		t.Error(err)
	}
	if n := countDocuments(t, s, "customers"); n != 100 {
		t.Errorf("%d documents, want 100", n)
	}
}

func TestEmbeddedFromRowToDocument(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.Proxies = []string{proxy.ConsumerMongo, proxy.ConnectorPostgres}
	began := time.Now()
	s := upForTest(t, options)
	t.Logf("up after %v: %v; %v", time.Since(began), s.Versions(), s.Notes())
	ctx := expect.Context(t)
	for name, err := range s.Health(ctx) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustExec(t, s, insertCustomers, 100)
	if err := s.Drained(ctx); err != nil {
		t.Fatal(err)
	}
	if n := countDocuments(t, s, "customers"); n != 100 {
		t.Errorf("%d documents after the drain, want 100", n)
	}
	for _, name := range options.Proxies {
		proxy, err := s.Proxy(name)
		if err != nil {
			t.Fatal(err)
		}
		if in, out, err := proxy.Bytes(); err != nil || in == 0 || out == 0 {
			t.Errorf("%d bytes in and %d out: somebody goes round %s (%v)", in, out, name, err)
		}
	}
	wantMetric(t, s.Endpoints().ConsumerMetricsURLs[0], "cdc_consumer_events_total")
	wantMetric(t, s.Endpoints().ConnectorMetricsURL, "debezium_metrics_TotalNumberOfEventsSeen")
	for _, c := range s.Components() {
		t.Run("kill "+c.Name(), func(t *testing.T) { killAndRestart(t, s, c) })
	}
	if n := countDocuments(t, s, "customers"); n != 150 {
		t.Errorf("%d documents after the kills, want 150", n)
	}
}

func wantMetric(t *testing.T, url, name string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(text), name) {
		t.Errorf("%s does not show %s (%v)", url, name, err)
	}
}

// killAndRestart kills one part, brings it back, and has ten more rows go through.
func killAndRestart(t *testing.T, s *Stack, c Component) {
	ctx := expect.Context(t)
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Health(ctx); err == nil {
		t.Error("healthy after a kill")
	}
	began := time.Now()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	mustExec(t, s, insertCustomers, 10)
	if err := s.Drained(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("back and drained after %v", time.Since(began))
	for name, err := range s.Health(ctx) {
		if err != nil {
			t.Errorf("%s after the kill of %s: %v", name, c.Name(), err)
		}
	}
}

func TestDownLeavesNothing(t *testing.T) {
	t.Parallel()
	s := upForTest(t, testOptions(t))
	var all []process.Identity
	for _, c := range s.Components() {
		for _, pid := range c.PIDs() {
			if p, err := process.Find(pid); err == nil {
				all = append(all, p.Identity)
			}
		}
	}
	if len(all) < 5 {
		t.Errorf("the stack has processes %v: PostgreSQL alone has more", all)
	}
	// A frozen part must not hold Down up.
	if c, err := s.Component(Mongo); err != nil || c.Pause() != nil {
		t.Fatal("MongoDB cannot be paused")
	}
	if err := s.Down(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Alive() {
			t.Errorf("process %d is still there", i.PID)
		}
	}
	if _, err := os.Stat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there (%v)", s.Dir(), err)
	}
	wantNobodyIn(t, s.Dir())
	select {
	case death := <-s.Died():
		t.Errorf("Down was reported as a death: %s", death)
	default:
	}
}

func TestDeathFromOutsideIsTold(t *testing.T) {
	t.Parallel()
	s := upForTest(t, testOptions(t))
	c, err := s.Component(Postgres)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Signal(c.PIDs()[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case death := <-s.Died():
		if !strings.Contains(death, Postgres) || !strings.Contains(death, "killed") {
			t.Errorf("told was %q, want who and how", death)
		}
	case <-expect.Context(t).Done():
		t.Fatal("nothing was told")
	}
	expect.Error(t, c.Health(expect.Context(t)), "ended by itself")
}

func TestGivenMongo(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	ctx := expect.Context(t)
	given := servertest.OwnMongo(t, mongodb.Options{})
	options.MongoURI, options.Proxies = given.URI(), []string{proxy.ConsumerMongo}
	s := upForTest(t, options)
	mustExec(t, s, insertCustomers, 10)
	if err := s.Drained(ctx); err != nil {
		t.Fatal(err)
	}
	if n := countDocuments(t, s, "customers"); n != 10 {
		t.Errorf("%d documents, want 10", n)
	}
	c, err := s.Component(Mongo)
	if err != nil {
		t.Fatal(err)
	}
	if s.MongoKind() != MongoGiven || c.Kill() == nil || c.Stop(ctx) == nil || c.Pause() == nil {
		t.Errorf("a %s MongoDB can be broken", s.MongoKind())
	}
	if err := s.Down(ctx); err != nil {
		t.Fatal(err)
	}
	names, err := servertest.MongoClient(t, given.URI()).ListDatabaseNames(ctx, bson.D{})
	if err != nil || slices.Contains(names, s.Endpoints().MongoDatabase) {
		t.Errorf("after Down the server has %v (%v)", names, err)
	}
}
