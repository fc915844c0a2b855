package consumer

import (
	"bytes"
	"context"
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
)

// spanSender posts spans as OTLP over HTTP, in Protobuf. The exporters of OpenTelemetry would do
// the same and link gRPC for it, the one over HTTP too: 23.5 MB of program instead of 16.0, and 4 MB
// more memory in every consumer. It implements otlptrace.Client.
type spanSender struct {
	url     string
	headers http.Header
	client  *http.Client
	metrics *metrics
	log     *slog.Logger
	failing atomic.Bool
}

// spanTries is how often a batch of spans is offered to a collector that is busy or away.
const (
	spanTries   = 3
	spanTimeout = 5 * time.Second
)

const tracesPath = "/v1/traces"

func (c *Config) validateTracing(wrong *faults) {
	if c.TraceRatio < 0 || c.TraceRatio > 1 || c.TraceRatio != c.TraceRatio {
		wrong.add("trace-ratio", "%v: must be 0 to 1", c.TraceRatio)
	}
	if c.OTLPEndpoint == "" {
		return
	}
	if _, err := c.tracesURL(); err != nil {
		wrong.add("otlp-endpoint", "%w", err)
	}
	if _, err := parseHeaders(c.OTLPHeaders); err != nil {
		*wrong = append(*wrong, err)
	}
}

// tracesURL is the endpoint with the path for traces; one that has it already stays.
func (c *Config) tracesURL() (string, error) {
	u, err := url.Parse(c.OTLPEndpoint)
	switch {
	case err != nil:
		return "", fmt.Errorf("not a URL") // the error would repeat it
	case u.User != nil:
		return "", fmt.Errorf("must not hold a password: use OTEL_EXPORTER_OTLP_HEADERS")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", fmt.Errorf("must be http://host:port or https://host:port (OTLP over HTTP, mostly port 4318)")
	}
	if !strings.HasSuffix(u.Path, tracesPath) {
		u = u.JoinPath(tracesPath)
	}
	return u.String(), nil
}

// parseHeaders reads key=value,key=value with escaped values, as OpenTelemetry says.
func parseHeaders(text Secret) (http.Header, error) {
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

func newSpanSender(config Config, m *metrics, log *slog.Logger) (*spanSender, error) {
	address, err := config.tracesURL()
	if err != nil {
		return nil, fmt.Errorf("--otlp-endpoint: %w", err)
	}
	headers, err := parseHeaders(config.OTLPHeaders)
	if err != nil {
		return nil, err
	}
	headers.Set("Content-Type", "application/x-protobuf")
	return &spanSender{url: address, headers: headers, metrics: m, log: log,
		client: &http.Client{Timeout: spanTimeout}}, nil
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
		if again, err = s.post(ctx, body); err == nil || !again || try+1 == spanTries ||
			!wait(ctx, nil, 200*time.Millisecond<<try) {
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

// post tells whether an error may pass.
func (s *spanSender) post(ctx context.Context, body []byte) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("send spans: %w", err)
	}
	request.Header = s.headers.Clone()
	response, err := s.client.Do(request)
	if err != nil {
		return true, fmt.Errorf("send spans: %w", err)
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
