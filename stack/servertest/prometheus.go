// Package servertest starts servers for tests: PostgreSQL, MongoDB or a stand-in, Kafka and
// Prometheus. Every server ends with the test, or with the test binary where tests share the
// server, also when the test binary is killed. A test names its needs of a server, and is skipped
// where no server meets the needs: the end of `./just test` counts the skipped tests. Start reading
// at MongoURI and Postgres, then Need and guard.
package servertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// Prometheus is a real Prometheus on loopback, for a look at the lab's metrics as others get them,
// and at others' metrics as the lab gets them. Prometheus is no part of a Stack.
type Prometheus struct {
	// URL is the address of the API. Remote write goes to /api/v1/write below URL, OTLP to
	// /api/v1/otlp.
	URL    string
	folder *process.Folder
}

// StartPrometheus starts the program at path, which reads the pages of metrics at the URLs every
// second, and returns when Prometheus serves.
func StartPrometheus(ctx context.Context, path string, pages ...string) (*Prometheus, error) {
	port, err := process.FreePort()
	if err != nil {
		return nil, err
	}
	folder, err := newFolder()
	if err != nil {
		return nil, err
	}
	p := &Prometheus{"http://" + process.Loopback(port), folder}
	if err := p.start(ctx, path, pages); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

func (p *Prometheus) start(ctx context.Context, path string, pages []string) error {
	config := p.folder.File("prometheus.yml")
	if err := os.WriteFile(config, []byte(prometheusConfig(pages)), 0o644); err != nil {
		return err
	}
	server := process.NewChild("prometheus", p.folder, syscall.SIGTERM)
	return server.Launch(ctx, process.Command{Path: path, Args: []string{
		"--config.file=" + config, "--storage.tsdb.path=" + p.folder.File("data"),
		"--web.listen-address=" + strings.TrimPrefix(p.URL, "http://"),
		"--web.enable-remote-write-receiver", "--web.enable-otlp-receiver",
		"--enable-feature=native-histograms",
	}}, func(ctx context.Context) error {
		return process.Answers(ctx, p.URL+"/-/ready")
	})
}

func prometheusConfig(pages []string) string {
	text := "global: {scrape_interval: 1s}\nscrape_configs:\n"
	for n, page := range pages {
		address, path, _ := strings.Cut(strings.TrimPrefix(page, "http://"), "/")
		text += fmt.Sprintf("  - {job_name: page-%d, metrics_path: %q, "+
			"static_configs: [{targets: [%q]}]}\n", n+1, "/"+path, address)
	}
	return text
}

// FindPrometheus returns the path of the program; the test is skipped where there is none.
func FindPrometheus(t testing.TB) string {
	t.Helper()
	return FindObserver(t, programs.Prometheus)
}

// FindObserver returns the path of a program; the test is skipped where there is none.
func FindObserver(t testing.TB, o programs.Observer) string {
	t.Helper()
	path, err := programs.FindObserver(o, "")
	if errors.Is(err, programs.ErrNoObserver) {
		expect.Lacking(t, "the program "+string(o), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// observersEnv lets the tests run that need more than a Prometheus; `./just prometheus` sets it.
const observersEnv = "CDCLAB_OBSERVERS"

// NeedObserver is FindObserver for a program that CI does not build: the test is skipped unless the
// environment asks for the test.
func NeedObserver(t testing.TB, o programs.Observer) string {
	t.Helper()
	if os.Getenv(observersEnv) == "" {
		t.Skipf("needs %s: set %s=1, or `./just prometheus`", o, observersEnv)
	}
	return FindObserver(t, o)
}

// RunPrometheus starts the program at path for the length of the test and returns its URL.
func RunPrometheus(t testing.TB, path string, pages ...string) string {
	t.Helper()
	server, err := StartPrometheus(t.Context(), path, pages...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server.URL
}

// Stop ends Prometheus and removes everything stored.
func (p *Prometheus) Stop() error { return p.folder.Close(false) }

// AwaitSamples waits until the Prometheus at the URL answers an instant query with samples, and
// fails the test with the last answer otherwise.
func AwaitSamples(t testing.TB, address, query string) {
	t.Helper()
	ctx := expect.Context(t)
	for {
		n, answer, err := Samples(ctx, address, query)
		if err == nil && n > 0 {
			return
		}
		if ctx.Err() != nil || strings.Contains(answer, `"bad_data"`) {
			t.Errorf("%s: %d samples, %s, %v", query, n, answer, err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// Samples is the number of samples in the answer to an instant query, and the answer. NaN is no
// sample.
func Samples(ctx context.Context, address, query string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/api/v1/query?query="+
		url.QueryEscape(query), nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", err
	}
	var answer struct {
		Data struct {
			Result []struct {
				Value     []any
				Histogram []any
			}
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, string(text), err
	}
	n := 0
	for _, one := range answer.Data.Result {
		if one.Histogram != nil || len(one.Value) == 2 && one.Value[1] != "NaN" {
			n++
		}
	}
	return n, string(text), nil
}
