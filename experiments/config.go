package experiments

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/experiments/observe"
	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/shown"
	"github.com/cdclab/cdclab/stack"
)

// Config says what a Run is: a scenario on a stack, perhaps with a chaos plan.
type Config struct {
	// Scenario is the name of a file in experiments/scenarios, or the path of a k6 script: .js,
	// .mjs or .ts.
	Scenario string
	// Rate is in operations per second, Duration and Warmup are lengths of the two phases, Mix is
	// "insert/update/delete" in per cent. nil and "" leave the chaos plan's, or else the scenario's
	// own default; of Warmup, on the native stack, half a minute.
	Rate     *int
	Duration *time.Duration
	Warmup   *time.Duration
	Mix      string
	// Options are more of the generator's options, as a JSON object; empty for their defaults.
	Options string
	// Script are variables that a script of one's own reads, as __ENV.NAME. SetScript adds one.
	Script map[string]string
	// Seed feeds every random choice; nil is defaultSeed, unless the script sets a seed.
	Seed *int64
	// PlanPath is a chaos plan; empty for none.
	PlanPath string
	// Segment is "1/2" for the first half of the load, whose other parts others generate; empty for
	// all.
	Segment string
	// Out is the folder for the results; empty chooses runs/<scenario>-<time>.
	Out string
	// FloorWrites is how many direct writes to MongoDB measure the floor before the load.
	FloorWrites int
	// FloorRates are the rates, per second, of further direct writes in the selftest.
	FloorRates []int
	// DrainTimeout bounds the wait for everything to arrive after the load: once for the tracker's
	// outstanding writes, and once for the log.
	DrainTimeout time.Duration
	Stack        stack.Options
	Programs     Programs
	// Terminal receives progress, nil for none; Say a line for each step.
	Terminal io.Writer
	// Prometheus is the address of a Prometheus that watches the pipeline, empty for none; LagQuery
	// asks for the consumer's lag, empty is defaultLagQuery.
	Prometheus, LagQuery string
	// JSON has progress as JSON lines.
	JSON bool
	Say  func(string)
	// Command is the command line, for the provenance.
	Command []string
}

// defaultSeed is the seed where nobody asks for another.
const defaultSeed = 1

// DefaultConfig is the baseline scenario on the embedded stack.
func DefaultConfig() Config {
	return Config{
		Scenario: "baseline", DrainTimeout: 60 * time.Second,
		FloorWrites: 300, FloorRates: []int{500, 1000, 2000},
		Stack: stack.Options{Kind: "embedded"},
		Say:   func(string) {},
	}
}

// Validate checks a configuration before anything is started; the error names the member.
func (c *Config) Validate() error {
	switch {
	case c.Rate != nil && *c.Rate < 1:
		return fmt.Errorf("rate %d: want a positive number of operations per second", *c.Rate)
	case c.Duration != nil && *c.Duration <= 0:
		return fmt.Errorf("duration %v: want a positive length such as 60s", *c.Duration)
	case c.Warmup != nil && *c.Warmup < 0:
		return fmt.Errorf("warmup %v: want a length such as 10s, or 0s for none", *c.Warmup)
	case c.DrainTimeout < 0:
		return fmt.Errorf("drain timeout %v: want a length such as 60s", c.DrainTimeout)
	case c.FloorWrites < 1:
		return fmt.Errorf("floor writes %d: want at least 1", c.FloorWrites)
	}
	if _, _, err := c.segment(); err != nil {
		return err
	}
	if c.Segment != "" && c.Stack.Kind != stack.External {
		return fmt.Errorf("segment %s on the %s stack: each part would measure a pipeline "+
			"of its own; want one for all, with --stack external", c.Segment, c.Stack.Kind)
	}
	if c.Prometheus != "" {
		if err := observe.CheckPrometheus(c.Prometheus); err != nil {
			return err
		}
	}
	if c.LagQuery != "" && c.Prometheus == "" {
		return fmt.Errorf("prometheus-lag %q: there is no Prometheus to ask; give --prometheus",
			c.LagQuery)
	}
	options, err := c.options()
	if err != nil || c.Mix == "" {
		return err
	}
	if _, ok := readMix(c.Mix); !ok {
		return fmt.Errorf("mix %q: want insert/update/delete in per cent, such as 70/20/10", c.Mix)
	}
	if options["mix"] != nil {
		return fmt.Errorf("mix %q: the options have a mix, too; give one of them", c.Mix)
	}
	return nil
}

// seed returns the seed for k6.
func (c *Config) seed() int64 {
	if c.Seed == nil {
		return defaultSeed
	}
	return *c.Seed
}

// options reads Options; only the generator knows the meaning of each member.
func (c *Config) options() (map[string]any, error) {
	var members map[string]any
	if c.Options == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(c.Options), &members); err != nil {
		return nil, fmt.Errorf("options: want a JSON object: %w", err)
	}
	return members, nil
}

// ownVariable names the flag behind each variable of a scenario.
var ownVariable = map[string]string{
	"RATE": "--rate", "DURATION": "--duration", "WARMUP": "--warmup", "MIX": "--mix",
	"SEED": "--seed", "DRAIN": "--drain-timeout",
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// SetScript adds a variable of a script, NAME=value. SetScript refuses the variables of flags, of
// k6 and of the generator, because otherwise the run would contradict its own configuration.
func (c *Config) SetScript(setting string) error {
	name, value, is := strings.Cut(setting, "=")
	if !is || strings.ContainsAny(name, ":@/") {
		name = shown.Hidden // which may be the value, or an address
	}
	switch {
	case !is || !variableName.MatchString(name):
		return fmt.Errorf("%q: want NAME=value", name)
	case ownVariable[name] != "":
		return fmt.Errorf("%s: give %s", name, ownVariable[name])
	case strings.HasPrefix(name, "CDC_"):
		return fmt.Errorf("%s: the generator's own: give --options", name)
	case strings.HasPrefix(name, "K6_"), strings.HasPrefix(name, "PG"),
		strings.HasPrefix(name, "GO"), strings.HasPrefix(name, "XDG_"), name == "PATH",
		name == "HOME", name == "TZ":
		return fmt.Errorf("%s: k6 itself reads it: no variable of a script", name)
	}
	if c.Script == nil {
		c.Script = map[string]string{}
	}
	c.Script[name] = value
	return nil
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
		"--execution-segment", at(part-1) + ":" + at(part),
		"--execution-segment-sequence", strings.Join(ends, ","),
	}
}

// readMix reads three shares with a sum of 100 and some inserts: updates and deletes need rows.
func readMix(mix string) (shares [3]int, ok bool) {
	texts := strings.Split(mix, "/")
	if len(texts) != len(shares) {
		return shares, false
	}
	sum := 0
	for i, text := range texts {
		share, err := strconv.Atoi(text)
		if err != nil || share < 0 || i == 0 && share == 0 {
			return shares, false
		}
		shares[i], sum = share, sum+share
	}
	return shares, sum == 100
}

// scriptExtensions are the ends of the names of k6 scripts.
var scriptExtensions = []string{".js", ".mjs", ".ts"}

// scenarioFolder has the lab's own scripts.
func scenarioFolder(root string) string { return filepath.Join(root, "experiments", "scenarios") }

// scenarioPath finds the k6 script named by Scenario.
func (c *Config) scenarioPath(root string) (string, error) {
	if slices.Contains(scriptExtensions, filepath.Ext(c.Scenario)) {
		path, err := filepath.Abs(c.Scenario)
		if err == nil {
			err = namedfile.CheckRegular(path)
		}
		if err != nil {
			return "", fmt.Errorf("find scenario: %w", err)
		}
		return path, nil
	}
	folder := scenarioFolder(root)
	path := filepath.Join(folder, c.Scenario+".js")
	if _, err := os.Stat(path); err != nil {
		found, _ := filepath.Glob(filepath.Join(folder, "*.js"))
		for i := range found {
			found[i] = strings.TrimSuffix(filepath.Base(found[i]), ".js")
		}
		return "", fmt.Errorf("no scenario %q; there are %s, or give the path of a k6 script (%s)",
			c.Scenario, strings.Join(found, ", "), strings.Join(scriptExtensions, ", "))
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
	if c.Rate == nil && plan.Load.Rate > 0 {
		c.Rate = &plan.Load.Rate
	}
	if c.Duration == nil && plan.Load.Duration > 0 {
		c.Duration = &plan.Load.Duration
	}
	c.Stack.Consumers = cmp.Or(c.Stack.Consumers, plan.Consumers)
}

// jvmWarmup is how long a new JVM is slow under load, because the JVM compiles meanwhile.
const jvmWarmup = 30 * time.Second

// variables returns the scenario's settings, as variables of its environment. Seed and mix are
// there twice: for scripts with a variable, and for the generator of any other script.
func (c *Config) variables() map[string]string {
	env := map[string]string{
		"DRAIN": c.DrainTimeout.String(), "CDC_OPTIONS": c.generatorOptions(),
		"SEED": fmt.Sprint(c.seed()), "CDC_SEED": fmt.Sprint(c.seed()),
	}
	maps.Copy(env, c.Script)
	if c.PlanPath != "" {
		// The script's limits are for normal load; under faults the report applies the limits
		// outside the faults.
		env["K6_NO_THRESHOLDS"] = "true"
	}
	if c.Rate != nil {
		env["RATE"] = fmt.Sprint(*c.Rate)
	}
	if c.Duration != nil {
		env["DURATION"] = c.Duration.String()
	}
	switch {
	case c.Warmup != nil:
		env["WARMUP"] = c.Warmup.String()
	case c.Stack.Kind == stack.Native || c.Stack.Kind == stack.Compose:
		env["WARMUP"] = jvmWarmup.String()
	}
	if c.Mix != "" {
		env["MIX"] = c.Mix
	}
	return env
}

// generatorOptions returns Options with the mix.
func (c *Config) generatorOptions() string {
	mix, ok := readMix(c.Mix)
	if !ok {
		return c.Options
	}
	options, _ := c.options() // Validate has read the options
	if options == nil {
		options = map[string]any{}
	}
	options["mix"] = map[string]int{"insert": mix[0], "update": mix[1], "delete": mix[2]}
	text, err := json.Marshal(options)
	if err != nil {
		return c.Options // the options came from JSON, and go back
	}
	return string(text)
}
