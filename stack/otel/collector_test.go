// Package otel_test tests the configuration files of this folder.
package otel_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/reports/limit"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func readYAML(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	var content map[string]any
	if err == nil {
		err = yaml.Unmarshal(text, &content)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return content
}

// at returns the value at a path of members.
func at[T any](t *testing.T, content map[string]any, path ...string) T {
	t.Helper()
	var value any = content
	for _, member := range path {
		value = value.(map[string]any)[member]
	}
	typed, is := value.(T)
	if !is {
		t.Fatalf("%s is %T", strings.Join(path, "."), value)
	}
	return typed
}

// TestLabelsOfLoki: the collector moves to the resource exactly the labels of Loki, and nothing
// with many values.
func TestLabelsOfLoki(t *testing.T) {
	t.Parallel()
	labels := []string{"deployment.environment.name"}
	for _, one := range at[[]any](t, readYAML(t, "collector.yaml"), "receivers", "file_log",
		"operators") {
		operator := one.(map[string]any)
		for _, member := range []string{"to", "field"} {
			to, _ := operator[member].(string)
			if name, is := strings.CutPrefix(to, `resource["`); is {
				labels = append(labels, strings.TrimSuffix(name, `"]`))
			}
		}
	}
	config := at[[]any](t, readYAML(t, "loki.yaml"), "limits_config", "otlp_config",
		"resource_attributes", "attributes_config")
	var want []string
	for _, name := range config[0].(map[string]any)["attributes"].([]any) {
		want = append(want, name.(string))
	}
	slices.Sort(labels)
	slices.Sort(want)
	if diff := cmp.Diff(want, labels); diff != "" {
		t.Error(diff)
	}
	for _, many := range []string{"trace_id", "span_id", "kafka_partition", "kafka_offset"} {
		if slices.Contains(want, many) {
			t.Errorf("%s is a label: each of its values is a stream", many)
		}
	}
}

// TestSlowIsTheLimit: the sampling keeps a trace as slow as the limit of the alert on p95.
func TestSlowIsTheLimit(t *testing.T) {
	t.Parallel()
	for _, one := range at[[]any](t, readYAML(t, "collector.yaml"), "processors", "tail_sampling",
		"policies") {
		policy := one.(map[string]any)
		if policy["type"] != "latency" {
			continue
		}
		if ms := fmt.Sprint(at[any](t, policy, "latency", "threshold_ms")); ms !=
			fmt.Sprint(limit.LatencyP95WarningMs) {
			t.Errorf("slow is from %s ms on, want %g", ms, limit.LatencyP95WarningMs)
		}
		return
	}
	t.Error("no policy of slow traces")
}

// TestServiceGraphAdds: the second file changes two lists by one member each.
func TestServiceGraphAdds(t *testing.T) {
	t.Parallel()
	base, more := readYAML(t, "collector.yaml"), readYAML(t, "service-graph.yaml")
	for pipeline, member := range map[string]string{"traces/red": "exporters",
		"metrics": "receivers"} {
		path := []string{"service", "pipelines", pipeline, member}
		want := append(at[[]any](t, base, path...), "service_graph")
		if diff := cmp.Diff(want, at[[]any](t, more, path...)); diff != "" {
			t.Errorf("%s: %s", pipeline, diff)
		}
	}
}

// received takes the place of a Loki and a Tempo, for OTLP in JSON.
type received struct{ all chan string }

func (r received) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.all <- request.URL.Path + " " + string(body)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, "{}")
}

// asJSON sends logs and traces to the test, and decides on traces at once.
const asJSON = `
exporters:
  otlp_http/loki: {encoding: json, compression: none}
processors:
  tail_sampling: {decision_wait: 1s}
service:
  pipelines:
    traces: {exporters: [otlp_http/loki]}
`

// logFiles are lines as programs write lines.
var logFiles = map[string]string{
	"consumer.log": `{"time":"2026-11-29T11:00:00.5Z","level":"WARN","msg":"rule broken",` +
		`"service_name":"cdc-consumer","entity_type":"order","operation":"CREATE",` +
		`"kafka_topic":"cdc.public.order","kafka_partition":3,` +
		`"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"}`,
	"kafka.log": "[2026-11-29 11:00:00,123] ERROR disk (kafka.server.X)",
	"abcdef-json.log": `{"log":"2026-11-29 11:00:01 UTC [1] WARNING:  slow\n","stream":"stderr",` +
		`"attrs":{"tag":"cdclab-postgres-1"},"time":"2026-11-29T11:00:01.5Z"}`,
}

// TestObserversTakeCollectorFile sends lines and spans through a real collector: labels, fields and
// trace of each line, all failed spans, span metrics before the sampling, own telemetry.
func TestObserversTakeCollectorFile(t *testing.T) {
	t.Parallel()
	got := received{make(chan string, 100)}
	backend := httptest.NewServer(got)
	t.Cleanup(backend.Close)
	folder := t.TempDir()
	for name, text := range logFiles {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	prometheus := servertest.RunPrometheus(t, servertest.FindPrometheus(t))
	collector := servertest.RunCollector(t, prometheus, nil, []string{
		"CDC_LOKI=" + backend.URL, "CDC_LOG_FILES=" + filepath.Join(folder, "*.log"),
		"CDC_LOADTEST_ID=run-7"}, "collector.yaml", asJSON)
	sendSpans(t, collector.OTLP)
	wanted := map[string][]string{
		"/otlp/v1/logs cdc-consumer": {`"level"`, `"WARN"`, `"kafka_topic"`, `"entity_type"`,
			`"traceId":"4bf92f3577b34da6a3ce929d0e0e4736"`, `"timeUnixNano":"1795950000500000000"`,
			`"run-7"`},
		"/otlp/v1/logs kafka":             {`"ERROR"`, "disk (kafka.server.X)"},
		"/otlp/v1/logs cdclab-postgres-1": {`"WARN"`, "slow", `"severityNumber":13`},
		"/otlp/v1/traces broken":          {`"errors"`, `"failed-step"`},
	}
	ctx := expect.Context(t)
	for len(wanted) > 0 {
		select {
		case text := <-got.all:
			path, body, _ := strings.Cut(text, " ")
			if !json.Valid([]byte(body)) {
				t.Fatalf("%s: %s", path, body)
			}
			for name, words := range wanted {
				if wantPath, service, _ := strings.Cut(name, " "); wantPath != path ||
					!strings.Contains(body, `"`+service+`"`) {
					continue
				}
				delete(wanted, name)
				for _, word := range words {
					if !strings.Contains(body, word) && word != `"errors"` {
						t.Errorf("%s lacks %s: %s", name, word, body)
					}
				}
			}
		case <-ctx.Done():
			t.Fatalf("did not come: %v", wanted)
		}
	}
	for _, query := range []string{
		`traces_span_metrics_calls_total{span_name="failed-step",run="run-7"}`,
		`traces_span_metrics_duration_seconds_bucket{service_name="broken"}`,
		`otelcol_receiver_accepted_spans_total{run="run-7"}`,
		`otelcol_exporter_sent_log_records_total`, `up{job="otel-collector"} == 1`,
	} {
		servertest.AwaitSamples(t, prometheus, query)
	}
}

// sendSpans sends one trace with a failed span.
func sendSpans(t *testing.T, collector string) {
	t.Helper()
	const spans = `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":` +
		`{"stringValue":"broken"}}]},"scopeSpans":[{"spans":[{"traceId":` +
		`"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"failed-step",` +
		`"kind":5,"startTimeUnixNano":"1795950000000000000","endTimeUnixNano":` +
		`"1795950000010000000","status":{"code":2}}]}]}]}`
	answer, err := http.Post(collector+"/v1/traces", "application/json", strings.NewReader(spans))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
}
