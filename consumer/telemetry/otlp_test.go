package telemetry

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestHeadersStay: a collector that redirects does not get the headers sent to another server, and
// without TLS no other machine gets headers at all; the log names no key.
func TestHeadersStay(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		elsewhere.Add(1)
	}))
	defer other.Close()
	for _, code := range []int{http.StatusMovedPermanently, http.StatusFound,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		collector := httptest.NewServer(http.RedirectHandler(other.URL+"/?key=geheim", code))
		if log := sendOneSpan(t, collector.URL); !strings.Contains(log, "the collector says 30") {
			t.Errorf("code %d: the log has %s", code, log)
		}
		collector.Close()
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("%d redirects were followed", n)
	}
	// RFC 5737 keeps the address for documentation.
	log := sendOneSpan(t, "http://192.0.2.1:4318/?key=geheim")
	if !strings.Contains(log, "needs TLS") || strings.Contains(log, "geheim") {
		t.Errorf("the log has %s", log)
	}
}

// sendOneSpan returns the log of sending a span with a secret header.
func sendOneSpan(t *testing.T, endpoint string) string {
	t.Helper()
	var output strings.Builder
	log, err := NewLog("info", &output)
	if err != nil {
		t.Fatal(err)
	}
	config := TraceConfig{Endpoint: endpoint, Headers: "authorization=geheim", Ratio: 1}
	sender, err := newSpanSender(config, NewMetrics(), log)
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.UploadTraces(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return output.String()
}
