package cdc

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/grafana/xk6-sql"
	"go.k6.io/k6/cmd"
	"go.k6.io/k6/errext/exitcodes"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
)

// asK6 makes the test's own program a k6 with this module: the runs below are real ones.
const asK6 = "CDCLAB_TEST_AS_K6"

func TestMain(m *testing.M) {
	if os.Getenv(asK6) != "" {
		cmd.Execute()
		return
	}
	os.Exit(m.Run())
}

// k6 is one run of a script.
type k6 struct {
	folder, path string
	arguments    []string
	env          []string
	// cpu is the run's time on the processor.
	cpu time.Duration
}

func newK6(t *testing.T, script string, env ...string) *k6 {
	t.Helper()
	k := &k6{folder: t.TempDir(), env: env}
	k.path = filepath.Join(k.folder, "script.js")
	if err := os.WriteFile(k.path, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *k6) command(ctx context.Context, output *bytes.Buffer) *exec.Cmd {
	arguments := append([]string{"run", "--no-usage-report", "--no-color", "--quiet", "--address",
		""}, k.arguments...)
	command := exec.CommandContext(ctx, os.Args[0], append(arguments, k.path)...)
	command.Env = append(append(os.Environ(), asK6+"=1", "K6_AUTO_EXTENSION_RESOLUTION=false"),
		k.env...)
	command.Stdout, command.Stderr = output, output
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.WaitDelay = 10 * time.Second
	return command
}

// run returns the exit code and k6's output.
func (k *k6) run(t testing.TB) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	var output bytes.Buffer
	command := k.command(ctx, &output)
	err := command.Run()
	if command.ProcessState != nil {
		k.cpu = command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, output.String()
	case ctx.Err() == nil && errors.As(err, &exit):
		return exit.ExitCode(), output.String()
	}
	t.Fatalf("%v\n%s", err, &output)
	return 0, ""
}

// A mistake in a script is reported with its line.
func TestRunNamesTheLine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ script, want string }{
		"open": {"import cdc from 'k6/x/cdc';\n\n" +
			"cdc.open({postgress: 1});\nexport default function () {}",
			`there is no option \\?"postgress\\?"[^\n]*\n?[^\n]*script\.js:3:`},
		"write": {"import cdc from 'k6/x/cdc';\nconst lab = cdc.open();\n" +
			"export default function () {\n  lab.write('customers');\n}",
			`no entity \\?"customers\\?"[^\n]*\n?[^\n]*script\.js:4:`},
		"transaction": {"import cdc from 'k6/x/cdc';\nconst lab = cdc.open();\n" +
			"export default function () {\n\n  lab.transaction([{entty: 'order'}]);\n}",
			`has no member \\?"entty\\?"[^\n]*\n?[^\n]*script\.js:5:`},
		"setup": {"import cdc from 'k6/x/cdc';\n" +
			"const lab = cdc.open({mongo: 'mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100', " +
			"postgres: 'postgres://127.0.0.1:1/x'});\n" +
			"export function setup() { lab.start(); }\nexport default function () {}",
			`connect to PostgreSQL[^\n]*\n?[^\n]*script\.js:3:`},
		"threshold": {"import cdc from 'k6/x/cdc';\nexport const options = { thresholds: " +
			"{ 'iteration_duration{scenario:load}': ['max<1000'] } };\n" +
			"const lab = cdc.open({trends: 0.5});\n" +
			"export function setup() { lab.start(); }\nexport default function () {}",
			`\\?"trends\\?": the threshold on iteration_duration\{scenario:load\} ` +
				`wants every sample[^\n]*\n?[^\n]*script\.js:4:`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, output := newK6(t, test.script).run(t)
			if !regexp.MustCompile(test.want).MatchString(output) {
				t.Errorf("exit code %d, want %s in\n%s", code, test.want, output)
			}
			if name == "open" || name == "setup" || name == "threshold" {
				if code == 0 {
					t.Error("k6 ended as if nothing had been")
				}
			}
		})
	}
}

// k6 passes a threshold of a metric without samples: a script without writes must cross another
// threshold.
func TestRunOfNothingFails(t *testing.T) {
	t.Parallel()
	limits := readFile(t, filepath.Join("..", "experiments", "thresholds", "smoke.json"))
	code, output := newK6(t, "import cdc from 'k6/x/cdc';\nexport const options = "+
		"{ scenarios: { load: { executor: 'per-vu-iterations' } }, thresholds: "+limits+" };\n"+
		"const lab = cdc.open();\nexport default function () { lab.write('customers'); }").run(t)
	const crossed = "thresholds on metrics 'cdc_writes{scenario:load}' have been crossed"
	if code != int(exitcodes.ThresholdsHaveFailed) || !strings.Contains(output, crossed) {
		t.Errorf("exit code %d\n%s", code, output)
	}
}

// With a share of the trends, k6 keeps three numbers of k6's own trend over all iterations.
func TestRunForgetsIterations(t *testing.T) {
	t.Parallel()
	for trends, want := range map[string]string{"1": "avg,max,med,min,p(90),p(95)",
		"0.5": "max,min,value"} {
		code, output := newK6(t, "import cdc from 'k6/x/cdc';\nexport const options = "+
			"{ scenarios: { load: { executor: 'per-vu-iterations', vus: 3, iterations: 5 } } };\n"+
			"const lab = cdc.open({trends: "+trends+"});\nexport default () => {};\n"+
			"export const handleSummary = (data) => ({ stdout: "+
			"Object.keys(data.metrics.iteration_duration.values).sort() "+
			"+ ' of ' + data.metrics.iterations.values.count });").run(t)
		if code != 0 || !strings.Contains(output, want+" of 15") {
			t.Errorf("trends %s: exit code %d, want %s of 15 in\n%s", trends, code, want, output)
		}
	}
}

// load is a script at a rate, with the text before `export default`.
func load(scenario, before string) string {
	return `
import cdc from 'k6/x/cdc';
export const options = {
  scenarios: { load: { executor: 'constant-arrival-rate', preAllocatedVUs: 20, ` + scenario + ` } },
  setupTimeout: '60s', teardownTimeout: '60s',
};
` + before + `
export function setup() { lab.start(); }
export default function () { lab.write(); }
export function teardown() { lab.drain('20s'); }
`
}

// A ledger that cannot be written ends the test with the reason.
func TestRunAbortsWithoutALedger(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	startCopier(t, source, target, "cdc")
	k := newK6(t, load(`rate: 500, duration: '60s'`, `const lab = cdc.open({seedRows: 10});`),
		"CDC_POSTGRES_DSN="+source.DSN(), "CDC_MONGO_URI="+target.URI(), "CDC_LEDGER=/dev/full")
	code, output := k.run(t)
	if code != int(exitcodes.ScriptAborted) ||
		!strings.Contains(output, "test aborted: the ledger cannot be written") {
		t.Errorf("exit code %d\n%s", code, output)
	}
}

// A PostgreSQL gone for good ends the test with the reason; the ledger is whole.
func TestRunAbortsWithoutADatabase(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	k := newK6(t, strings.Replace(load(`rate: 50, duration: '60s'`,
		`const lab = cdc.open({seedRows: 0, workers: 4, `+
			`statementTimeout: '300ms', abortAfter: '1s'});`),
		"20s", "1s", 1), // nothing copies, so there is nothing to wait for
		"CDC_POSTGRES_DSN="+source.DSN(), "CDC_MONGO_URI="+target.URI())
	path, began := filepath.Join(k.folder, "ledger"), filepath.Join(k.folder, "began")
	k.env = append(k.env, "CDC_LEDGER="+path, "CDC_STARTED="+began)
	g := newGenerator(DefaultOptions(), nil, nil)
	gone := make(chan bool)
	go func() {
		defer close(gone)
		if g.await(t.Context(), 60*time.Second, func() bool {
			_, err := os.Stat(began)
			return err == nil
		}) {
			source.Kill()
		}
	}()
	code, output := k.run(t)
	<-gone
	if code != int(exitcodes.ScriptAborted) ||
		!strings.Contains(output, "test aborted: PostgreSQL has been away for") {
		t.Errorf("exit code %d\n%s", code, output)
	}
	writes := 0
	if _, _, err := ledger.Read(path, func(ledger.Write) error {
		writes++
		return nil
	}); err != nil || writes == 0 {
		t.Errorf("%d writes, %v", writes, err)
	}
}

// Two segments of a script write together exactly as much as the script alone, and no row twice;
// each segment's part of the load is spread over the whole length.
func TestRunSegments(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	startCopier(t, source, target, "cdc")
	// k6 may or may not begin an iteration due at the very end: the counts alone are exact.
	script := strings.Replace(load(`rate: 100, duration: '2s'`,
		`const lab = cdc.open({seedRows: 41});`), "scenarios: {",
		"scenarios: { count: { executor: 'shared-iterations', iterations: 301, vus: 10 }, ", 1)
	ids, keys, scenarios := map[int64]bool{}, map[string]string{}, map[string]int{}
	for _, segment := range []string{"", "0:1/3", "1/3:1"} {
		k := newK6(t, script, "CDC_POSTGRES_DSN="+source.DSN(), "CDC_MONGO_URI="+target.URI())
		path := filepath.Join(k.folder, "ledger")
		k.env = append(k.env, "CDC_LEDGER="+path)
		if segment != "" {
			k.arguments = []string{"--execution-segment", segment, "--execution-segment-sequence",
				"0,1/3,1"}
		}
		if code, output := k.run(t); code != 0 {
			t.Fatalf("segment %q: exit code %d\n%s", segment, code, output)
		}
		first, last := int64(math.MaxInt64), int64(0)
		count := func(w ledger.Write) error {
			if w.Scenario == "load" {
				first, last = min(first, w.IntendedNs), max(last, w.IntendedNs)
			}
			if segment == "" {
				scenarios[w.Scenario]++
				return nil
			}
			scenarios[w.Scenario+" in parts"]++
			if ids[w.ID] {
				t.Errorf("write ID %d is in both segments", w.ID)
			}
			if in, ok := keys[w.Key]; ok && in != segment {
				t.Errorf("key %s is in both segments", w.Key)
			}
			ids[w.ID], keys[w.Key] = true, segment
			if w.Fate != ledger.Acked || w.VisibleNs == 0 {
				t.Errorf("segment %q: %+v", segment, w)
			}
			return nil
		}
		header, _, err := ledger.Read(path, count)
		if err != nil || header.Segment != segment {
			t.Errorf("header %+v, %v", header, err)
		}
		if span := time.Duration(last - first); span < 1900*time.Millisecond ||
			span%(10*time.Millisecond) != 0 {
			t.Errorf("segment %q: its schedule spans %v of 2s", segment, span)
		}
	}
	for _, name := range []string{"count", "seed"} {
		if whole, parts := scenarios[name], scenarios[name+" in parts"]; whole < 41 ||
			whole != parts {
			t.Errorf("%s: %d writes, %d in the segments", name, whole, parts)
		}
	}
	t.Logf("%v", scenarios)
}
func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
