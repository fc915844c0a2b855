package grafana

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/servertest"
)

// exceptions are the panels without data here, or single queries of panels, each with the reason.
// The panels of Loki and Tempo are of no Prometheus, and the tests of xk6-cdc ask the queries of
// the load test.
var exceptions = map[string]string{
	"mongodb: Documents by collection":   "mongodb_exporter is not served, nor is a mongod",
	"mongodb: Use of indexes":            "mongodb_exporter is not served, nor is a mongod",
	"mongodb: Operations of the server":  "mongodb_exporter is not served, nor is a mongod",
	"mongodb: Connections of the server": "mongodb_exporter is not served, nor is a mongod",
	"tracing: Calls between services":    "the connector of the service graph is not served",
}

// load is a round of inserts; change updates rows against a rule.
const load = `
	WITH n AS (SELECT generate_series(1, 20) i), c AS (
		INSERT INTO customer (id, email, status, lab_version)
		SELECT gen_random_uuid(), 'a' || i || '@example.com', 'ACTIVE', i FROM n RETURNING id)
	SELECT count(*) FROM c`

const change = `UPDATE customer SET lab_version = lab_version + 1, email = 'no address'
	WHERE id IN (SELECT id FROM customer LIMIT 5)`

// native brings a stack of real parts up, with the consumer sending traces to the collector.
func native(t *testing.T, collector string) *stack.Stack {
	t.Helper()
	consumer := filepath.Join(t.TempDir(), "consumer")
	golang, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	err = process.RunTool(t.Context(), process.Command{Kind: process.Tool, Path: golang, Dir: root,
		Args: []string{"build", "-o", consumer, "./consumer/cmd/consumer"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s, err := stack.Up(ctx, stack.Options{Kind: stack.Native, ConsumerPath: consumer,
		ConsumerArgs: []string{"--otlp-endpoint", collector, "--trace-ratio", "1"},
		Say:          func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// exporter starts PostgreSQL's exporter, where the machine has one, and returns the address.
func exporter(t *testing.T, dsn string) []string {
	t.Helper()
	path, err := exec.LookPath("prometheus-postgres-exporter")
	if err != nil {
		const why = "this machine has no postgres_exporter"
		exceptions["kafka: PostgreSQL: log kept for the connector"] = why
		exceptions["overview: Active connections (PostgreSQL sessions)"] = why
		return nil
	}
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := process.NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close(false) })
	address := process.Loopback(port)
	err = process.NewChild("postgres-exporter", folder, syscall.SIGTERM).Launch(t.Context(),
		process.Command{Path: path, Args: []string{"--web.listen-address=" + address},
			Env: []string{"DATA_SOURCE_NAME=" + dsn}}, func(ctx context.Context) error {
			return process.Answers(ctx, "http://"+address+"/metrics")
		})
	if err != nil {
		t.Fatal(err)
	}
	return []string{address}
}

// freeAddress returns a free address for a later server.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// TestObserversAnswerEveryPanel: under load, every query of every panel finds data in a real
// Prometheus, filled by a real collector from a native stack.
func TestObserversAnswerEveryPanel(t *testing.T) {
	servertest.NeedObserver(t, programs.Otelcol)
	prometheus := servertest.RunPrometheus(t, servertest.FindPrometheus(t))
	traces := freeAddress(t)
	s := native(t, "http://"+traces)
	e := s.Endpoints()
	address := func(url string) string {
		return strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics")
	}
	_, port, err := net.SplitHostPort(traces)
	if err != nil {
		t.Fatal(err)
	}
	servertest.RunCollector(t, prometheus, map[string][]string{
		"CDC_SCRAPE_CONSUMER": {address(e.ConsumerMetricsURLs[0])},
		"CDC_SCRAPE_KAFKA":    {address(e.KafkaMetricsURL)},
		"CDC_SCRAPE_CONNECT":  {address(e.ConnectorMetricsURL)},
		"CDC_SCRAPE_POSTGRES": exporter(t, e.PostgresDSN),
	}, []string{"CDC_OTEL_HTTP_PORT=" + port, "CDC_LOADTEST_ID=panels",
		"CDC_LOG_FILES=" + filepath.Join(s.Dir(), "*.log")},
		"../otel/collector.yaml", `
exporters:
  debug: {}
service:
  pipelines:
    traces: {exporters: [debug]}
    logs: {exporters: [debug]}
`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	missing := map[string]string{}
	for round := 0; ctx.Err() == nil; round++ {
		servertest.Exec(t, e.PostgresDSN, load)
		servertest.Exec(t, e.PostgresDSN, change)
		if round%10 != 9 {
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
			continue
		}
		if missing = unanswered(t, prometheus); len(missing) == 0 {
			break
		}
	}
	if *update {
		keepScraped(t, prometheus)
	}
	for title, query := range missing {
		t.Errorf("%s: no data: %s", title, query)
	}
	for title := range exceptions {
		t.Logf("exception: %s: %s", title, exceptions[title])
	}
	if len(exceptions) > 10 {
		t.Errorf("%d exceptions, at most 10", len(exceptions))
	}
}

var macros = regexp.MustCompile(`\$__(rate_interval|range|interval|auto)`)

// unanswered asks each query, with all values of the variables chosen.
func unanswered(t *testing.T, prometheus string) map[string]string {
	t.Helper()
	missing := map[string]string{}
	asked := 0
	for _, panel := range panelsOf(t) {
		title := panel.board + ": " + panel.Title
		if panel.Datasource.Type != "prometheus" || panel.board == "k6" || exceptions[title] != "" {
			continue
		}
		for _, target := range panel.Targets {
			name := title + " (" + target.LegendFormat + ")"
			if exceptions[name] != "" {
				continue
			}
			query := macros.ReplaceAllString(target.Expr, "30s")
			query = regexp.MustCompile(`"\$\w+"`).ReplaceAllString(query, `".*"`)
			asked++
			n, answer, err := servertest.Samples(t.Context(), prometheus, query)
			if strings.Contains(answer, `"status":"error"`) || err != nil {
				t.Fatalf("%s: %s: %s, %v", title, query, answer, err)
			}
			if n == 0 {
				missing[name] = query
			}
		}
	}
	t.Logf("%d queries asked, %d without data", asked, len(missing))
	return missing
}
