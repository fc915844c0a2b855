package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack"
)

// TestStatusAsksTheConnector: a stopped connector shows, also where the worker answers.
func TestStatusAsksTheConnector(t *testing.T) {
	t.Setenv("CDCLAB_CACHE", t.TempDir())
	holding, err := stack.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer holding.Release()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var answer string
	code := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/connectors/cdclab/status" && r.URL.Path != "/metrics" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(code)
		w.Write([]byte(answer))
	}))
	defer server.Close()
	const task = `"tasks": [{"id": 0, "state": "RUNNING"}]`
	for name, c := range map[string]struct {
		answer, want string
		http, code   int
		embedded     bool
	}{
		"runs": {`{"name": "cdclab", "connector": {"state": "RUNNING"}, ` + task + `}`,
			"answers", 200, exitPass, false},
		"paused": {`{"name": "cdclab", "connector": {"state": "PAUSED"}, ` + task + `}`,
			"connector cdclab is PAUSED", 200, exitFail, false},
		"failed": {`{"name": "cdclab", "connector": {"state": "RUNNING"}, ` +
			`"tasks": [{"id": 0, "state": "FAILED", "trace": "Broken: slot\n\tat x"}]}`,
			"task 0 of connector cdclab is FAILED: Broken: slot", 200, exitFail, false},
		"gone":             {`{}`, "no such connector", 404, exitFail, false},
		"embedded runs":    {"", "answers", 200, exitPass, true},
		"embedded crashed": {"", "503 Service Unavailable", 503, exitFail, true},
	} {
		t.Run(name, func(t *testing.T) {
			address := listener.Addr().String()
			endpoints := stack.Endpoints{PostgresDSN: "postgres://" + address + "/lab",
				KafkaBrokers: []string{address}, MongoURI: "mongodb://" + address,
				ConnectorMetricsURL: server.URL + "/metrics", ConnectURL: server.URL}
			if c.embedded {
				endpoints.ConnectURL = ""
			}
			if err := holding.Note(endpoints); err != nil {
				t.Fatal(err)
			}
			answer, code = c.answer, c.http
			s := &screen{}
			if got := run(t.Context(), []string{"status"}, terminal{s, s}); got != c.code {
				t.Errorf("exit %d, want %d", got, c.code)
			}
			for line := range strings.Lines(s.String()) {
				if strings.HasPrefix(line, "  connector ") && strings.Contains(line, c.want) {
					return
				}
			}
			t.Errorf("want %q of the connector:\n%s", c.want, s)
		})
	}
}
