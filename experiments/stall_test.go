package experiments

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
)

// TestPlantedStall: a part is frozen for two seconds, and the stages must blame the part. In an
// open model the writes due then wait for the part, the first for all of the stall and the last for
// nothing. So with a share s of all writes stalled for l seconds p99 is l * (1 - 0.01/s) and the
// maximum l, from the intended time, and at most the time of the burst of all waiting writes more.
// The writes due when the part came back tell the time of the burst, because nothing else held up
// these writes.
func TestPlantedStall(t *testing.T) {
	if testing.Short() {
		t.Skip("three runs of 20 s; left out by -short")
	}
	for target, stages := range map[string][]string{
		"postgres": {reports.ScheduleDelay, reports.Commit},
		"consumer": {reports.KafkaToConsumer},
		"mongo":    {reports.ConsumerToApplied},
	} {
		t.Run(target, func(t *testing.T) { plantStall(t, target, stages) })
	}
}

func plantStall(t *testing.T, target string, stages []string) {
	c := smoke(t, 200, 20*time.Second)
	c.PlanPath = writePlan(t, fmt.Sprintf(`
name: %s-stall
description: it is frozen for two seconds
steady-state: {recovery: 30s}
method:
  - {at: 8s, fault: pause, target: %[1]s, for: 2s}
`, target))
	l := begin(t, c)
	l.slow("20")
	run := mustComplete(t, l)
	if len(run.Faults) != 1 || !run.Faults[0].Applied {
		t.Fatalf("faults %+v: want one that was applied", run.Faults)
	}
	if run.Summary.DroppedIterations != 0 {
		t.Errorf("%d iterations dropped: the stall reached the schedule",
			run.Summary.DroppedIterations)
	}
	if late, stolen := run.Generator.LateTicksP99Ms, run.Host.CPUStealPercent; late > 10 ||
		stolen > 5 {
		t.Skipf("the machine is busy with something else: k6 was %.0f ms late, %.0f %% stolen",
			late, stolen)
	}
	stall := run.Faults[0].EndSeconds - run.Faults[0].StartSeconds
	share := stall / run.TestRun.DurationSeconds
	burst := burstMs(t, filepath.Join(c.Out, "ledger.jsonl"), run.Faults[0].EndSeconds)
	within5 := func(what string, got, want float64) {
		t.Helper()
		t.Logf("stall %.3f s of %.1f s: %s %.0f ms, arithmetic gives %.0f ms, "+
			"and the burst took %.0f ms",
			stall, run.TestRun.DurationSeconds, what, got, want, burst)
		if got < 0.95*want || got > 1.05*(want+burst) {
			t.Errorf("%s: %.0f ms, want %.0f to %.0f ms within 5 %%", what, got, want, want+burst)
		}
	}
	p99 := 1000 * stall * (1 - 0.01/share)
	if target == "postgres" {
		committed := committedP99(t, filepath.Join(c.Out, "ledger.jsonl"))
		within5("intended to committed, p99", committed, p99)
	}
	within5("e2e p99", run.Summary.Latency.P99, p99)
	within5("e2e max", run.Summary.Latency.Max, 1000*stall)
	if blamed := slowestStage(run); !slices.Contains(stages, blamed) {
		t.Errorf("the slowest stage at p99 is %s, want %s", blamed, strings.Join(stages, " or "))
	}
}

// burstMs returns the median latency of the writes due about when the stall ended.
func burstMs(t *testing.T, path string, end float64) float64 {
	t.Helper()
	const about = 0.05
	var first int64 = math.MaxInt64
	var all []ledger.Write
	if _, _, err := ledger.Read(path, func(w ledger.Write) error {
		if w.Measured() && w.VisibleNs > 0 {
			all, first = append(all, w), min(first, w.IntendedNs)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for _, w := range all {
		if math.Abs(float64(w.IntendedNs-first)/1e9-end) < about {
			took = append(took, time.Duration(w.VisibleNs-w.IntendedNs))
		}
	}
	return medianMs(took)
}

// slowestStage returns the stage with the greatest p99, of the chain of stages from the intended
// time until MongoDB has acknowledged.
func slowestStage(run *reports.Run) string {
	return slices.MaxFunc([]string{
		reports.ScheduleDelay, reports.Commit, reports.SourceToConnector, reports.ConnectorToKafka,
		reports.KafkaToConsumer, reports.ConsumerToApplied,
	}, func(a, b string) int {
		x, _ := run.StageOf(a, "", "")
		y, _ := run.StageOf(b, "", "")
		return cmp.Compare(x.P99, y.P99)
	})
}

// committedP99 is the p99 in milliseconds from the intended time to the commit of measured writes.
func committedP99(t *testing.T, path string) float64 {
	t.Helper()
	var all []int64
	if _, _, err := ledger.Read(path, func(w ledger.Write) error {
		if w.Measured() && w.Fate == ledger.Acked {
			all = append(all, w.CommittedNs-w.IntendedNs)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return float64(all[len(all)*99/100]) / 1e6
}

// strainedScript is a scenario with a statement before the write in every iteration. For k6 alone a
// dropped iteration is a failure.
const strainedScript = `
import cdc from 'k6/x/cdc';
export const options = { scenarios: { load: {
  executor: 'constant-arrival-rate', rate: 100, timeUnit: '1s', duration: '6s', ` +
	`preAllocatedVUs: %d, maxVUs: %[1]d,
} }, thresholds: { dropped_iterations: ['count==0'] } };
const lab = cdc.open(%s);
export function setup() { lab.start(); }
export default function () { %s; lab.write(); }
export function teardown() { lab.drain('30s'); }
`

// TestUntrustworthyRunsAreUnknown: the verdict says each provoked flaw of a measurement.
func TestUntrustworthyRunsAreUnknown(t *testing.T) {
	if testing.Short() {
		t.Skip("four short runs; left out by -short")
	}
	// An iteration is so long that 100 a second are half as much work again as the processors can
	// do.
	spin := fmt.Sprintf("const end = Date.now() + %d; while (Date.now() < end);",
		15*runtime.NumCPU())
	for name, c := range map[string]struct {
		vus             int
		options, before string
		burn            bool
		sentence        string
	}{
		"dropped iterations": {1, "{}", spin, false, "The generator dropped "},
		// The load has a VU for each write, and too few processors.
		"generator saturated": {650, "{}", spin, false, "The generator was saturated: "},
		// The server answers a first poll after a fault only, so that the tracker waits for 2 s.
		"tracker starved": {50, "{tracker: 'poll'}", "", false, "The tracker was starved: "},
		"machine busy":    {50, "{}", "", true, "The machine was too busy to measure on: "},
	} {
		t.Run(name, func(t *testing.T) {
			config := smoke(t, 0, 0)
			config.Scenario = filepath.Join(t.TempDir(), "strained.js")
			script := fmt.Sprintf(strainedScript, c.vus, c.options, c.before)
			if err := os.WriteFile(config.Scenario, []byte(script), 0o644); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "tracker") {
				config.PlanPath = writePlan(t, `
name: mongo-pause
description: the tracker waits for an answer
steady-state: {recovery: 30s}
method:
  - {at: 2s, fault: pause, target: mongo, for: 2s}
`)
			}
			l := begin(t, config)
			if c.burn {
				defer burn()()
			}
			run := mustComplete(t, l)
			reasons := strings.Join(run.Verdict.Reasons, "\n")
			if run.Verdict.Status != reports.Unknown || !strings.Contains(reasons, c.sentence) {
				t.Errorf("verdict %s, want unknown, and %q in\n%s", run.Verdict.Status, c.sentence,
					reasons)
			}
		})
	}
}

// burn uses every processor until the returned function is called.
func burn() (stop func()) {
	done := make(chan struct{})
	for range 2 * runtime.NumCPU() {
		go func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
			}
		}()
	}
	return func() { close(done) }
}
