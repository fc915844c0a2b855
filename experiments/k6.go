package experiments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// k6 exits with this code when a threshold of the script was crossed.
const k6ThresholdsFailed = 99

// interruptGrace is how long k6 may go on after the lab was told to stop. Its teardown waits for
// outstanding writes, and a person who pressed Ctrl-C does not.
const interruptGrace = 2 * time.Second

// generator is one k6 child: a scenario with its environment, in the folder of the run.
type generator struct {
	program, scenario, dir string
	env                    map[string]string
	// flags are more of k6 run.
	flags []string
	// pid is that of the running k6, 0 when it is not.
	pid atomic.Int64
}

// pids are its process, while it runs.
func (g *generator) pids() []int {
	if pid := g.pid.Load(); pid > 0 {
		return []int{int(pid)}
	}
	return nil
}

func (g *generator) ledgerPath() string  { return filepath.Join(g.dir, "ledger.jsonl") }
func (g *generator) startedPath() string { return filepath.Join(g.dir, "started") }
func (g *generator) statusPath() string  { return filepath.Join(g.dir, "status") }
func (g *generator) summaryPath() string { return filepath.Join(g.dir, "k6-summary.json") }
func (g *generator) logPath() string     { return filepath.Join(g.dir, "k6.log") }

// run runs k6 to its end and returns its exit code; the error says that it could not run, or broke
// before it could measure, with the last lines it logged.
func (g *generator) run(ctx context.Context) (int, error) {
	log, err := os.Create(g.logPath())
	if err != nil {
		return 0, fmt.Errorf("start k6: %w", err)
	}
	defer log.Close()
	arguments := slices.Concat([]string{"run", "--no-usage-report", "--no-color", "--address", "",
		"--log-output", "file=" + g.logPath(), "--summary-export", g.summaryPath(),
		"--summary-mode", "legacy", // the newer ones keep each sample of a trend a second time
	}, g.flags, []string{g.scenario})
	command := exec.CommandContext(ctx, g.program, arguments...)
	command.Stderr = log
	// A Ctrl-C on the terminal is for the lab, which decides how its children end.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.WaitDelay = interruptGrace
	command.Env = append(g.environment(), "CDC_LEDGER="+g.ledgerPath(), "CDC_STARTED="+g.startedPath(),
		"CDC_STATUS="+g.statusPath())
	if err = command.Start(); err == nil {
		g.pid.Store(int64(command.Process.Pid))
		err = command.Wait()
		g.pid.Store(0)
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() == k6ThresholdsFailed:
		return k6ThresholdsFailed, nil
	}
	return 0, fmt.Errorf("k6 %s: %w\n%s", filepath.Base(g.scenario), err, lastLogged(g.logPath(), 8))
}

func (g *generator) environment() []string {
	environment := os.Environ()
	for name, value := range g.env {
		environment = append(environment, name+"="+value)
	}
	return environment
}

// arrivals is the part of a k6 scenario that says how much load it is.
type arrivals struct {
	Executor string `json:"executor"`
	Rate     int    `json:"rate"`
	Duration string `json:"duration"`
	// StartTime is after the test's.
	StartTime string `json:"startTime"`
	// StartRate and Stages are those of a rate that changes.
	StartRate int `json:"startRate"`
	Stages    []struct {
		Target   int    `json:"target"`
		Duration string `json:"duration"`
	} `json:"stages"`
}

// String is "constant-arrival-rate 100/s 5m0s", or with each stage's end, "... 100/s 1m0s to 500/s".
func (a arrivals) String() string {
	if len(a.Stages) == 0 {
		return fmt.Sprintf("%s %d/s %s", a.Executor, a.Rate, a.Duration)
	}
	text := fmt.Sprintf("%s %d/s", a.Executor, a.StartRate)
	for _, stage := range a.Stages {
		text += fmt.Sprintf(" %s to %d/s", stage.Duration, stage.Target)
	}
	return text
}

// end is when the scenario is over, after the test's start.
func (a arrivals) end() time.Duration {
	parse := func(text string) time.Duration {
		length, err := time.ParseDuration(text)
		if err != nil {
			return 0 // "" and null: none
		}
		return length
	}
	all := parse(a.StartTime) + parse(a.Duration)
	for _, stage := range a.Stages {
		all += parse(stage.Duration)
	}
	return all
}

// longest is when the last of the scenarios is over.
func longest(scenarios map[string]arrivals) (all time.Duration) {
	for _, load := range scenarios {
		all = max(all, load.end())
	}
	return all
}

// inspect asks k6 what the script comes to with its environment: its scenarios by name.
func (g *generator) inspect(ctx context.Context) (map[string]arrivals, error) {
	command := exec.CommandContext(ctx, g.program, "inspect", "--include-system-env-vars", g.scenario)
	var errorText strings.Builder
	command.Env, command.Stderr = g.environment(), &errorText
	text, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("read the scenario %s: %w\n%s", g.scenario, err, lastLines(errorText.String(), 8))
	}
	var script struct {
		Scenarios map[string]arrivals `json:"scenarios"`
	}
	if err := json.Unmarshal(text, &script); err != nil {
		return nil, fmt.Errorf("read the scenario %s: %w", g.scenario, err)
	}
	return script.Scenarios, nil
}

// k6Summary is k6's end-of-test data as --summary-export writes it, whatever the script does with it itself.
type k6Summary struct {
	Metrics map[string]k6Metric `json:"metrics"`
}

// k6Metric has a number for each of "p(95)", "count" and so on, and under "thresholds" whether each was crossed.
type k6Metric map[string]json.RawMessage

// value is a number that a threshold names; the export calls the one of a rate "value".
func (m k6Metric) value(of string) (value float64, known bool) {
	for _, name := range []string{of, map[string]string{"rate": "value", "p(50)": "med"}[of]} {
		if text, ok := m[name]; ok && json.Unmarshal(text, &value) == nil {
			return value, true
		}
	}
	return 0, false
}

func readSummary(path string) (*k6Summary, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read k6's summary: %w", err)
	}
	var summary k6Summary
	if err := json.Unmarshal(text, &summary); err != nil {
		return nil, fmt.Errorf("read k6's summary %s: %w", path, err)
	}
	return &summary, nil
}

// droppedIterations is how often k6 had no free VU for an iteration that was due.
func (s *k6Summary) droppedIterations() int64 {
	count, _ := s.Metrics["dropped_iterations"].value("count")
	return int64(count)
}

// violations are the thresholds of the script that were crossed, each with the value of what its
// expression begins with: p(95) of "p(95)<2000".
func (s *k6Summary) violations() []reports.Violation {
	var crossed []reports.Violation
	for name, metric := range s.Metrics {
		var thresholds map[string]bool
		_ = json.Unmarshal(metric["thresholds"], &thresholds) // a metric without has no such member
		for expression, broken := range thresholds {
			if !broken {
				continue
			}
			of, _, _ := strings.Cut(strings.NewReplacer(">", "<", "=", "<", "!", "<").Replace(expression), "<")
			one := reports.Violation{Name: "k6 " + name, Limit: expression}
			var known bool
			if one.Value, known = metric.value(strings.TrimSpace(of)); !known {
				one.Name += ", which is not in the script's summaryTrendStats,"
			}
			crossed = append(crossed, one)
		}
	}
	slices.SortFunc(crossed, func(a, b reports.Violation) int {
		return strings.Compare(a.Name+a.Limit, b.Name+b.Limit)
	})
	return crossed
}
