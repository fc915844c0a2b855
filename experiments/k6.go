package experiments

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cdclab/cdclab/experiments/k6files"
	"github.com/cdclab/cdclab/experiments/schedule"
	"github.com/cdclab/cdclab/stack/process"
)

// Exit codes of k6: a threshold of the script was crossed, the script called test.abort(), and the
// script called test.fail().
const (
	k6ThresholdsFailed = 99
	k6ScriptAborted    = 108
	k6MarkedAsFailed   = 110
)

// interruptGrace is how long k6 may go on after an interrupt of the lab. k6's teardown waits for
// outstanding writes, and a person who pressed Ctrl-C does not.
const interruptGrace = 2 * time.Second

// generator is one k6 child: a scenario with its environment, in the folder of the run.
type generator struct {
	program, scenario, dir string
	env                    map[string]string
	// flags are more of k6 run.
	flags []string
	// start is the stack's, which ends k6 with all other children.
	start func(process.Command) (*process.Process, error)
	// child is the last started k6, nil before.
	child atomic.Pointer[process.Process]
}

// pids returns the process, while k6 runs.
func (g *generator) pids() []int {
	if child := g.child.Load(); child.Alive() {
		return []int{child.PID()}
	}
	return nil
}

func (g *generator) ledgerPath() string  { return filepath.Join(g.dir, "ledger.jsonl") }
func (g *generator) startedPath() string { return filepath.Join(g.dir, "started") }
func (g *generator) statusPath() string  { return filepath.Join(g.dir, "status") }
func (g *generator) summaryPath() string { return filepath.Join(g.dir, "k6-summary.json") }
func (g *generator) logPath() string     { return filepath.Join(g.dir, "k6.log") }

// endedByItself is the error of a k6 that ended with the exit code of no verdict, -1 of a killed
// k6.
type endedByItself struct {
	code int
	// sentence has the last error logged by k6, text all of the last logged lines.
	sentence, text string
}

func (e *endedByItself) Error() string { return e.text }

// run runs k6 to its end and returns the exit code of a verdict. An error means that k6 could not
// run, or is an endedByItself.
func (g *generator) run(ctx context.Context) (int, error) {
	if err := os.WriteFile(g.logPath(), nil, 0o644); err != nil {
		return 0, fmt.Errorf("start k6: %w", err)
	}
	arguments := slices.Concat([]string{"run", "--no-usage-report", "--no-color", "--address", "",
		"--summary-export", g.summaryPath(),
		"--summary-mode", "legacy", // the newer ones keep each sample of a trend a second time
	}, g.flags, []string{g.scenario})
	command := g.command([]string{"CDC_LEDGER=" + g.ledgerPath(),
		"CDC_STARTED=" + g.startedPath(), "CDC_STATUS=" + g.statusPath()}, arguments...)
	command.Log, command.Output = g.logPath(), os.DevNull
	child, err := g.start(command)
	if err == nil {
		g.child.Store(child)
		err = child.Await(ctx, syscall.SIGINT, interruptGrace)
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 0, fmt.Errorf("start k6: %w", err)
	case exit.ExitCode() == k6ThresholdsFailed || exit.ExitCode() == k6MarkedAsFailed:
		return exit.ExitCode(), nil
	}
	said := fmt.Sprintf("k6 %s: %v", filepath.Base(g.scenario), err)
	sentence := said
	if last := k6files.LastError(g.logPath()); last != "" {
		sentence += ": " + last
	}
	return 0, &endedByItself{exit.ExitCode(), sentence,
		said + "\n" + k6files.LastLines(g.logPath(), 8)}
}

// command returns a k6 with the variables of the scenario and own. The folder of the run stands in
// for the person's configuration folder, because k6 takes options from a config.json there.
func (g *generator) command(own []string, args ...string) process.Command {
	own = append(own, "XDG_CONFIG_HOME="+g.dir, "K6_AUTO_EXTENSION_RESOLUTION=false")
	for name, value := range g.env {
		own = append(own, name+"="+value)
	}
	// The scripts of a person may open files relative to the person's folder.
	here, _ := os.Getwd()
	return process.Command{Name: "k6", Path: g.program, Args: args, Kind: process.K6, Env: own,
		Dir: here, Task: true}
}

// inspect asks k6 for the load that the script makes, in the generator's environment.
func (g *generator) inspect(ctx context.Context) (schedule.Test, error) {
	command := g.command(nil, "inspect", "--include-system-env-vars",
		"--execution-requirements", g.scenario)
	command.Log = g.logPath()
	text, err := process.ReadTool(ctx, command)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return schedule.Test{}, fmt.Errorf("read the scenario %s: %w\n%s",
			g.scenario, exit, k6files.LastLines(g.logPath(), 8))
	case err != nil:
		return schedule.Test{}, fmt.Errorf("read the scenario %s: %w", g.scenario, err)
	}
	test, err := schedule.Read(text)
	if err != nil {
		return schedule.Test{}, fmt.Errorf("read the scenario %s: %w", g.scenario, err)
	}
	return test, nil
}
