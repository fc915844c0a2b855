package experiments

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/stack"
)

// Scripts: fixed reads no variable, halved shares the rate out.
const (
	fixed = `import cdc from 'k6/x/cdc';
export const options = { scenarios: { load: { executor: 'constant-arrival-rate', rate: 600,
  timeUnit: '1m', duration: '20s', preAllocatedVUs: 5 } } };
const lab = cdc.open();
export default function () { lab.write(); }
`
	halved = `const one = { executor: 'constant-arrival-rate', rate: Number(__ENV.RATE) / 2,
  duration: '20s', preAllocatedVUs: 5 };
export const options = { scenarios: { one, other: one } };
export default function () {}
`
	typed = `export const options: object = { vus: 2 as number, duration: '3s' };
export default function (): void {}
`
	once = `export const options = { vus: 2, iterations: 5 };
export default function () {}
`
)

// script stores a script, or a plan, under a name.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	writeFile(t, path, text)
	return path
}

func plan(t *testing.T, name, fault string) string {
	t.Helper()
	return script(t, name, "name: breaks\nsteady-state: {recovery: 5s}\nmethod:\n"+fault)
}

// askedFor is a changed configuration with the error, "" for none.
type askedFor struct {
	scenario string
	change   func(*Config)
	want     string
	searches bool
}

// prepareEach compares what is refused before a stack is up.
func prepareEach(t *testing.T, cases map[string]askedFor) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds k6; left out by -short")
	}
	root, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	programs, err := Build(t.Context(), root, Programs{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range cases {
		config := DefaultConfig()
		config.Scenario, config.Programs, config.Out = c.scenario, programs, t.TempDir()
		c.change(&config)
		e, err := prepare(t.Context(), config)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if err != nil {
			continue
		}
		if err := e.out.Close(); err != nil {
			t.Error(err)
		}
		if told := len(e.warnings) > 0; told != strings.Contains(name, "told") {
			t.Errorf("%s: warnings %q", name, e.warnings)
		}
		if e.searches() != c.searches {
			t.Errorf("%s: searches %v", name, e.searches())
		}
	}
}

// TestAskedOfAScript: a script is not asked for what it does not read.
func TestAskedOfAScript(t *testing.T) {
	t.Parallel()
	prepareEach(t, map[string]askedFor{
		"nothing": {script(t, "1.js", fixed), func(*Config) {}, "", false},
		"the rate that is made": {script(t, "2.js", fixed), func(c *Config) {
			c.Rate = new(10)
		}, "",
			false},
		"another rate": {script(t, "3.js", fixed), func(c *Config) { c.Rate = new(40) },
			"rate 40 changes nothing: 3.js does not read __ENV.RATE; the load is " +
				"load: constant-arrival-rate 10/s 20s", false},
		"a length": {script(t, "4.js", fixed), func(c *Config) { c.Duration = new(time.Minute) },
			"duration 1m0s changes nothing: 4.js does not read __ENV.DURATION", false},
		"a warmup": {script(t, "5.js", fixed), func(c *Config) { c.Warmup = new(time.Second) },
			"warmup 1s changes nothing", false},
		"no warmup": {script(t, "6.js", fixed), func(c *Config) {
			c.Warmup = new(time.Duration(0))
		},
			"", false},
		"a rate read otherwise": {script(t, "7.js", halved), func(c *Config) {
			c.Rate = new(40)
		}, "",
			false},
		"virtual users": {script(t, "8.ts", typed), func(c *Config) { c.Rate = new(40) },
			"the load is default: constant-vus 2 VUs 3s", false},
		"no warmup of the lab's": {"smoke", func(c *Config) { c.Warmup = new(time.Duration(0)) },
			"", false},
		"eight days": {"smoke", func(c *Config) { c.Duration = new(8 * 24 * time.Hour) },
			"the load lasts 192h0m0s, at most 168h0m0s have a place in a run, second by second",
			false},
		"a search of eight days": {Breakpoint, func(c *Config) {
			c.Duration = new(8 * 24 * time.Hour)
		}, "the load lasts ", true},
		"a script's eight days": {script(t, "13.js", strings.Replace(fixed, "20s", "8d", 1)),
			func(*Config) {}, "the load lasts 192h0m0s", false},
		"iterations with eight days for them": {script(t, "14.js", strings.Replace(once,
			"iterations: ", "maxDuration: '8d', iterations: ", 1)), func(*Config) {}, "", false},
		"paused": {script(t, "11.js", "export const options = { paused: true };\n"+
			"export default function () {}\n"), func(*Config) {}, "nobody would resume", false},
	})
}

// TestAskedOfAPlan: a plan fits the load, the group and the stack, or is refused.
func TestAskedOfAPlan(t *testing.T) {
	t.Parallel()
	root, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	prepareEach(t, map[string]askedFor{
		"one's own breakpoint": {script(t, Breakpoint+".js", fixed),
			func(c *Config) { c.PlanPath = "consumer-kill" }, "", false},
		"the lab's by path": {filepath.Join(scenarioFolder(root), Breakpoint+".js"),
			func(*Config) {}, "", true},
		"the lab's with a plan": {Breakpoint, func(c *Config) { c.PlanPath = "consumer-kill" },
			"breakpoint: it searches without faults", true},
		"the lab's in part": {Breakpoint, func(c *Config) {
			c.Segment, c.Stack.Kind = "1/2", stack.External
		}, "breakpoint: it searches with all of the load", true},
		"one consumer of two": {"smoke", func(c *Config) {
			c.PlanPath, c.Stack.Consumers = "consumer-stop", 1
		}, "chaos/plans/consumer-stop.yaml:7:12: the plan is made for 2 consumers, and there is 1",
			false},
		"three consumers for two": {"smoke", func(c *Config) {
			c.PlanPath, c.Stack.Consumers = "consumer-stop", 3
		}, "", false},
		"shorter than the plan": {"smoke", func(c *Config) {
			c.PlanPath, c.Duration = "consumer-kill", new(7*time.Second)
		}, "consumer-kill.yaml:9:9: the load ends after 7s, kill of consumer after 7s", false},
		"a script shorter than the plan": {script(t, "9.js", fixed), func(c *Config) {
			c.PlanPath = plan(t, "late.yaml", "  - {at: 30s, fault: kill, target: consumer}\n")
		}, "late.yaml:4:10: the load ends after 20s", false},
		"iterations of any length": {script(t, "10.js", once), func(c *Config) {
			c.PlanPath = plan(t, "any.yaml", "  - {at: 30s, fault: kill, target: consumer}\n")
		}, "", false},
		"told before: the plan's rate": {script(t, "12.js", fixed), func(c *Config) {
			c.PlanPath = plan(t, "rate.yaml",
				"  - {at: 3s, fault: kill, target: consumer}\nload: {rate: 300}\n")
		}, "", false},
		"somebody's MongoDB": {"smoke", func(c *Config) {
			c.PlanPath = plan(t, "mongo.yaml", "  - {at: 3s, fault: kill, target: mongo}\n")
			c.Stack.MongoURI = "mongodb://127.0.0.1:1"
		}, "mongo.yaml:4:35: kill of mongo: the lab breaks nothing that it did not start", false},
		"somebody's pipeline": {"smoke", func(c *Config) {
			c.PlanPath, c.Stack.Kind = "consumer-kill", stack.External
		}, "the lab breaks nothing that it did not start, unless told so: " +
			`--yes-break consumer-kill, and not ""`, false},
		"somebody's pipeline by another plan": {"smoke", func(c *Config) {
			c.PlanPath, c.Stack.Kind = "consumer-kill", stack.External
			c.Stack.External.MayBreak = "mongo-kill"
		}, `--yes-break consumer-kill, and not "mongo-kill"`, false},
		"a rollback of somebody's part": {"smoke", func(c *Config) {
			c.PlanPath = plan(t, "back.yaml", "  - {at: 3s, fault: latency, target: "+
				"consumer-mongo, latency: 9ms, for: 1s}\n"+
				"rollbacks: [{action: start, target: mongo}]\n")
			c.Stack.Kind, c.Stack.External.MayBreak = stack.External, "breaks"
		}, "back.yaml:5:22: the lab cannot start a mongo that it did not start", false},
	})
}

// TestOwnScript: a script with the name of one of the lab's is never compared with the lab's.
func TestOwnScript(t *testing.T) {
	t.Parallel()
	root, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(scenarioFolder(root), "baseline.js"):      "",
		filepath.Join(os.TempDir(), "x", "baseline.js"):         "baseline.js",
		filepath.Join(os.TempDir(), "x", "baseline.ts"):         "baseline.ts",
		filepath.Join(scenarioFolder(root), "lib", "config.js"): "config.js",
	} {
		e := &environment{config: DefaultConfig(), root: root, scenario: path}
		if got := e.settings()["script"]; got != want {
			t.Errorf("%s: script %q, want %q", path, got, want)
		}
		if e.name() != "baseline" && e.name() != "config" {
			t.Errorf("%s: name %q", path, e.name())
		}
	}
}

// TestImpossibleFaults: a fault that the stack cannot have is said before the run, with the place
// in the file, and ends in the Run as not applied.
func TestImpossibleFaults(t *testing.T) {
	t.Parallel()
	plan, err := chaos.Parse("far.yaml", []byte("name: p\nsteady-state: {recovery: 30s}\nmethod:\n"+
		"  - {at: 1s, fault: partition, target: consumer-kafka, for: 1s}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	e := &environment{plan: plan, scenario: "smoke.js", config: Config{
		Stack: stack.Options{Kind: stack.Embedded},
		Say:   func(line string) { said = append(said, line) },
	}}
	if err := e.checkPlan(); err != nil {
		t.Fatal(err)
	}
	const want = "far.yaml:4:21: partition cannot be applied to consumer-kafka: the embedded " +
		"stack has no proxy consumer-kafka"
	if len(said) != 1 || !strings.Contains(said[0], want) {
		t.Errorf("said %q, want %q", said, want)
	}
	window := reportFault(chaos.Window{Fault: "partition", Target: "consumer-kafka",
		OnProxy: true, Err: errors.New("no proxy")}, plan)
	if window.Applied || window.Detail != "no proxy" || window.Proxy != "consumer-kafka" {
		t.Errorf("%+v", window)
	}
}

// TestReportFault: recovery counts from the end of the last fault that was at work.
func TestReportFault(t *testing.T) {
	t.Parallel()
	window := chaos.Window{Applied: true, Start: time.Second, End: 2 * time.Second,
		Recovered: 6 * time.Second}
	if got := reportFault(window, &chaos.Plan{}).RecoveredSeconds; got != 4 {
		t.Errorf("recovered after %v s, want 4", got)
	}
	window.Clear = 5 * time.Second
	if got := reportFault(window, &chaos.Plan{}).RecoveredSeconds; got != 1 {
		t.Errorf("recovered after %v s beside another fault, want 1", got)
	}
}
