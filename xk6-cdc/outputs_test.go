package cdc

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	prompb "buf.build/gen/go/prometheus/prometheus/protocolbuffers/go"
	"github.com/klauspost/compress/snappy"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/cdclab/cdclab/xk6-cdc/servertest"
)

// received is the data from the wire: by metric, the most samples counted by one series, and the
// series' entity and operation.
type received struct {
	mu     sync.Mutex
	counts map[string]float64
	series map[string]map[string]bool
	// sums and samples are totals over all histograms of a metric, from which the unit follows.
	sums, samples map[string]float64
	failed        error
}

func (r *received) add(metric string, labels map[string]string, count, sum float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts, r.series = map[string]float64{}, map[string]map[string]bool{}
		r.sums, r.samples = map[string]float64{}, map[string]float64{}
	}
	r.sums[metric] += sum
	r.samples[metric] += count
	if r.series[metric] == nil {
		r.series[metric] = map[string]bool{}
	}
	r.counts[metric] = max(r.counts[metric], count)
	r.series[metric][labels["entity"]+" "+labels["operation"]] = true
}

// listen answers requests with read's judgement of their bodies.
func (r *received) listen(t *testing.T, read func(body []byte) error) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
		request *http.Request) {
		var body io.Reader = request.Body
		var err error
		if request.Header.Get("Content-Encoding") == "gzip" {
			body, err = gzip.NewReader(body)
		}
		var text []byte
		if err == nil {
			text, err = io.ReadAll(body)
		}
		if err == nil {
			err = read(text)
		}
		if err != nil {
			r.mu.Lock()
			r.failed = err
			r.mu.Unlock()
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (r *received) prometheus(body []byte) error {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return err
	}
	var request prompb.WriteRequest
	if err := proto.Unmarshal(raw, &request); err != nil {
		return err
	}
	for _, series := range request.Timeseries {
		labels := map[string]string{}
		for _, label := range series.Labels {
			labels[label.Name] = label.Value
		}
		for _, histogram := range series.Histograms {
			r.add(labels["__name__"], labels,
				float64(histogram.GetCountInt())+histogram.GetCountFloat(), histogram.Sum)
		}
		for _, sample := range series.Samples {
			r.add(labels["__name__"], labels, sample.Value, 0)
		}
	}
	return nil
}

func (r *received) otlp(body []byte) error {
	var request collectorpb.ExportMetricsServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return err
	}
	for _, resource := range request.ResourceMetrics {
		for _, scope := range resource.ScopeMetrics {
			for _, metric := range scope.Metrics {
				for _, point := range metric.GetHistogram().GetDataPoints() {
					r.add(metric.Name, otlpLabels(point), float64(point.Count), point.GetSum())
				}
			}
		}
	}
	return nil
}

func otlpLabels(point *metricspb.HistogramDataPoint) map[string]string {
	labels := map[string]string{}
	for _, attribute := range point.Attributes {
		labels[attribute.Key] = attribute.Value.GetStringValue()
	}
	return labels
}

// newOutputs is a run with both outputs, and with thresholds for each entity and operation. A
// threshold on a series without a sample is crossed, because the p(95) and the rate of nothing are
// 0.
func newOutputs(t *testing.T, more, remoteWrite, otlp string) *k6 {
	t.Helper()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	startCopier(t, source, target, "cdc")
	script := load(`rate: 200, duration: '3s'`,
		`const lab = cdc.open({seedRows: 40, mix: {insert: 40, update: 40, delete: 20}});`)
	const thresholds = `thresholds: Object.fromEntries(
    ['customer', 'address', 'order', 'order_item'].flatMap((entity) => ` +
		`['insert', 'update', 'delete'].flatMap((operation) => [
      ['cdc_e2e_latency_ms', 'p(95)>0'], ['db_query_duration', 'p(95)>0'], ` +
		`['cdc_commit_ms', 'p(95)>0'], ['cdc_writes', 'count>0'],
      ['cdc_schedule_delay_ms', 'max>0'], ['cdc_e2e_success_rate', 'rate==1'], ` +
		`['cdc_e2e_timeout_rate', 'rate==0'],
    ].map(([metric, limit]) => [metric + '{scenario:load,entity:' + entity + ` +
		`',operation:' + operation + '}', [limit]])))),
  setupTimeout`
	k := newK6(t, strings.Replace(script, "setupTimeout", thresholds, 1)+more,
		"CDC_POSTGRES_DSN="+source.DSN(), "CDC_MONGO_URI="+target.URI())
	k.arguments = []string{"-o", "experimental-prometheus-rw", "-o", "opentelemetry"}
	k.env = append(k.env, "K6_PROMETHEUS_RW_SERVER_URL="+remoteWrite,
		"K6_PROMETHEUS_RW_TREND_AS_NATIVE_HISTOGRAM=true", "K6_PROMETHEUS_RW_PUSH_INTERVAL=1s",
		"K6_OTEL_EXPORTER_PROTOCOL=http/protobuf", "K6_OTEL_HTTP_EXPORTER_INSECURE=true",
		"K6_OTEL_EXPORT_INTERVAL=1s",
		"K6_OTEL_HTTP_EXPORTER_ENDPOINT="+strings.TrimPrefix(otlp, "http://"))
	return k
}

// The metrics reach Prometheus, as native histograms, and an OTLP collector. Thresholds can name an
// entity and an operation.
func TestRunOutputs(t *testing.T) {
	t.Parallel()
	var prometheus, otlp received
	k := newOutputs(t, "", prometheus.listen(t, prometheus.prometheus)+"/api/v1/write",
		otlp.listen(t, otlp.otlp))
	if code, output := k.run(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	for name, wire := range map[string]struct {
		*received
		metric string
	}{
		"prometheus":    {&prometheus, "k6_cdc_e2e_latency_ms_seconds"},
		"opentelemetry": {&otlp, "cdc_e2e_latency_ms"},
	} {
		if wire.failed != nil {
			t.Errorf("%s: %v", name, wire.failed)
		}
		if wire.counts[wire.metric] < 10 || len(wire.series[wire.metric]) != 12 ||
			!wire.series[wire.metric]["order_item delete"] {
			t.Errorf("%s: %s counted %v in %v; there are %v", name, wire.metric,
				wire.counts[wire.metric],
				wire.series[wire.metric], wire.counts)
		}
	}
	const seconds, millis = "k6_cdc_e2e_latency_ms_seconds", "cdc_e2e_latency_ms"
	mean := 1000 * prometheus.sums[seconds] / prometheus.samples[seconds]
	if ratio := mean * otlp.samples[millis] / otlp.sums[millis]; ratio < 0.2 || ratio > 5 {
		t.Errorf("Prometheus has a mean of %v ms, OTLP %v times as much", mean, 1/ratio)
	}
}
