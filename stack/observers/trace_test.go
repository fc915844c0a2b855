package observers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/proxy"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// script writes one row with a trace context.
const script = `import cdc from 'k6/x/cdc';
export const options = { scenarios: { load: { executor: 'shared-iterations', iterations: 1 } },
  teardownTimeout: '2m' };
const lab = cdc.open({ trace: 1, seedRows: 0, mix: { insert: 1 }, entities: { customer: 1 } });
export function setup() { lab.start(); }
export default function () { lab.write(); }
export function teardown() { lab.drain('60s'); }
`

// keepAll sends every trace and line to the test, as JSON, without much delay.
const keepAll = `
exporters:
  otlp_http/loki: {encoding: json, compression: none}
processors:
  tail_sampling: {decision_wait: 1s, policies: [{name: all, type: always_sample}]}
service:
  pipelines:
    traces: {exporters: [otlp_http/loki]}
`

// exported is what a collector has sent, in the place of a Tempo and a Loki.
type exported struct{ bodies chan []byte }

func (e exported) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.bodies <- body
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, "{}")
}

// TestObserversFollowOneWrite: a write of k6 has one trace from k6's log over the record's header
// and the consumer's spans to MongoDB's command and the line in the consumer's log, as a real
// collector exports the spans and the line.
func TestObserversFollowOneWrite(t *testing.T) {
	servertest.NeedObserver(t, programs.Otelcol)
	prometheus := servertest.RunPrometheus(t, servertest.FindPrometheus(t))
	otlp, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{T: t, Stack: bringUp(t, stack.Options{Proxies: []string{proxy.ConsumerMongo},
		ConsumerArgs: []string{"--otlp-endpoint", "http://" + process.Loopback(otlp),
			"--trace-ratio", "0"}})}
	l.exec(fmt.Sprintf(customers, 1)) // the collections are made, and need no time below
	if err := l.Drained(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
	got := exported{make(chan []byte, 1000)}
	backend := httptest.NewServer(got)
	t.Cleanup(backend.Close)
	servertest.RunCollector(t, prometheus, nil, []string{"CDC_LOKI=" + backend.URL,
		"CDC_OTEL_HTTP_PORT=" + strconv.Itoa(otlp),
		"CDC_LOG_FILES=" + filepath.Join(l.Dir(), "*.log")}, "../otel/collector.yaml", keepAll)

	defer l.slow(600)() // a batch of a second and more has a line of the level info
	id, key := writeTraced(t, l.Stack)
	t.Logf("k6's log: trace_id=%s, customer %s", id, key)
	header := headerOf(t, l.Stack, key)
	t.Logf("the record's header: traceparent: %s", header)
	if !strings.HasPrefix(header, "00-"+id+"-") {
		t.Errorf("the record of %s has the trace context %q, want the trace %s", key, header, id)
	}
	missing := []string{"process cdc.public.customer", "apply cdc.public.customer",
		"update customers", "batch done: a line of span "}
	ctx := expect.Context(t)
	for len(missing) > 0 {
		select {
		case body := <-got.bodies:
			for _, what := range traced(t, body, id) {
				t.Logf("exported by the collector: %s", what)
				missing = slices.DeleteFunc(missing, func(name string) bool {
					return strings.HasPrefix(what, name)
				})
			}
		case <-ctx.Done():
			t.Fatalf("not exported in the trace %s: %v", id, missing)
		}
	}
}

// writeTraced has k6 write one row, and returns the trace and the key from k6's log.
func writeTraced(t *testing.T, s *stack.Stack) (id, key string) {
	t.Helper()
	folder := t.TempDir()
	path, log := filepath.Join(folder, "one.js"), filepath.Join(folder, "k6.log")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	e := s.Endpoints()
	err := process.RunTool(t.Context(), process.Command{Path: build(t, "./xk6-cdc/cmd/k6"),
		Log: log, Args: []string{"run", "--no-usage-report", path}, Env: []string{
			"CDC_POSTGRES_DSN=" + e.GeneratorDSN, "CDC_MONGO_URI=" + e.MongoURI,
			"CDC_MONGO_DATABASE=" + e.MongoDatabase, "HOME=" + folder}})
	text, reading := os.ReadFile(log)
	if err != nil || reading != nil {
		t.Fatal(err, reading)
	}
	said := regexp.MustCompile(`trace_id=([0-9a-f]{32}) of write \d+, insert of customer `+
		`([0-9a-f-]+)`).FindAllStringSubmatch(string(text), -1)
	if len(said) != 1 {
		t.Fatalf("k6 tells of %d traces:\n%s", len(said), text)
	}
	return said[0][1], said[0][2]
}

// headerOf returns the trace context of the record of a customer.
func headerOf(t *testing.T, s *stack.Stack, key string) string {
	t.Helper()
	client, err := kgo.NewClient(append(s.KafkaOptions(),
		kgo.ConsumeTopics("cdc.public.customer"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for ctx := expect.Context(t); ; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("the record of %s did not come: %v", key, err)
		}
		for _, r := range fetches.Records() {
			for _, h := range r.Headers {
				if h.Key == "traceparent" && strings.Contains(string(r.Key), key) {
					return string(h.Value)
				}
			}
		}
	}
}

// traced returns what an export has of the trace: names of spans, and messages of lines with the
// time of processing.
func traced(t *testing.T, body []byte, id string) (found []string) {
	t.Helper()
	type attribute struct {
		Key   string
		Value map[string]any
	}
	var export struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct{ TraceID, SpanID, ParentSpanID, Name string }
			}
		}
		ResourceLogs []struct {
			ScopeLogs []struct {
				LogRecords []struct {
					TraceID, SpanID string
					Attributes      []attribute
				}
			}
		}
	}
	if err := json.Unmarshal(body, &export); err != nil {
		t.Fatal(err)
	}
	for _, resource := range export.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				if span.TraceID == id {
					found = append(found, span.Name+" (span "+span.SpanID+" under "+
						span.ParentSpanID+")")
				}
			}
		}
	}
	for _, resource := range export.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			for _, line := range scope.LogRecords {
				fields := map[string]any{}
				for _, a := range line.Attributes {
					for _, value := range a.Value {
						fields[a.Key] = value
					}
				}
				if line.TraceID == id {
					found = append(found, fmt.Sprintf("%v: a line of span %s, %v ms", fields["msg"],
						line.SpanID, fields["processing_time_ms"]))
				}
			}
		}
	}
	return found
}
