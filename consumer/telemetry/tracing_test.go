package telemetry

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func ratioTracer(t *testing.T, ratio float64) *Tracer {
	t.Helper()
	made := StartTracer(TraceConfig{Ratio: ratio}, "cdclab")
	t.Cleanup(func() { made.Close(context.Background()) })
	return made
}

func polledNow(records ...*kgo.Record) []Arrival {
	all := make([]Arrival, len(records))
	for i, r := range records {
		all[i] = Arrival{Record: r, Polled: time.Now()}
	}
	return all
}

func withTrace(r *kgo.Record, id, flags string) *kgo.Record {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "traceparent",
		Value: []byte("00-" + id + "-b7ad6b7169203331-" + flags)})
	return r
}

const aTrace = "0af7651916cd43dd8448eb211c80319c"

func TestSampled(t *testing.T) {
	t.Parallel()
	made := ratioTracer(t, 0)
	for flags, want := range map[string]bool{"00": false, "01": true, "02": false, "03": true,
		"0a": false, "0b": true, "ff": true} {
		if got := made.isSampled(withTrace(&kgo.Record{}, aTrace, flags)); got != want {
			t.Errorf("flags %s: %v", flags, got)
		}
	}
	made = ratioTracer(t, 0.01)
	count := 0
	for offset := range int64(100_000) {
		if made.isSampled(&kgo.Record{Offset: offset, Partition: 3}) {
			count++
		}
	}
	if count < 900 || count > 1100 {
		t.Errorf("%d of 100,000 are sampled at 1 %%", count)
	}
	if broken := withTrace(&kgo.Record{Offset: 1}, "geheim", "01"); made.isSampled(broken) {
		t.Error("a broken header decides")
	}
	all := ratioTracer(t, 1)
	if !all.isSampled(&kgo.Record{}) {
		t.Error("not sampled at 1")
	}
}

// TestSilentWithoutEndpoint: nothing runs, and a batch costs no allocation.
func TestSilentWithoutEndpoint(t *testing.T) {
	before := runtime.NumGoroutine()
	made, err := NewTracer(TraceConfig{}, "cdclab", NewMetrics(), slog.New(slog.DiscardHandler))
	if err != nil || made.provider != nil || runtime.NumGoroutine() > before {
		t.Errorf("%v, %v, %d goroutines more", made, err, runtime.NumGoroutine()-before)
	}
	batch := polledNow(withTrace(&kgo.Record{Topic: "cdc.public.customer"}, aTrace, "01"))
	if n := testing.AllocsPerRun(100, func() {
		_, end := made.StartBatch(context.Background(), batch)
		end("")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if err := made.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestSpansAreSent as OTLP, with the headers, again after a busy collector, and with a count and
// one line in the log when the collector is away.
func TestSpansAreSent(t *testing.T) {
	t.Parallel()
	var posts, away atomic.Int64
	received := make(chan *tracepb.TracesData, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var data tracepb.TracesData
		switch {
		case away.Load() > 0:
			w.WriteHeader(http.StatusNotFound)
		case posts.Add(1) == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("X-Key") != "a b" ||
			r.Header.Get("Content-Type") != "application/x-protobuf" ||
			proto.Unmarshal(body, &data) != nil:
			w.WriteHeader(http.StatusBadRequest)
		default:
			received <- &data
		}
	}))
	defer collector.Close()
	config := TraceConfig{Endpoint: collector.URL, Headers: "x-key=a%20b", Ratio: 1}
	var output strings.Builder
	log, err := NewLog("info", &output)
	if err != nil {
		t.Fatal(err)
	}
	m := NewMetrics()
	failures := func() float64 {
		var read dto.Metric
		if err := m.traceFailures.Write(&read); err != nil {
			t.Fatal(err)
		}
		return read.Counter.GetValue()
	}
	made, err := NewTracer(config, "cdclab", m, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	send := func() {
		_, end := made.StartBatch(ctx, polledNow(&kgo.Record{Topic: "cdc.public.customer"}))
		end("")
		if err := made.provider.ForceFlush(ctx); err != nil {
			t.Error(err)
		}
	}
	send()
	select {
	case data := <-received:
		of := data.ResourceSpans[0]
		if spans := of.ScopeSpans[0].Spans; len(spans) != 2 ||
			!strings.Contains(of.Resource.String(), "cdc-consumer") {
			t.Errorf("received %v", data)
		}
	default:
		t.Fatal("nothing was received")
	}
	away.Store(1)
	send()
	send()
	if n := failures(); n != 2 || strings.Count(output.String(), "traces not sent") != 1 {
		t.Errorf("%v failures counted, the log has %s", n, output.String())
	}
	away.Store(0)
	send()
	if err := made.Close(ctx); err != nil || !strings.Contains(output.String(), "sent again") {
		t.Errorf("%v, the log has %s", err, output.String())
	}
}
