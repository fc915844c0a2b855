package experiments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
		"rate -1":                                func(c *Config) { c.Rate = -1 },
		"duration":                               func(c *Config) { c.Duration = -time.Second },
		"floor writes 0":                         func(c *Config) { c.FloorWrites = 0 },
		`mix "70/20"`:                            func(c *Config) { c.Mix = "70/20" },
		`mix "50/20/10"`:                         func(c *Config) { c.Mix = "50/20/10" },
		`mix "0/90/10"`:                          func(c *Config) { c.Mix = "0/90/10" },
		`mix "70/20/10/10"`:                      func(c *Config) { c.Mix = "70/20/10/10" },
		`options "[1]"`:                          func(c *Config) { c.Options = "[1]" },
		"breakpoint: it searches without faults": func(c *Config) { c.Scenario, c.PlanPath = Breakpoint, "plan.yaml" },
		"breakpoint: it searches with all of the load": func(c *Config) {
			c.Scenario, c.Segment, c.Stack.Kind = Breakpoint, "1/2", stack.External
		},
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
	own := filepath.Join(t.TempDir(), "own.js")
	writeFile(t, own, "")
	for scenario, want := range map[string]string{
		"baseline":    filepath.Join(root, "experiments", "scenarios", "baseline.js"),
		own:           own,
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

// TestSettings: what a run was really asked for is in its settings, so that runs of different loads
// are never compared.
func TestSettings(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds k6; left out by -short")
	}
	c := DefaultConfig()
	c.Rate, c.Duration, c.Out, c.Terminal = 123, 7*time.Second, t.TempDir(), os.Stderr
	c.Options = `{"tracker": "poll", "entities": {"order": 1, "customer": 2}, "workers": null}`
	s, err := prepare(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"load": "constant-arrival-rate 123/s 7s", "warmup": "constant-arrival-rate 123/s 5s",
		"option tracker": `"poll"`, "option entities": `{"customer":2,"order":1}`,
	}
	if diff := cmp.Diff(want, s.run.Provenance.Config); diff != "" {
		t.Error(diff)
	}
	c.Programs, c.Options = s.config.Programs, `{"tracker": "magic"}`
	if _, err := prepare(t.Context(), c); err == nil || !strings.Contains(err.Error(), `CDC_OPTIONS: option`) {
		t.Errorf("error %v, want one that names the option before a stack is up", err)
	}
}

// TestWarmup: JVMs are given time to compile, unless one says how much.
func TestWarmup(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind  string
		asked time.Duration
		want  string
	}{
		{"embedded", 0, ""}, {"embedded", time.Second, "1s"}, {stack.External, 0, ""},
		{stack.Native, 0, "30s"}, {stack.Native, time.Second, "1s"},
	} {
		config := DefaultConfig()
		config.Stack.Kind, config.Warmup = c.kind, c.asked
		if got := config.environment()["WARMUP"]; got != c.want {
			t.Errorf("%s, --warmup %v: %q, want %q", c.kind, c.asked, got, c.want)
		}
	}
}
