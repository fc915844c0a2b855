package telemetry

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/cdclab/cdclab/consumer/settings"
	"github.com/cdclab/cdclab/hop"
)

// spanSender posts spans as OTLP over HTTP, in Protobuf. The exporters of OpenTelemetry would do
// the same, but even the HTTP exporter links gRPC: 23.5 MB of program instead of 16.0, and 4 MB
// more memory in every consumer. spanSender implements otlptrace.Client.
type spanSender struct {
	url     string
	headers http.Header
	client  *http.Client
	metrics *Metrics
	log     *slog.Logger
	failing atomic.Bool
}

// spanTries is how often a batch of spans is offered to a busy or absent collector.
const (
	spanTries   = 3
	spanTimeout = 5 * time.Second
)

const tracesPath = "/v1/traces"

// TraceConfig says where spans go, and the share of records with spans.
type TraceConfig struct {
	Endpoint string          // OTLP over HTTP; "" = nothing is traced
	Headers  settings.Secret // key=value,..., only from OTEL_EXPORTER_OTLP_HEADERS
	Ratio    float64         // of the records without a trace context of their own, 0 to 1
}

// Flags adds the configuration's flags to f, with the values of c as the defaults.
func (c *TraceConfig) Flags(f *flag.FlagSet) {
	f.StringVar(&c.Endpoint, "otlp-endpoint", c.Endpoint,
		"`url` for traces, OTLP over HTTP (default $OTEL_EXPORTER_OTLP_ENDPOINT; none: no traces)")
	f.Float64Var(&c.Ratio, "trace-ratio", c.Ratio, "0 to 1, of the records without a trace context")
}

// Validate returns the errors of the configuration, each beginning with the flag's name or the
// variable's.
func (c *TraceConfig) Validate() []error {
	var wrong settings.Faults
	if c.Ratio < 0 || c.Ratio > 1 || c.Ratio != c.Ratio {
		wrong.Add("trace-ratio", "%v: must be 0 to 1", c.Ratio)
	}
	if c.Endpoint == "" {
		return wrong
	}
	if _, err := c.tracesURL(); err != nil {
		wrong.Add("otlp-endpoint", "%w", err)
	}
	if _, err := parseHeaders(c.Headers); err != nil {
		wrong = append(wrong, err)
	}
	return wrong
}

// tracesURL is the endpoint with the path for traces; an endpoint with this path stays unchanged.
func (c *TraceConfig) tracesURL() (string, error) {
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil:
		return "", fmt.Errorf("not a URL") // the error would repeat the URL
	case u.User != nil:
		return "", fmt.Errorf("must not hold a password: use OTEL_EXPORTER_OTLP_HEADERS")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", fmt.Errorf("must be http://host:port or https://host:port " +
			"(OTLP over HTTP, mostly port 4318)")
	}
	if !strings.HasSuffix(u.Path, tracesPath) {
		u = u.JoinPath(tracesPath)
	}
	return u.String(), nil
}

// parseHeaders reads key=value,key=value with escaped values, as OpenTelemetry says.
func parseHeaders(text settings.Secret) (http.Header, error) {
	headers := http.Header{}
	for part := range strings.SplitSeq(string(text), ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		key, value, found := strings.Cut(part, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !found || key == "" || err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: must be key=value,key=value")
		}
		headers.Set(key, value)
	}
	return headers, nil
}

func newSpanSender(config TraceConfig, m *Metrics, log *slog.Logger) (*spanSender, error) {
	address, err := config.tracesURL()
	if err != nil {
		return nil, fmt.Errorf("--otlp-endpoint: %w", err)
	}
	headers, err := parseHeaders(config.Headers)
	if err != nil {
		return nil, err
	}
	headers.Set("Content-Type", "application/x-protobuf")
	scheme, _, _ := strings.Cut(address, ":")
	return &spanSender{url: address, headers: headers, metrics: m, log: log,
		client: &http.Client{Timeout: spanTimeout, CheckRedirect: hop.StayHere,
			Transport: hop.Transport(config.Headers != "", scheme)}}, nil
}

// Start is for otlptrace.
func (s *spanSender) Start(context.Context) error { return nil }

// Stop is for otlptrace.
func (s *spanSender) Stop(context.Context) error {
	s.client.CloseIdleConnections()
	return nil
}

// UploadTraces never fails: the library would write the error to stderr.
func (s *spanSender) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// The same bytes as an ExportTraceServiceRequest, whose package links gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	for try := 0; err == nil; try++ {
		again := false
		if again, err = s.postSpans(ctx, body); err == nil || !again || try+1 == spanTries ||
			!waitUnlessDone(ctx, 200*time.Millisecond<<try) {
			break
		}
		err = nil
	}
	if err != nil {
		s.metrics.traceFailures.Inc()
		if !s.failing.Swap(true) {
			s.log.Warn("traces not sent", "error", err.Error())
		}
	} else if s.failing.Swap(false) {
		s.log.Info("traces sent again")
	}
	return nil
}

// postSpans tells whether an error may pass.
func (s *spanSender) postSpans(ctx context.Context, body []byte) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("send spans: %w", err)
	}
	request.Header = s.headers.Clone()
	response, err := s.client.Do(request)
	if err != nil {
		return !errors.Is(err, hop.ErrReadable), fmt.Errorf("send spans to %s: %w",
			request.URL.Host, hop.WithoutURL(err))
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)); err != nil {
		return true, fmt.Errorf("send spans: read the answer: %w", err)
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return false, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout:
		again = true
	}
	return again, fmt.Errorf("send spans: the collector says %s", response.Status)
}

// waitUnlessDone returns false if ctx ended the wait early.
func waitUnlessDone(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
