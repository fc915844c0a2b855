package cdc

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
)

// scenario runs one of experiments/scenarios against a database and a server, with a copier in
// place of the pipeline.
func scenario(t testing.TB, name string, env ...string) *k6 {
	t.Helper()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	startCopier(t, source, target, "cdc")
	folder := t.TempDir()
	return &k6{
		path: filepath.Join("..", "experiments", "scenarios", name), folder: folder,
		env: append(env, "CDC_POSTGRES_DSN="+source.DSN(), "CDC_MONGO_URI="+target.URI(),
			"CDC_SUMMARY="+filepath.Join(folder, "summary.json")),
	}
}

// summary is a metric of k6's end-of-test data.
func (k *k6) summary(t testing.TB, metric string) map[string]float64 {
	t.Helper()
	var data struct {
		Metrics map[string]struct{ Values map[string]float64 }
	}
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(k.folder, "summary.json"))),
		&data); err != nil {
		t.Fatal(err)
	}
	return data.Metrics[metric].Values
}

// The specification's own script runs, finds the script's writes, and lists them in the ledger as
// the generator's writes are: with the run's marker, the row's version and the script's own looks.
func TestRunSpecPoll(t *testing.T) {
	t.Parallel()
	path, marker := filepath.Join(t.TempDir(), "ledger"), ledger.NewMarker()
	k := scenario(t, "spec-poll.js", "DURATION=2s", "K6_NO_THRESHOLDS=true", "CDC_LEDGER="+path,
		ledger.MarkerVariable+"="+marker.String())
	if code, output := k.run(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	latency, success, checks := k.summary(t, MetricLatency), k.summary(t, MetricSuccess),
		k.summary(t, "checks")
	if latency["count"] < 3 || success["rate"] != 1 || checks["passes"] != latency["count"] {
		t.Errorf("latency %v, success %v, checks %v", latency, success, checks)
	}
	first, last := marker.Bounds()
	var writes int64
	header, end, err := ledger.Read(path, func(w ledger.Write) error {
		writes++
		if w.Key < first || w.Key > last || w.ID < 1 || w.Fate != ledger.Acked || w.TimedOut ||
			w.IntendedNs <= 0 || w.CommittedNs < w.SentNs || w.VisibleNs < w.CommittedNs ||
			w.VisibleNs-w.IntendedNs > int64(latency["max"]+1)*1e6 || !w.Measured() {
			t.Errorf("%+v, want a key from %s to %s, and at most %v ms", w, first, last,
				latency["max"])
		}
		return nil
	})
	const poll = 100e6
	if err != nil || writes != int64(latency["count"]) || header.Tracker != "poll" ||
		header.ResolutionNs != poll || end.DrainNs == 0 || end.SlowestLookNs < poll ||
		len(end.Scenarios) != 1 || end.Scenarios[0].Iterations != writes {
		t.Errorf("%v: %d writes, %+v, %+v; latency %v", err, writes, header, end, latency)
	}
}

// Each scenario runs with k6 alone, without the lab: the scenario makes every requested write, and
// every write is seen.
func TestRunScenarios(t *testing.T) {
	t.Parallel()
	k := scenario(t, "", "RATE=20", "DURATION=2s", "WARMUP=0s", "K6_NO_THRESHOLDS=true",
		`CDC_OPTIONS={"seedRows": 20}`)
	common := k.env
	for script, want := range map[string]float64{ // writes in two seconds: the area under the rate
		"smoke.js": 40, "baseline.js": 40, "soak.js": 40, "stress.js": 220, "spike.js": 80,
		"breakpoint.js": 102,
	} {
		k.path, k.env = filepath.Join("..", "experiments", "scenarios", script), common
		if script == "breakpoint.js" {
			k.env = append(slices.Clip(common), "RATE=2")
		}
		if code, output := k.run(t); code != 0 {
			t.Fatalf("%s: exit code %d\n%s", script, code, output)
		}
		writes, success := k.summary(t, MetricWrites)["count"], k.summary(t, MetricSuccess)
		// On a busy machine k6 leaves out iterations due at the very end.
		if dropped := k.summary(t, "dropped_iterations")["count"]; writes+dropped < 0.8*want ||
			writes > want+2 || success["rate"] != 1 {
			t.Errorf("%s: %v writes, want %v; %v dropped; success %v", script, writes, want,
				dropped, success)
		}
	}
}

// The script in experiments/scenarios/README.md, a picture of the whole API, works.
func TestRunReadme(t *testing.T) {
	t.Parallel()
	readme := readFile(t, filepath.Join("..", "experiments", "scenarios", "README.md"))
	_, script, found := strings.Cut(readme, "```js\n")
	script, _, ended := strings.Cut(script, "```")
	if !found || !ended {
		t.Fatal("README.md shows no script")
	}
	k := scenario(t, "smoke.js")
	k.path = filepath.Join(k.folder, "readme.js")
	ledgerPath := filepath.Join(k.folder, "ledger")
	k.env = append(k.env, "CDC_LEDGER="+ledgerPath)
	if err := os.WriteFile(k.path, []byte(strings.ReplaceAll(script, "'1m'", "'2s'")),
		0o600); err != nil {
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
	marks, marksErr := marksOf(ledgerPath)
	if err != nil || marksErr != nil || len(marks) != 1 || scenarios["load"] < 390 ||
		scenarios["carts"] < 38 || end.SampleAsked != 0.5 {
		t.Errorf("%v, end %+v, marks %v, %v, %v", scenarios, end, marks, err, marksErr)
	}
}

// trackedBy is the number of writes tracked by one script on a stack.
type trackedBy struct{ perCoreSecond, perSecond, p50, least float64 }

// track runs a script for a short and for a long time: the difference of the two is free of k6's
// start and end.
func (k *k6) track(b *testing.B, script string, env ...string) trackedBy {
	b.Helper()
	k.path = filepath.Join("..", "experiments", "scenarios", script)
	common := k.env
	defer func() { k.env = common }()
	run := func(length time.Duration) (map[string]float64, time.Duration) {
		k.env = append(append(slices.Clip(common), env...), "DURATION="+length.String(),
			"WARMUP=0s", "K6_NO_THRESHOLDS=true")
		if code, output := k.run(b); code != 0 {
			b.Fatalf("exit code %d\n%s", code, output)
		}
		return k.summary(b, MetricLatency), k.cpu
	}
	const short, long = 5 * time.Second, 35 * time.Second
	before, cpuBefore := run(short)
	after, cpu := run(long)
	count := after["count"] - before["count"]
	return trackedBy{count / (cpu - cpuBefore).Seconds(), count / (long - short).Seconds(),
		after["p(50)"], after["min"]}
}

// BenchmarkTracked compares the writes tracked by the extension and by the specification's script,
// on one stack: for each second of a core taken by k6, and for each second. floor is the least
// latency that either can tell.
func BenchmarkTracked(b *testing.B) {
	k := scenario(b, "smoke.js")
	for range b.N {
		smoke := k.track(b, "smoke.js", "RATE=500")
		b.ReportMetric(smoke.perCoreSecond, "smoke/core-s")
		b.ReportMetric(smoke.perSecond, "smoke/s")
		b.ReportMetric(smoke.p50, "smoke-ms-p50")
		b.ReportMetric(smoke.least, "smoke-ms-floor")
		for _, vus := range []string{"1", "50"} {
			poll := k.track(b, "spec-poll.js", "VUS="+vus)
			name := "poll" + vus
			b.ReportMetric(poll.perCoreSecond, name+"/core-s")
			b.ReportMetric(poll.perSecond, name+"/s")
			b.ReportMetric(poll.p50, name+"-ms-p50")
			b.ReportMetric(poll.least, name+"-ms-floor")
			b.ReportMetric(smoke.perCoreSecond/poll.perCoreSecond, "x-"+name+"/core-s")
			b.ReportMetric(smoke.perSecond/poll.perSecond, "x-"+name+"/s")
		}
	}
}
