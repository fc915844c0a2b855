package experiments

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/stack"
)

// Config says what a Run is: a scenario on a stack, perhaps with a chaos plan.
type Config struct {
	// Scenario is the name of a file in experiments/scenarios, or the path of a k6 script.
	Scenario string
	// Rate is in operations per second, Duration and Warmup are lengths of the two phases, Mix is
	// "insert/update/delete" in per cent. A zero value leaves the chaos plan's, or else the
	// scenario's own default; of Warmup, on the native stack, half a minute.
	Rate     int
	Duration time.Duration
	Warmup   time.Duration
	Mix      string
	// Options are more of the generator's options, as a JSON object; empty for their defaults.
	Options string
	// Seed feeds every random choice.
	Seed int64
	// PlanPath is a chaos plan; empty for none.
	PlanPath string
	// Segment is "1/2" for the first half of the load, whose other parts others generate; empty for all.
	Segment string
	// Out is the folder for the results; empty chooses runs/<scenario>-<time>.
	Out string
	// FloorWrites is how many direct writes to MongoDB measure the floor before the load.
	FloorWrites int
	// FloorRates are at how many a second they come in the selftest besides.
	FloorRates []int
	// DrainTimeout bounds the wait for everything to arrive after the load: once for the tracker's
	// outstanding writes, and once for the log.
	DrainTimeout time.Duration
	Stack        stack.Options
	Programs     Programs
	// Terminal receives progress, nil for none; Say one line a step.
	Terminal io.Writer
	// Prometheus is the address of one that watches the pipeline, empty for none; LagQuery asks it for the
	// consumer's lag, empty is defaultLagQuery.
	Prometheus, LagQuery string
	// JSON has progress as JSON lines.
	JSON bool
	Say  func(string)
	// Command is the command line, for the provenance.
	Command []string
}

// DefaultConfig is the baseline scenario on the embedded stack.
func DefaultConfig() Config {
	return Config{
		Scenario: "baseline", Seed: 1, FloorWrites: 300, FloorRates: []int{500, 1000, 2000}, DrainTimeout: 60 * time.Second,
		Stack: stack.Options{Kind: "embedded"},
		Say:   func(string) {},
	}
}

// Validate checks what can be checked before anything is started; the error names the member.
func (c *Config) Validate() error {
	switch {
	case c.Rate < 0:
		return fmt.Errorf("rate %d: want a positive number of operations per second", c.Rate)
	case c.Duration < 0 || c.Warmup < 0:
		return errors.New("duration and warmup: want a positive length such as 60s")
	case c.FloorWrites < 1:
		return fmt.Errorf("floor writes %d: want at least 1", c.FloorWrites)
	}
	if _, _, err := c.segment(); err != nil {
		return err
	}
	if c.Segment != "" && c.Stack.Kind != stack.External {
		return fmt.Errorf("segment %s on the %s stack: each part would measure a pipeline of its own; want one for all, with --stack external", c.Segment, c.Stack.Kind)
	}
	if c.Scenario == Breakpoint && c.PlanPath != "" {
		return fmt.Errorf("%s: it searches without faults; hold a rate with another scenario under the plan", Breakpoint)
	}
	if c.Scenario == Breakpoint && c.Segment != "" {
		return fmt.Errorf("%s: it searches with all of the load; each segment would find a rate of its own", Breakpoint)
	}
	if c.Prometheus != "" {
		if _, err := newPrometheusProbe(c.Prometheus, c.LagQuery, nil); err != nil {
			return err
		}
	}
	if _, err := c.options(); err != nil {
		return err
	}
	if c.Mix != "" && !soundMix(c.Mix) {
		return fmt.Errorf("mix %q: want insert/update/delete in per cent, such as 70/20/10", c.Mix)
	}
	return nil
}

// options reads Options; what each member means is the generator's to know.
func (c *Config) options() (map[string]any, error) {
	var members map[string]any
	if c.Options == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(c.Options), &members); err != nil {
		return nil, fmt.Errorf("options %q: want a JSON object: %w", c.Options, err)
	}
	return members, nil
}

// segment reads Segment: part 1 to whole of whole; 0 of 0 for all of the load.
func (c *Config) segment() (part, whole int, err error) {
	if c.Segment == "" {
		return 0, 0, nil
	}
	first, second, _ := strings.Cut(c.Segment, "/")
	part, err = strconv.Atoi(first)
	whole, otherErr := strconv.Atoi(second)
	if err != nil || otherErr != nil || part < 1 || whole < 2 || part > whole {
		return 0, 0, fmt.Errorf("segment %q: want one of 1/2, 2/2, 1/3 and so on", c.Segment)
	}
	return part, whole, nil
}

// segmentFlags divide the load in equal parts, as k6 has it.
func (c *Config) segmentFlags() []string {
	part, whole, err := c.segment()
	if err != nil || whole == 0 {
		return nil
	}
	at := func(n int) string {
		switch n {
		case 0:
			return "0"
		case whole:
			return "1"
		}
		return fmt.Sprintf("%d/%d", n, whole)
	}
	var ends []string
	for n := range whole + 1 {
		ends = append(ends, at(n))
	}
	return []string{
		"--execution-segment", at(part-1) + ":" + at(part), "--execution-segment-sequence", strings.Join(ends, ","),
	}
}

// soundMix wants three shares that add up to 100, with some inserts: the rest needs their rows.
func soundMix(mix string) bool {
	sum := 0
	shares := strings.Split(mix, "/")
	for i, text := range shares {
		share, err := strconv.Atoi(text)
		if err != nil || share < 0 || i == 0 && share == 0 {
			return false
		}
		sum += share
	}
	return len(shares) == 3 && sum == 100
}

// scenarioPath finds the k6 script that Scenario names.
func (c *Config) scenarioPath(root string) (string, error) {
	if strings.HasSuffix(c.Scenario, ".js") {
		path, err := filepath.Abs(c.Scenario)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return "", fmt.Errorf("find scenario: %w", err)
		}
		return path, nil
	}
	folder := filepath.Join(root, "experiments", "scenarios")
	path := filepath.Join(folder, c.Scenario+".js")
	if _, err := os.Stat(path); err != nil {
		found, _ := filepath.Glob(filepath.Join(folder, "*.js"))
		for i := range found {
			found[i] = strings.TrimSuffix(filepath.Base(found[i]), ".js")
		}
		return "", fmt.Errorf("no scenario %q; there are %s, or give the path of a k6 script",
			c.Scenario, strings.Join(found, ", "))
	}
	return path, nil
}

// plan loads the chaos plan, nil when there is none.
func (c *Config) plan() (*chaos.Plan, error) {
	if c.PlanPath == "" {
		return nil, nil
	}
	return chaos.Load(c.PlanPath)
}

// fillFrom takes from the plan what was not asked for.
func (c *Config) fillFrom(plan *chaos.Plan) {
	if plan == nil {
		return
	}
	c.Rate = cmp.Or(c.Rate, plan.Load.Rate)
	c.Duration = cmp.Or(c.Duration, plan.Load.Duration)
	c.Stack.Consumers = cmp.Or(c.Stack.Consumers, plan.Consumers)
}

// PrepareOut makes the folder of some results, runs/<name>-<now> in the checkout where out is empty, and proves
// that it can be written.
func PrepareOut(out, name string, now time.Time) (string, error) {
	if out == "" {
		root, err := FindRoot()
		if err != nil {
			return "", err
		}
		out = filepath.Join(root, "runs", name+"-"+now.UTC().Format("20060102-150405"))
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", fmt.Errorf("make the out folder: %w", err)
	}
	probe, err := os.CreateTemp(out, ".probe-")
	if err != nil {
		return "", fmt.Errorf("write to the out folder: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return "", fmt.Errorf("write to the out folder: %w", err)
	}
	return filepath.Abs(out)
}

// jvmWarmup is how long a new JVM is slow under load, for it compiles what it runs.
const jvmWarmup = 30 * time.Second

// warmup is the length of the load that is not measured; 0 leaves it to the scenario.
func (c *Config) warmup() time.Duration {
	if c.Warmup == 0 && c.Stack.Kind == stack.Native {
		return jvmWarmup
	}
	return c.Warmup
}

// environment is what the scenario is told.
func (c *Config) environment() map[string]string {
	env := map[string]string{"SEED": fmt.Sprint(c.Seed), "DRAIN": c.DrainTimeout.String(), "CDC_OPTIONS": c.Options}
	if c.PlanPath != "" {
		// The script's limits are for normal load; under faults the report applies them outside those.
		env["K6_NO_THRESHOLDS"] = "true"
	}
	if c.Rate > 0 {
		env["RATE"] = fmt.Sprint(c.Rate)
	}
	if c.Duration > 0 {
		env["DURATION"] = c.Duration.String()
	}
	if warmup := c.warmup(); warmup > 0 {
		env["WARMUP"] = warmup.String()
	}
	if c.Mix != "" {
		env["MIX"] = c.Mix
	}
	return env
}
