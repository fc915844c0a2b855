package experiments

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// Selftest is the scenario that writes to MongoDB directly and waits until the tracker sees it.
const Selftest = "selftest"

// Floor brings a stack up only to measure the floor of what can be measured on it: the time from a
// direct write to MongoDB until the tracker has seen it.
func Floor(ctx context.Context, config Config) (reports.Floor, []string, error) {
	config.Scenario = Selftest
	s, err := prepare(ctx, config)
	if err != nil {
		return reports.Floor{}, nil, err
	}
	if err := s.up(ctx); err != nil {
		return reports.Floor{}, nil, err
	}
	err = s.floor(ctx)
	return s.run.Floor, s.run.Notes, errors.Join(err, s.down(ctx))
}

// floor runs the selftest scenario: the tracker that the load will use, in a process of the same
// kind.
func (s *session) floor(ctx context.Context) error {
	dir := filepath.Join(s.out, Selftest)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("measure the floor: %w", err)
	}
	env := maps.Clone(s.k6.env)
	env["WRITES"] = fmt.Sprint(s.config.FloorWrites)
	child := &generator{
		program: s.k6.program, dir: dir, env: env,
		scenario: filepath.Join(s.root, "experiments", "scenarios", Selftest+".js"),
	}
	s.config.Say("measuring the floor")
	if _, err := child.run(ctx); err != nil {
		return fmt.Errorf("measure the floor: %w", err)
	}
	floor, err := readFloor(child.ledgerPath())
	if err != nil {
		return fmt.Errorf("measure the floor: %w", err)
	}
	s.run.Floor = floor
	return nil
}

func readFloor(path string) (reports.Floor, error) {
	recorder := reports.NewRecorder()
	var unseen int
	header, _, err := ledger.Read(path, func(w ledger.Write) error {
		if w.Scenario != Selftest {
			return nil
		}
		if w.VisibleNs == 0 {
			unseen++
			return nil
		}
		recorder.Add(reports.E2E, w.Entity, string(w.Op), 0, time.Duration(w.VisibleNs-w.SentNs))
		return nil
	})
	if err != nil {
		return reports.Floor{}, err
	}
	all, ok := (&reports.Run{Stages: recorder.Stages()}).StageOf(reports.E2E, "", "")
	if !ok || unseen > 0 {
		return reports.Floor{}, fmt.Errorf("%d of %d direct writes were never seen", unseen, int64(unseen)+all.Count)
	}
	return reports.Floor{
		P50: all.P50, P95: all.P95, P99: all.P99, Writes: all.Count,
		Tracker: header.Tracker, ResolutionMs: float64(header.ResolutionNs) / 1e6,
	}, nil
}
