package experiments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/experiments/schedule"
	"github.com/cdclab/cdclab/stack"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"rate -1":                       func(c *Config) { c.Rate = new(-1) },
		"rate 0":                        func(c *Config) { c.Rate = new(0) },
		"duration -1s":                  func(c *Config) { c.Duration = new(-time.Second) },
		"duration 0s":                   func(c *Config) { c.Duration = new(time.Duration(0)) },
		"warmup -1s":                    func(c *Config) { c.Warmup = new(-time.Second) },
		"drain timeout -1s":             func(c *Config) { c.DrainTimeout = -time.Second },
		"there is no Prometheus to ask": func(c *Config) { c.LagQuery = "up" },
		"the options have a mix, too": func(c *Config) {
			c.Mix, c.Options = "70/20/10", `{"mix": {"insert": 1}}`
		},
		"floor writes 0":              func(c *Config) { c.FloorWrites = 0 },
		`mix "70/20"`:                 func(c *Config) { c.Mix = "70/20" },
		`mix "50/20/10"`:              func(c *Config) { c.Mix = "50/20/10" },
		`mix "0/90/10"`:               func(c *Config) { c.Mix = "0/90/10" },
		`mix "70/20/10/10"`:           func(c *Config) { c.Mix = "70/20/10/10" },
		`options: want a JSON object`: func(c *Config) { c.Options = "[1]" },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if c := DefaultConfig(); c.Validate() != nil {
		t.Errorf("the default: %v", c.Validate())
	}
}

func TestScenarioPath(t *testing.T) {
	t.Parallel()
	root, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	own, module, typed := filepath.Join(folder, "own.js"), filepath.Join(folder, "own.mjs"),
		filepath.Join(folder, "own.ts")
	for _, path := range []string{own, module, typed} {
		writeFile(t, path, "")
	}
	for scenario, want := range map[string]string{
		"baseline":    filepath.Join(root, "experiments", "scenarios", "baseline.js"),
		own:           own,
		module:        module,
		typed:         typed,
		"nonsense":    "",
		"nonsense.js": "",
	} {
		c := Config{Scenario: scenario}
		got, err := c.scenarioPath(root)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", scenario, got, err, want)
		}
	}
}

// TestSettings: the settings hold the real load, so that runs of different loads are never
// compared.
func TestSettings(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds k6; left out by -short")
	}
	c := DefaultConfig()
	c.Rate, c.Duration, c.Out, c.Terminal = new(123), new(7*time.Second), t.TempDir(), os.Stderr
	c.Options = `{"tracker": "poll", "entities": {"order": 1, "customer": 2}, "workers": null}`
	e, err := prepare(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"scenario load":   "constant-arrival-rate 123/s 7s after 5s",
		"scenario warmup": "constant-arrival-rate 123/s 5s, graceful stop 0s",
		"option tracker":  `"poll"`, "option entities": `{"customer":2,"order":1}`,
	}
	if diff := cmp.Diff(want, e.provenance.Config); diff != "" {
		t.Error(diff)
	}
	if err := e.out.Close(); err != nil {
		t.Error(err)
	}
	c.Programs, c.Options = e.config.Programs, `{"tracker": "magic"}`
	if _, err := prepare(t.Context(), c); err == nil ||
		!strings.Contains(err.Error(), `CDC_OPTIONS: option`) {
		t.Errorf("error %v, want one that names the option before a stack is up", err)
	}
}

// TestSettingsOfAnyName: a scenario of a user's script may be called like a setting of the lab.
func TestSettingsOfAnyName(t *testing.T) {
	t.Parallel()
	e := &environment{config: DefaultConfig(), plan: &chaos.Plan{Name: "breaks"}}
	e.config.Mix, e.config.Segment, e.config.Stack.Consumers = "50/50/0", "1/2", 3
	e.config.Options, e.config.Script = `{"mix": 1}`, map[string]string{"mix": "x"}
	before := e.settings()
	for _, name := range []string{"mix", "plan", "segment", "consumers", "partitions", "profile"} {
		e.test.Scenarios = append(e.test.Scenarios,
			schedule.Scenario{Name: name, Executor: "constant-vus"})
	}
	after := e.settings()
	if len(after) != len(before)+len(e.test.Scenarios) {
		t.Errorf("%v", after)
	}
	for name, value := range before {
		if after[name] != value {
			t.Errorf("%s is %q, want %q", name, after[name], value)
		}
	}
}

// TestVariables: JVMs get time to compile, unless Warmup says how much; 0 is a value like any
// other; seed and mix reach every script.
func TestVariables(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change         func(*Config)
		variable, want string
	}{
		"embedded":      {func(c *Config) {}, "WARMUP", ""},
		"external":      {func(c *Config) { c.Stack.Kind = stack.External }, "WARMUP", ""},
		"native":        {func(c *Config) { c.Stack.Kind = stack.Native }, "WARMUP", "30s"},
		"a second":      {func(c *Config) { c.Warmup = new(time.Second) }, "WARMUP", "1s"},
		"none":          {func(c *Config) { c.Warmup = new(time.Duration(0)) }, "WARMUP", "0s"},
		"seed":          {func(c *Config) {}, "CDC_SEED", "1"},
		"no seed":       {func(c *Config) { c.Seed = new(int64(0)) }, "CDC_SEED", "0"},
		"a seed's name": {func(c *Config) { c.Seed = new(int64(7)) }, "SEED", "7"},
		"large seed": {func(c *Config) { c.Seed = new(int64(1<<60 + 1)) }, "CDC_SEED",
			"1152921504606846977"},
		"rate":   {func(c *Config) { c.Rate = new(40) }, "RATE", "40"},
		"mix":    {func(c *Config) { c.Mix = "50/30/20" }, "MIX", "50/30/20"},
		"no mix": {func(c *Config) { c.Options = `{"zipf": 2}` }, "CDC_OPTIONS", `{"zipf": 2}`},
		"mix of any script": {func(c *Config) {
			c.Mix, c.Options = "50/30/20", `{"zipf": 2}`
		}, "CDC_OPTIONS", `{"mix":{"delete":20,"insert":50,"update":30},"zipf":2}`},
		"native, none": {func(c *Config) {
			c.Stack.Kind, c.Warmup = stack.Native, new(time.Duration(0))
		}, "WARMUP", "0s"},
	} {
		config := DefaultConfig()
		c.change(&config)
		if err := config.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := config.variables()[c.variable]; got != c.want {
			t.Errorf("%s: %s=%s, want %q", name, c.variable, got, c.want)
		}
	}
}
