package cdc

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// scenario is one of experiments/scenarios, run against a database and a server between which a
// copier does what the pipeline would.
func scenario(t testing.TB, name string, env ...string) *k6 {
	t.Helper()
	target, source := startServer(t), startDatabase(t)
	startCopier(t, source, target, "cdc")
	folder := t.TempDir()
	return &k6{
		path: filepath.Join("..", "experiments", "scenarios", name), folder: folder,
		env: append(env, "CDC_POSTGRES_DSN="+source.dsn(), "CDC_MONGO_URI="+target.uri(),
			"CDC_SUMMARY="+filepath.Join(folder, "summary.json")),
	}
}

// summary is a metric of k6's end-of-test data.
func (k *k6) summary(t testing.TB, metric string) map[string]float64 {
	t.Helper()
	var data struct {
		Metrics map[string]struct{ Values map[string]float64 }
	}
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(k.folder, "summary.json"))), &data); err != nil {
		t.Fatal(err)
	}
	return data.Metrics[metric].Values
}

// The specification's own script runs, and finds what it writes.
func TestRunSpecPoll(t *testing.T) {
	t.Parallel()
	k := scenario(t, "spec-poll.js", "DURATION=2s")
	if code, output := k.run(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	latency, success, checks := k.summary(t, MetricLatency), k.summary(t, MetricSuccess), k.summary(t, "checks")
	if latency["count"] < 3 || success["rate"] != 1 || checks["passes"] != latency["count"] {
		t.Errorf("latency %v, success %v, checks %v", latency, success, checks)
	}
}

// The script that experiments/scenarios/README.md shows as the whole API works.
func TestRunReadme(t *testing.T) {
	t.Parallel()
	_, script, found := strings.Cut(readFile(t, filepath.Join("..", "experiments", "scenarios", "README.md")), "```js\n")
	script, _, ended := strings.Cut(script, "```")
	if !found || !ended {
		t.Fatal("README.md shows no script")
	}
	k := scenario(t, "smoke.js")
	k.path = filepath.Join(k.folder, "readme.js")
	ledgerPath := filepath.Join(k.folder, "ledger")
	k.env = append(k.env, "CDC_LEDGER="+ledgerPath)
	if err := os.WriteFile(k.path, []byte(strings.ReplaceAll(script, "'1m'", "'2s'")), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, output := k.run(t); code != 0 || !strings.Contains(output, "budgetKept") {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	scenarios := map[string]int{}
	_, end, err := ledger.Read(ledgerPath, func(w ledger.Write) error {
		scenarios[w.Scenario]++
		return nil
	})
	marks, marksErr := ledger.Marks(ledgerPath)
	if err != nil || marksErr != nil || len(marks) != 1 || scenarios["load"] < 390 || scenarios["carts"] < 38 || end.SampleAsked != 0.5 {
		t.Errorf("%v, end %+v, marks %v, %v, %v", scenarios, end, marks, err, marksErr)
	}
}

// BenchmarkTracked compares what a core of k6 tracks: the extension's way and the specification's.
func BenchmarkTracked(b *testing.B) {
	for name, k := range map[string]*k6{
		"smoke":     scenario(b, "smoke.js", "RATE=500", "DURATION=10s", "WARMUP=0s"),
		"spec-poll": scenario(b, "spec-poll.js", "DURATION=10s"),
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				code, output := k.run(b)
				if code != 0 {
					b.Fatalf("exit code %d\n%s", code, output)
				}
				latency := k.summary(b, MetricLatency)
				b.ReportMetric(latency["count"]/k.cpu.Seconds(), "tracked/core-s")
				b.ReportMetric(latency["count"]/10, "tracked/s")
				b.ReportMetric(latency["p(50)"], "ms-p50")
			}
		})
	}
}
