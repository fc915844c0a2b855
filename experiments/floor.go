package experiments

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// Selftest is the scenario that writes to MongoDB directly and waits until the tracker sees it.
const Selftest = "selftest"

const (
	// settling is how long a self-test at a rate goes on before it counts: a poll finds its pace, and
	// connections are made.
	settling = 2 * time.Second
	// counting is how long it counts.
	counting = 5 * time.Second
	// takenShare of a rate is what a server must take of it, or it does not take it: what waits for the
	// server then waits longer and longer.
	takenShare = 0.95
)

// Floors are what Floor measured, and what there is to say of the stack.
type Floors struct {
	reports.Floor
	AtRates []FloorAt
	Notes   []string
}

// FloorAt is the floor of writes that come at a rate, from the time at which each is due: the error of
// every latency that is measured at that rate. Problem says in words why there is none.
type FloorAt struct {
	Rate int
	reports.Floor
	Problem string
}

// Floor brings a stack up only to measure the floor of what can be measured on it: the time from a
// direct write to MongoDB until the tracker has seen it, one write after another and at rates.
func Floor(ctx context.Context, config Config) (Floors, error) {
	config.Scenario = Selftest
	s, err := prepare(ctx, config)
	if err != nil {
		return Floors{}, err
	}
	if err := s.up(ctx); err != nil {
		return Floors{}, err
	}
	all := Floors{Notes: s.run.Notes}
	err = s.floor(ctx)
	for _, rate := range config.FloorRates {
		if err == nil {
			all.AtRates = append(all.AtRates, s.floorAt(ctx, rate))
			err = ctx.Err()
		}
	}
	all.Floor = s.run.Floor
	return all, errors.Join(err, s.down(ctx))
}

// floor measures the floor of the Run.
func (s *session) floor(ctx context.Context) error {
	s.config.Say("measuring the floor")
	ledgerPath, err := s.selftest(ctx, filepath.Join(s.out, Selftest), s.config.FloorWrites, 0)
	if err != nil {
		return err
	}
	s.run.Floor, err = readFloor(ledgerPath, 0)
	return err
}

// floorAt measures the floor at a rate; that the server cannot take it is a sentence and no error.
func (s *session) floorAt(ctx context.Context, rate int) FloorAt {
	s.config.Say(fmt.Sprintf("measuring the floor at %d/s", rate))
	dir := filepath.Join(s.out, Selftest, fmt.Sprintf("at-%d", rate))
	ledgerPath, err := s.selftest(ctx, dir, rate*int((settling+counting)/time.Second), rate)
	if err != nil {
		return FloorAt{Rate: rate, Problem: err.Error()}
	}
	return readFloorAt(ledgerPath, rate)
}

func readFloorAt(ledgerPath string, rate int) FloorAt {
	at := FloorAt{Rate: rate}
	floor, err := readFloor(ledgerPath, settling)
	switch {
	case errors.Is(err, ledger.ErrTruncated):
		at.Problem = "a write failed or was never seen, as k6.log says in " + filepath.Dir(ledgerPath)
		return at
	case err != nil:
		at.Problem = err.Error()
		return at
	}
	if _, taken, _ := selftestSpan(ledgerPath); taken < takenShare*float64(rate) {
		at.Problem = fmt.Sprintf("the server took only %.0f writes a second: what waits for it is no error of the tracker", taken)
		return at
	}
	at.Floor = floor
	return at
}

// selftest runs the selftest scenario: the tracker that the load will use, in a process of the same
// kind. It returns the path of its ledger.
func (s *session) selftest(ctx context.Context, dir string, writes, rate int) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("measure the floor: %w", err)
	}
	env := maps.Clone(s.k6.env)
	env["WRITES"], env["RATE"] = fmt.Sprint(writes), "" // not the load's
	if rate > 0 {
		env["RATE"] = fmt.Sprint(rate)
	}
	child := &generator{
		program: s.k6.program, dir: dir, env: env,
		scenario: filepath.Join(s.root, "experiments", "scenarios", Selftest+".js"),
	}
	if _, err := child.run(ctx); err != nil {
		return "", fmt.Errorf("measure the floor: %w", err)
	}
	return child.ledgerPath(), nil
}

// readFloor leaves out the writes that were due while the self-test was still settling.
func readFloor(path string, settling time.Duration) (reports.Floor, error) {
	recorder := reports.NewRecorder()
	var unseen int
	firstNs, _, err := selftestSpan(path)
	if err != nil {
		return reports.Floor{}, err
	}
	header, _, err := ledger.Read(path, func(w ledger.Write) error {
		if w.Scenario != Selftest || w.IntendedNs < firstNs+settling.Nanoseconds() {
			return nil
		}
		if w.VisibleNs == 0 {
			unseen++
			return nil
		}
		recorder.Add(reports.E2E, w.Entity, string(w.Op), 0, time.Duration(w.VisibleNs-w.IntendedNs))
		return nil
	})
	if err != nil {
		return reports.Floor{}, fmt.Errorf("measure the floor: %w", err)
	}
	all, ok := (&reports.Run{Stages: recorder.Stages()}).StageOf(reports.E2E, "", "")
	if !ok || unseen > 0 {
		return reports.Floor{}, fmt.Errorf("measure the floor: %d of %d direct writes were never seen",
			unseen, int64(unseen)+all.Count)
	}
	return reports.Floor{
		P50: all.P50, P95: all.P95, P99: all.P99, Writes: all.Count,
		Tracker: header.Tracker, ResolutionMs: float64(header.ResolutionNs) / 1e6,
	}, nil
}

// selftestSpan is when the first direct write was due, and how many a second were acknowledged until
// the last was.
func selftestSpan(path string) (firstNs int64, taken float64, err error) {
	var lastNs, writes int64
	firstNs = math.MaxInt64
	_, _, err = ledger.Read(path, func(w ledger.Write) error {
		if w.Scenario == Selftest {
			firstNs, lastNs = min(firstNs, w.IntendedNs), max(lastNs, w.CommittedNs)
			writes++
		}
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measure the floor: %w", err)
	}
	return firstNs, float64(writes) / (float64(lastNs-firstNs) / 1e9), nil
}
