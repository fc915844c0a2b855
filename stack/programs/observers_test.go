package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func TestFetchObserversWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(Prometheus.env(), "")
	expect.Error(t, FetchObservers(expect.Context(t), t.TempDir(), nil, Prometheus),
		"install prometheus", "go")
}

func TestFetchObserversLeavesAloneWhatIsThere(t *testing.T) {
	cache := t.TempDir()
	program := filepath.Join(Prometheus.folder(cache), "prometheus")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	t.Setenv(Prometheus.env(), "")
	var said []string
	if err := FetchObservers(expect.Context(t), cache, func(line string) {
		said = append(said, line)
	}, Prometheus); err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || !strings.Contains(said[0], program) {
		t.Errorf("said %q, want where it is", said)
	}
	t.Setenv(Prometheus.env(), "/nowhere/prometheus")
	_, err := FindObserver(Prometheus, cache)
	expect.Error(t, err, Prometheus.env(), "/nowhere/prometheus")
}
