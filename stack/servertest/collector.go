package servertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// Collector is a running OpenTelemetry Collector on loopback.
type Collector struct {
	// OTLP is the address of OTLP over HTTP.
	OTLP string
}

// RunCollector starts the collector for the length of the test, with the configuration of a stack
// and more after it, and returns when the collector is healthy. Targets are lists of addresses by
// the variable, such as CDC_SCRAPE_KAFKA; a variable that is not there is an
// empty list. env is for the collector alone, and wins.
func RunCollector(t testing.TB, prometheus string, targets map[string][]string,
	env []string, config, more string) Collector {
	t.Helper()
	program := NeedObserver(t, programs.Otelcol)
	folder, err := newFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := folder.Close(false); err != nil {
			t.Error(err)
		}
	})
	// A child runs in its own folder.
	config, err = filepath.Abs(config)
	if err != nil {
		t.Fatal(err)
	}
	overlay := folder.File("more.yaml")
	if err := os.WriteFile(overlay, []byte(more), 0o644); err != nil {
		t.Fatal(err)
	}
	ports := map[string]int{}
	own := []string{"CDC_OTEL_LISTEN=127.0.0.1", "CDC_PROMETHEUS=" + prometheus,
		"CDC_OTEL_DATA=" + folder.File("otelcol"), "CDC_LOG_FILES=/nowhere/*.log"}
	for _, name := range []string{"GRPC", "HTTP", "HEALTH", "METRICS"} {
		if ports[name], err = process.FreePort(); err != nil {
			t.Fatal(err)
		}
		own = append(own, fmt.Sprintf("CDC_OTEL_%s_PORT=%d", name, ports[name]))
	}
	for _, name := range []string{"CONSUMER", "KAFKA", "CONNECT", "POSTGRES", "MONGODB"} {
		own = append(own, "CDC_SCRAPE_"+name+"=["+
			strings.Join(targets["CDC_SCRAPE_"+name], ",")+"]")
	}
	child := process.NewChild("otelcol", folder, syscall.SIGTERM)
	err = child.Launch(t.Context(), process.Command{Path: program, Env: append(own, env...),
		Args: []string{"--config", config, "--config", overlay}},
		func(ctx context.Context) error {
			return process.Answers(ctx, "http://"+process.Loopback(ports["HEALTH"]))
		})
	if err != nil {
		t.Fatal(err)
	}
	return Collector{"http://" + process.Loopback(ports["HTTP"])}
}
