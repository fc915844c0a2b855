package stack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFetchPrometheusWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(prometheusEnv, "")
	wantError(t, FetchPrometheus(testContext(t), t.TempDir(), nil), "install prometheus", "go")
}

func TestFetchPrometheusLeavesAloneWhatIsThere(t *testing.T) {
	cache := t.TempDir()
	program := filepath.Join(prometheusRoot(cache), prometheusName)
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	t.Setenv(prometheusEnv, "")
	var said []string
	if err := FetchPrometheus(testContext(t), cache, func(line string) { said = append(said, line) }); err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || !strings.Contains(said[0], program) {
		t.Errorf("said %q, want where it is", said)
	}
	t.Setenv(prometheusEnv, "/nowhere/prometheus")
	_, err := FindPrometheus(cache)
	wantError(t, err, prometheusEnv, "/nowhere/prometheus")
}

func TestPrometheusThatIsTooOld(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), prometheusName)
	script := "#!/bin/sh\necho unknown long flag --web.enable-otlp-receiver; exit 2\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := StartPrometheus(testContext(t), program)
	wantError(t, err, "prometheus", "unknown long flag")
}
