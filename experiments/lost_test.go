package experiments

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
)

// endingScript offers 50 writes a second for 3 s and has a place for code in each iteration, with
// the number n, and one at the end of the teardown.
const endingScript = `
import cdc from 'k6/x/cdc';
import exec from 'k6/execution';
export const options = {
  scenarios: {
    load: { executor: 'constant-arrival-rate', rate: 50, duration: '3s', preAllocatedVUs: 50 },
  },
};
const lab = cdc.open();
export function setup() { lab.start(); }
export default function () {
  lab.write();
  const n = exec.scenario.iterationInTest;
  %s
}
export function teardown() {
  lab.drain('20s');
  %s
}
`

// ending is a way for a load to end, and what the Run has to say.
type ending struct {
	iteration, teardown string
	// meanwhile runs beside the load.
	meanwhile func(*testing.T, *load)
	change    func(*testing.T, *Config)
	partial   bool
	// says is in the reasons of the verdict, warns in the warnings.
	says, warns string
	// least is the least number of measured writes.
	least int64
}

var endings = map[string]ending{
	"test.fail()": {iteration: `if (n >= 60) exec.test.fail('too slow for me');`, least: 149,
		says: "K6 number of calls of test.fail() (too slow for me) is "},
	"test.abort()": {iteration: `if (n == 60) exec.test.abort('enough');`, partial: true, least: 60,
		says: "k6 my нагрузка.js: exit status 108: test aborted: enough"},
	"k6 killed": {meanwhile: killUnderLoad, partial: true, least: 1,
		says: "k6 my нагрузка.js: signal: killed"},
	"teardown throws": {teardown: `throw new Error('after all');`, least: 149,
		warns: "k6 my нагрузка.js: exit status 107: Error: after all"},
	"clean-up fails": {change: referToACustomer, least: 149,
		warns: "after the load: clean up public.customer: "},
	"no time to drain": {change: func(_ *testing.T, c *Config) {
		c.DrainTimeout = time.Nanosecond
	}, least: 149, says: "The pipeline had not drained when the rows were compared"},
}

// TestMeasuredRunIsNeverLost: however the load ends, and whatever fails after the load, what was
// measured is in run.json with the reason. One pipeline is up for all, as an external one.
func TestMeasuredRunIsNeverLost(t *testing.T) {
	if testing.Short() {
		t.Skip("brings a stack up and runs k6 several times; left out by -short")
	}
	held := begin(t, smoke(t, 10, time.Second))
	dsn := held.stack.Endpoints().PostgresDSN
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			c := onExternal(t, held)
			c.Rate, c.Duration, c.Warmup = nil, nil, nil // the script has its own
			c.Scenario = filepath.Join(t.TempDir(), "my нагрузка.js")
			writeFile(t, c.Scenario, fmt.Sprintf(endingScript, end.iteration, end.teardown))
			// What k6, a pattern or a format takes for syntax.
			c.Out = filepath.Join(c.Out, "a, level=panic [b]* 100%s\n?c#")
			if end.change != nil {
				end.change(t, &c)
			}
			l := begin(t, c)
			if end.meanwhile != nil {
				go end.meanwhile(t, l)
			}
			result, err := l.complete(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			stored, err := reports.Load(filepath.Join(c.Out, "run.json"))
			if err != nil {
				t.Fatal(err)
			}
			for _, run := range []*reports.Run{result.Run, stored} {
				end.check(t, run)
			}
			if name == "no time to drain" { // the clean-up has time of its own
				wantCustomers(t, dsn)
			}
			sqlExec(t, dsn, `TRUNCATE customer CASCADE`)
		})
	}
}

func (e *ending) check(t *testing.T, run *reports.Run) {
	t.Helper()
	if run.TestRun.Partial != e.partial || run.Summary.TotalOperations < e.least {
		t.Errorf("partial %v, want %v; %d operations, want %d or more", run.TestRun.Partial,
			e.partial, run.Summary.TotalOperations, e.least)
	}
	reasons, warnings := strings.Join(run.Verdict.Reasons, "\n"), strings.Join(run.Warnings, "\n")
	if !strings.Contains(reasons, e.says) || !strings.Contains(warnings, e.warns) ||
		e.says != "" && run.Verdict.Status == reports.Pass {
		t.Errorf("verdict %s, want the reason %q and the warning %q in\n%s\nwarnings:\n%s",
			run.Verdict.Status, e.says, e.warns, reasons, warnings)
	}
}

// killUnderLoad kills k6 as soon as the ledger holds a measured write.
func killUnderLoad(t *testing.T, l *load) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	errFound := errors.New("found")
	for range tick.C {
		_, _, err := ledger.Read(l.k6.ledgerPath(), func(w ledger.Write) error {
			if w.Measured() {
				return errFound
			}
			return nil
		})
		if errors.Is(err, errFound) {
			break
		}
		if t.Context().Err() != nil {
			return
		}
	}
	for _, pid := range l.k6.pids() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
}

// referToACustomer makes a row of somebody else's before the clean-up, so that a customer stays.
func referToACustomer(t *testing.T, c *Config) {
	say := c.Say
	c.Say = func(line string) {
		say(line)
		if strings.HasPrefix(line, "comparing every row") {
			sqlExec(t, c.Stack.External.PostgresDSN, `INSERT INTO "order" `+
				`(id, customer_id, status, total_amount)
				SELECT gen_random_uuid(), id, 'new', 1 FROM customer LIMIT 1`)
		}
	}
}

// TestStoredAsSoonAsKnown: a lab killed at any step leaves a readable run.json with everything
// known by then.
func TestStoredAsSoonAsKnown(t *testing.T) {
	if testing.Short() {
		t.Skip("brings a stack up and runs k6; left out by -short")
	}
	c := smoke(t, 50, 2*time.Second)
	say, path := c.Say, filepath.Join(c.Out, "run.json")
	seen := map[string]bool{}
	c.Say = func(line string) {
		say(line)
		want, wanted := map[string]string{
			"load: smoke":                           "the lab ended before the load was over",
			"waiting for the pipeline to drain":     "the lab ended before the rows were checked",
			"comparing every row with its document": "the lab ended before the rows were checked",
		}[line]
		if !wanted {
			return
		}
		seen[line] = true
		run, err := reports.Load(path)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			return
		}
		reasons := strings.Join(run.Verdict.Reasons, "\n")
		if run.Verdict.Status == reports.Pass || !strings.Contains(reasons, want) ||
			run.Floor.Writes == 0 || run.Provenance.ScenarioSHA256 == "" ||
			(run.Summary.TotalOperations > 0) != (line != "load: smoke") {
			t.Errorf("%s: verdict %s, %d operations, want %q in\n%s", line, run.Verdict.Status,
				run.Summary.TotalOperations, want, reasons)
		}
	}
	l := begin(t, c)
	if run := mustComplete(t, l); !run.Consistency.Checked || len(run.LeftOut) > 0 ||
		strings.Contains(strings.Join(run.Verdict.Reasons, "\n"), "the lab ended") {
		t.Errorf("%+v, left out %v, verdict %v", run.Consistency, run.LeftOut, run.Verdict)
	}
	if len(seen) != 3 {
		t.Errorf("saw only %v", seen)
	}
}

// TestNothingMeasured: a script that fails before its load is an error, and the folder is free for
// another attempt.
func TestNothingMeasured(t *testing.T) {
	if testing.Short() {
		t.Skip("brings a stack up and runs k6; left out by -short")
	}
	c := smoke(t, 0, 0)
	c.Scenario = filepath.Join(t.TempDir(), "ending.js")
	writeFile(t, c.Scenario, strings.Replace(fmt.Sprintf(endingScript, "", ""), "lab.start();",
		"lab.start(); throw new Error('no');", 1))
	l := begin(t, c)
	if _, err := l.complete(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "Error: no") {
		t.Errorf("%v, want the script's error", err)
	}
	l.out.Close()
	if f, err := PrepareOut(c.Out, "ending", time.Now()); err != nil {
		t.Errorf("the folder cannot be used again: %v", err)
	} else if err := f.Close(); err != nil {
		t.Error(err)
	}
}
