package grafana

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/alerts"
	"github.com/cdclab/cdclab/stack/process"
)

// scraped holds the names of the metrics in a Prometheus beside a native stack under load, one a
// line. TestObserversAnswerEveryPanel writes the file with -update.
const scraped = "testdata/scraped.txt"

// unscraped are names of programs that do not run here, or not on every machine, with the page that
// documents the names.
var unscraped = map[string]string{
	"mongodb_up":                                          mongodbExporter,
	"mongodb_ss_connections":                              mongodbExporter,
	"mongodb_ss_opcounters":                               mongodbExporter,
	"mongodb_collstats_storageStats_count":                mongodbExporter,
	"mongodb_indexstats_accesses_ops":                     mongodbExporter,
	"otelcol_exporter_send_failed_spans_total":            collectorsOwn,
	"otelcol_exporter_send_failed_metric_points_total":    collectorsOwn,
	"otelcol_exporter_send_failed_log_records_total":      collectorsOwn,
	"otelcol_exporter_enqueue_failed_spans_total":         collectorsOwn,
	"otelcol_exporter_enqueue_failed_metric_points_total": collectorsOwn,
	"otelcol_exporter_enqueue_failed_log_records_total":   collectorsOwn,
	"pg_up":                                postgresExporter,
	"pg_stat_activity_count":               postgresExporter,
	"pg_settings_max_connections":          postgresExporter,
	"pg_replication_slots_pg_wal_lsn_diff": postgresExporter,
	"traces_service_graph_request_total": "https://github.com/open-telemetry/" +
		"opentelemetry-collector-contrib/tree/main/connector/servicegraphconnector",
}

// collectorsOwn counters begin with the first failure.
const collectorsOwn = "https://opentelemetry.io/docs/collector/internal-telemetry/"

const postgresExporter = "https://github.com/prometheus-community/postgres_exporter/tree/v0.11.1"

const mongodbExporter = "https://github.com/percona/mongodb_exporter/blob/main/REFERENCE.md"

var (
	quoted    = regexp.MustCompile(`"[^"]*"`)
	labelled  = regexp.MustCompile(`\{[^}]*\}`)
	grouped   = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	durations = regexp.MustCompile(`\[[^\]]*\]`)
	offsets   = regexp.MustCompile(`\boffset\s+\d+[smh]`)
	words     = regexp.MustCompile(`\b[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
)

// metricsIn are the names of the metrics in a query of PromQL.
func metricsIn(query string) []string {
	for _, pattern := range []*regexp.Regexp{quoted, labelled, grouped, durations, offsets} {
		query = pattern.ReplaceAllString(query, " ")
	}
	var names []string
	for _, word := range words.FindAllString(query, -1) {
		word = strings.TrimSpace(word)
		operator := slices.Contains([]string{"and", "or", "unless", "bool", "group_left", "on",
			"sum", "max", "min", "count", "by"}, word)
		if !operator && !strings.HasSuffix(word, "(") {
			names = append(names, word)
		}
	}
	return names
}

func TestMetricsInAQuery(t *testing.T) {
	t.Parallel()
	got := metricsIn(`sum by (topic, le) (rate(a_bucket{x="b_total",y=~"$z"}[1m])) / on () ` +
		`group_left () (max(c offset 5m) or vector(0)) > bool 0.5 unless d:e == 1e-9`)
	if want := []string{"a_bucket", "c", "d:e"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestEveryMetricIsKnown: each metric named by a rule or a panel is in the consumer's catalogue,
// was in a real Prometheus, or is documented by a program that does not run here. A name with a
// wrong letter is no error anywhere else: the panel stays empty and the alert silent.
func TestEveryMetricIsKnown(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, name := range strings.Fields(read(t, scraped)) {
		known[name] = true
	}
	names := regexp.MustCompile(`= "(cdc_\w+)"`).FindAllStringSubmatch(
		read(t, "../../consumer/telemetry/names.go"), -1)
	for _, name := range names {
		for _, end := range []string{"", "_bucket", "_sum", "_count"} {
			known[name[1]+end] = true
		}
	}
	if len(names) < 30 || len(known) < 300 {
		t.Fatalf("%d names of the consumer, %d in all: this test reads the wrong files", len(names),
			len(known))
	}
	for _, recorded := range regexp.MustCompile(`record: (\S+)`).FindAllStringSubmatch(
		read(t, "../alerts/prometheus/rules/switches.yaml"), -1) {
		known[recorded[1]] = true
	}
	queries := map[string][]string{}
	for _, a := range alerts.All() {
		if !a.Loki {
			queries["alert "+a.Name] = []string{a.Query}
			for _, more := range a.More {
				queries["alert "+a.Name] = append(queries["alert "+a.Name], more)
			}
		}
	}
	for _, panel := range panelsOf(t) { // k6's names are compared in xk6-cdc
		if panel.Datasource.Type == "prometheus" && panel.board != "k6" {
			for _, target := range panel.Targets {
				title := panel.board + ": " + panel.Title
				queries[title] = append(queries[title], target.Expr)
			}
		}
	}
	used := map[string]bool{}
	for where, all := range queries {
		for _, query := range all {
			found := metricsIn(query)
			if len(found) == 0 {
				t.Errorf("%s: no metric in %s", where, query)
			}
			for _, name := range found {
				used[name] = true
				if !known[name] && unscraped[name] == "" {
					t.Errorf("%s: nobody tells %s", where, name)
				}
			}
		}
	}
	for name := range unscraped {
		if !used[name] {
			t.Errorf("%s is no exception: no rule and no panel asks", name)
		}
	}
	t.Logf("%d metrics in %d alerts and panels", len(used), len(queries))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// keepScraped writes the names of the metrics in the Prometheus.
func keepScraped(t *testing.T, prometheus string) {
	t.Helper()
	text, err := process.Page(t.Context(), prometheus+"/api/v1/label/__name__/values")
	var answer struct{ Data []string }
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err == nil {
		err = os.WriteFile(filepath.FromSlash(scraped),
			[]byte(strings.Join(answer.Data, "\n")+"\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
