package cdc

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inspected is k6's reading of a script's options.
type inspected struct {
	TeardownTimeout string
	Scenarios       map[string]struct {
		Executor, Duration, StartTime string
		Rate, StartRate, VUs          int
		Stages                        []struct {
			Duration string
			Target   int
		}
	}
	Thresholds map[string][]limit
}

// limit is a threshold; k6 prints a threshold with no more than an expression as a string.
type limit struct {
	Threshold, DelayAbortEval string
	AbortOnFail               bool
}

func (l *limit) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &l.Threshold)
	}
	type whole limit
	return json.Unmarshal(text, (*whole)(l))
}

func inspect(t *testing.T, script string, env ...string) (options inspected, failure string) {
	t.Helper()
	command := exec.Command(os.Args[0], "inspect", "--include-system-env-vars",
		filepath.Join("..", "experiments", "scenarios", script))
	command.Env = append(append(os.Environ(), asK6+"=1", "K6_AUTO_EXTENSION_RESOLUTION=false",
		"RATE=", "DURATION=", "WARMUP=",
		"DRAIN=", "MIX=", "SEED=", "CDC_OPTIONS="), env...)
	var errorText strings.Builder
	command.Stderr = &errorText
	text, err := command.Output()
	if err != nil {
		return options, errorText.String()
	}
	if err := json.Unmarshal(text, &options); err != nil {
		t.Fatal(err)
	}
	return options, ""
}

// lengthOf reads a length such as "1m30s"; 0 for other texts.
func lengthOf(text string) time.Duration {
	length, _ := time.ParseDuration(text)
	return length
}

// The environment decides each scenario, before anything of the scenario runs.
func TestInspect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		script string
		env    []string
		// load is the executor, rate the first rate, last the last rate, length the scenario's
		// length.
		load       string
		rate, last int
		length     time.Duration
		scenarios  []string
		teardown   string
	}{
		{"smoke.js", nil, "constant-arrival-rate", 50, 50, 20 * time.Second,
			[]string{"load", "warmup"}, "2m0s"},
		{"smoke.js", []string{"RATE=7", "DURATION=1m30s", "WARMUP=0s", "DRAIN=10m0s"},
			"constant-arrival-rate", 7, 7, 90 * time.Second, []string{"load"}, "11m0s"},
		{"baseline.js", nil, "constant-arrival-rate", 100, 100, 5 * time.Minute,
			[]string{"load", "warmup"}, "2m0s"},
		{"baseline.js", []string{`CDC_OPTIONS={"batch": 8, "tracker": "poll"}`, "MIX=100/0/0",
			"SEED=-3", "DRAIN=500ms"}, "constant-arrival-rate", 100, 100, 5 * time.Minute,
			[]string{"load", "warmup"}, "1m0.5s"},
		{"soak.js", nil, "constant-arrival-rate", 100, 100, 2 * time.Hour,
			[]string{"load", "warmup"}, "2m0s"},
		{"soak.js", []string{"DURATION=15m", "WARMUP=1m", "DRAIN=2h30m1s"}, "constant-arrival-rate",
			100, 100, 15 * time.Minute, []string{"load", "warmup"}, "2h31m1s"},
		{"stress.js", nil, "ramping-arrival-rate", 100, 1000, 5 * time.Minute,
			[]string{"load", "warmup"}, "2m0s"},
		{"stress.js", []string{"RATE=3", "DURATION=10s"}, "ramping-arrival-rate", 3, 30,
			10 * time.Second, []string{"load", "warmup"}, "2m0s"},
		{"spike.js", nil, "ramping-arrival-rate", 100, 100, 4 * time.Minute,
			[]string{"load", "warmup"}, "2m0s"},
		{"breakpoint.js", nil, "ramping-arrival-rate", 100, 5000, 2 * time.Minute,
			[]string{"load", "warmup"}, "2m0s"},
		{"breakpoint.js", []string{"HOLD=1", "RATE=700"}, "constant-arrival-rate", 700, 700,
			20 * time.Second, []string{"load", "warmup"}, "2m0s"},
		{"spec-poll.js", nil, "constant-vus", 0, 0, 20 * time.Second, []string{"load"}, ""},
		{"spec-poll.js", []string{"VUS=50", "DURATION=5s"}, "constant-vus", 0, 0, 5 * time.Second,
			[]string{"load"}, ""},
		{"selftest.js", []string{"RATE=500", "WRITES=1000"}, "", 0, 0, 0, []string{"selftest"}, ""},
	} {
		t.Run(test.script+" "+strings.Join(test.env, " "), func(t *testing.T) {
			t.Parallel()
			options, failure := inspect(t, test.script, test.env...)
			load := options.Scenarios["load"]
			first, last, all := load.Rate, load.Rate, lengthOf(load.Duration)
			if load.Stages != nil {
				first, last = load.StartRate, load.Stages[len(load.Stages)-1].Target
			}
			for _, stage := range load.Stages {
				all += lengthOf(stage.Duration)
			}
			names := slices.Sorted(maps.Keys(options.Scenarios))
			if load.Executor != test.load || first != test.rate || last != test.last ||
				all != test.length || !slices.Equal(names, test.scenarios) {
				t.Errorf("%v: %s %d to %d for %v: want %v: %s %d to %d for %v\n%s", names,
					load.Executor, first, last, all,
					test.scenarios, test.load, test.rate, test.last, test.length, failure)
			}
			teardown := options.TeardownTimeout
			if test.teardown != "" && lengthOf(teardown) != lengthOf(test.teardown) {
				t.Errorf("teardown timeout %s, want %s", teardown, test.teardown)
			}
			judged := options.Thresholds["dropped_iterations"] != nil
			if judged != (test.load != "" && test.script != "breakpoint.js") {
				t.Errorf("thresholds %v", options.Thresholds)
			}
		})
	}
}

func TestInspectMistakes(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]string{
		"RATE=many":                    "RATE=many: want a whole number",
		"DRAIN=soon":                   "DRAIN=soon: want a length",
		"MIX=70-20-10":                 "MIX=70-20-10: want insert/update/delete",
		"SEED=1.5":                     "SEED=1.5: want a whole number",
		`CDC_OPTIONS={"rowBites": 12}`: "CDC_OPTIONS: there is no option",
	} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			if _, failure := inspect(t, "smoke.js", env); !strings.Contains(failure, want) {
				t.Errorf("got %q, want %s", failure, want)
			}
		})
	}
	_, failure := inspect(t, "spike.js", "DURATION=0s")
	if !strings.Contains(failure, "DURATION: want a length above 0") {
		t.Errorf("got %q", failure)
	}
}

// TestReadme: the scripts named by README.md exist, and README.md names each script and each
// variable read by a script.
func TestReadme(t *testing.T) {
	t.Parallel()
	root := ".."
	folder := filepath.Join(root, "experiments", "scenarios")
	text := readFile(t, filepath.Join(folder, "README.md"))
	for _, line := range strings.Split(text, "\n") {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(line, "    ") && strings.HasSuffix(word, ".js") {
				if _, err := os.Stat(filepath.Join(root, word)); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
		}
	}
	scripts, err := filepath.Glob(filepath.Join(folder, "*.js"))
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	parts, err := filepath.Glob(filepath.Join(folder, "lib", "*.js"))
	if err != nil || len(parts) == 0 {
		t.Fatal(parts, err)
	}
	names := append(slices.Collect(maps.Values(ownVariable)), optionsVariable)
	for _, script := range scripts {
		names = append(names, filepath.Base(script))
	}
	variable := regexp.MustCompile(`__ENV\.(\w+)|wholeNumber\('(\w+)'`)
	for _, path := range slices.Concat(scripts, parts) {
		for _, match := range variable.FindAllStringSubmatch(readFile(t, path), -1) {
			names = append(names, match[1]+match[2])
		}
	}
	for _, name := range names {
		if !strings.Contains(text, "`"+name) {
			t.Errorf("README.md does not name %s", name)
		}
	}
}

// TestThresholds: each scenario has the fitting numbers of the specification (2.7.2 and 2.7.7), for
// the measured load alone.
func TestThresholds(t *testing.T) {
	t.Parallel()
	const latency, success, query = MetricLatency, MetricSuccess, MetricQuery
	always := []string{latency + " p(95)<2000", latency + " p(99)<5000", success + " rate>0.999",
		MetricWrites + " count>0", "dropped_iterations count==0"}
	normal := append([]string{
		latency + " p(50)<500", query + " p(95)<100", query + " p(99)<200"}, always...)
	for script, want := range map[string][]string{
		"smoke": normal, "soak": normal,
		"baseline":   append([]string{"iteration_duration p(95)<500"}, normal...),
		"stress":     always,
		"spike":      append([]string{latency + " p(50)<500"}, always...),
		"breakpoint": {latency + " p(95)<2000 abort after 10s", MetricWrites + " count>0"},
	} {
		options, failure := inspect(t, script+".js")
		var got []string
		for name, limits := range options.Thresholds {
			metric, isOfLoad := strings.CutSuffix(name, "{scenario:load}")
			if !isOfLoad && name != "dropped_iterations" {
				t.Errorf("%s: %s counts the warmup too", script, name)
			}
			for _, limit := range limits {
				text := metric + " " + limit.Threshold
				if limit.AbortOnFail {
					text += " abort after " + limit.DelayAbortEval
				}
				got = append(got, text)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s%s", script, failure, diff)
		}
	}
}
