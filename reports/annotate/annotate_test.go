package annotate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/reports"
)

// grafana speaks the documented API of annotations: find by all of some tags, create and patch, for
// the holder of a token.
type grafana struct {
	mu    sync.Mutex
	there []Annotation
	// calls are the methods of the requests so far.
	calls []string
}

const goodToken = "glsa_good"

func (g *grafana) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, r.Method)
	if r.Header.Get("Authorization") != "Bearer "+goodToken {
		http.Error(w, `{"message":"invalid API key"}`, http.StatusUnauthorized)
		return
	}
	body, _ := io.ReadAll(r.Body)
	var one Annotation
	switch r.Method {
	case http.MethodGet:
		found := []Annotation{}
		for _, a := range g.there {
			if !slices.ContainsFunc(r.URL.Query()["tags"], func(tag string) bool {
				return !slices.Contains(a.Tags, tag)
			}) {
				slices.Reverse(a.Tags) // an order of its own
				found = append(found, a)
			}
		}
		_ = json.NewEncoder(w).Encode(found)
		return
	case http.MethodPost:
		_ = json.Unmarshal(body, &one)
		one.ID = int64(len(g.there) + 1)
		g.there = append(g.there, one)
	case http.MethodPatch:
		_ = json.Unmarshal(body, &one)
		if _, err := fmt.Sscanf(r.URL.Path, "/below/api/annotations/%d", &one.ID); err != nil {
			http.Error(w, "{}", http.StatusNotFound)
			return
		}
		g.there[one.ID-1] = one
	}
	fmt.Fprintf(w, `{"message":"Annotation added","id":%d}`, one.ID)
}

func startGrafana(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func newClient(t *testing.T, address string) *Client {
	t.Helper()
	c, err := NewClient(address, goodToken)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var began = time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)

// chaosRun is a failed run with two faults; the second fault was not applied.
func chaosRun() *reports.Run {
	return &reports.Run{
		TestRun: reports.TestRun{ID: "smoke-20261129-080000", Scenario: "smoke",
			StartTime: began, EndTime: began.Add(time.Minute), DurationSeconds: 60},
		Provenance: reports.Provenance{Stack: "embedded"},
		Summary: reports.Summary{Throughput: reports.Throughput{Offered: 50},
			Latency: reports.Latency{P50: 3, P95: 5, P99: 8}},
		Verdict: reports.Verdict{Status: reports.Fail, Reasons: []string{"1 row is <lost>."}},
		Faults: []reports.FaultWindow{
			{Name: "kill", Target: "consumer", StartSeconds: 5, EndSeconds: 7.5, Applied: true},
			{Name: "pause", Target: "mongo", StartSeconds: 20, EndSeconds: 30},
		},
	}
}

func annotationsOf(t *testing.T, run *reports.Run, link string) []Annotation {
	t.Helper()
	all, err := Of(run, link)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestOf: the load and each fault are regions at their times, the verdict is a point at the end,
// and no text is HTML but the link.
func TestOf(t *testing.T) {
	t.Parallel()
	const link = ` <a href="https://ci/report.html?a=1&amp;b=2">report</a>`
	type brief struct {
		From, To float64
		Text     string
	}
	var got []brief
	for _, a := range annotationsOf(t, chaosRun(), "https://ci/report.html?a=1&b=2") {
		got = append(got, brief{float64(a.Time-began.UnixMilli()) / 1000,
			float64(a.TimeEnd-began.UnixMilli()) / 1000, a.Text})
		if !slices.Contains(a.Tags, Tag) || !slices.Contains(a.Tags, "verdict:fail") {
			t.Errorf("tags %q", a.Tags)
		}
	}
	want := []brief{
		{0, 60, "smoke on embedded: 50/s for 60 s" + link},
		{60, 60, "FAIL: e2e p50 3 ms, p95 5 ms, p99 8 ms. 1 row is &lt;lost&gt;." + link},
		{5, 7.5, "kill of consumer" + link},
		{20, 30, "pause of mongo, not applied" + link},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"javascript:alert(1)", "report.html", "file:///x", "https://"} {
		if _, err := Of(chaosRun(), bad); err == nil {
			t.Errorf("link %q was taken", bad)
		}
	}
}

// TestSendIsIdempotent: sent three times, the annotations of two runs are there once; a changed
// verdict is updated in place.
func TestSendIsIdempotent(t *testing.T) {
	t.Parallel()
	server := &grafana{}
	c := newClient(t, startGrafana(t, server)+"/below/")
	run, other := chaosRun(), chaosRun()
	other.TestRun.StartTime = began.Add(time.Hour) // the same ID, on another machine
	other.TestRun.EndTime = began.Add(2 * time.Hour)
	for n, want := range []Sent{{Created: 4}, {Kept: 4}, {Kept: 4}} {
		for _, one := range []*reports.Run{run, other} {
			got, err := c.Send(t.Context(), annotationsOf(t, one, ""))
			if err != nil || got != want {
				t.Fatalf("time %d: %+v, %v; want %+v", n+1, got, err, want)
			}
		}
	}
	run.Verdict = reports.Verdict{Status: reports.Pass}
	run.Faults = run.Faults[:1]
	got, err := c.Send(t.Context(), annotationsOf(t, run, ""))
	if want := (Sent{Updated: 3}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if len(server.there) != 8 || !strings.HasPrefix(server.there[1].Text, "PASS: ") {
		t.Errorf("there are %d: %+v", len(server.there), server.there)
	}
}

// TestSendFails: each answer without success is an error with a reason and without the token, and a
// redirect takes the token nowhere.
func TestSendFails(t *testing.T) {
	t.Parallel()
	away := &grafana{}
	awayURL := startGrafana(t, away)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"token":   {status(401, `{"message":"invalid"}`), "status 401: the token may not"},
		"right":   {status(403, ""), "annotations:write"},
		"path":    {status(404, "<html>"), "no API of annotations"},
		"broken":  {status(500, strings.Repeat("x", 5000)), `status 500: "xxxx`},
		"busy":    {status(503, ""), "status 503"},
		"limited": {status(429, ""), "status 429"},
		"empty":   {status(204, ""), "status 204"},
		"text":    {status(200, "<html>"), "read the answer"},
		"redirect": {http.RedirectHandler(awayURL+"/login?token=x", http.StatusFound).ServeHTTP,
			"status 302: a redirect to " + awayURL + " is not followed"},
		"nowhere": {status(302, ""), "status 302"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "[")
		}, "read the answer"},
		"no answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, startGrafana(t, c.answer))
			_, err := client.Send(t.Context(), annotationsOf(t, chaosRun(), ""))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if len(err.Error()) > 500 || strings.Contains(err.Error(), goodToken) {
				t.Errorf("the error is %q", err)
			}
		})
	}
	if len(away.calls) > 0 {
		t.Errorf("the other address was called: %q", away.calls)
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// TestSendEnds: a silent Grafana holds nobody up beyond the limit of the caller.
func TestSendEnds(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	address := startGrafana(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body) // only then the server sees that the client went away
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	c := newClient(t, address)
	if _, err := c.Send(ctx, annotationsOf(t, chaosRun(), "")); err == nil {
		t.Error("no error")
	}
	if c.api.HTTP.Timeout != requestLimit {
		t.Errorf("one request may take %v", c.api.HTTP.Timeout)
	}
}

// TestNewClientRefuses: an impossible address or token is refused before any request, and no error
// repeats the address or the token.
func TestNewClientRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"", goodToken}, {"grafana:3000", goodToken}, {"ftp://h", goodToken},
		{"http://", goodToken},
		{"http://u:hidden@h", goodToken}, {"http://h?key=hidden", goodToken}, {"http://h", ""},
		{"http://h", "hidden\r\nX: y"}, {"http://h/%zzhidden", goodToken},
	} {
		if _, err := NewClient(c[0], c[1]); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: %v", c, err)
		}
	}
	c := newClient(t, "http://192.0.2.1:3000") // no TLS, another machine
	if _, err := c.Send(t.Context(), annotationsOf(t, chaosRun(), "")); err == nil ||
		!strings.Contains(err.Error(), "needs TLS") {
		t.Errorf("got %v", err)
	}
}
