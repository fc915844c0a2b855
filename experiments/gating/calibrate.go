package gating

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/gate"
)

// The planted slowdowns are in a consumer built with plantTag alone, which no other build has.
const (
	plantTag      = "planted"
	plantVariable = "github.com/cdclab/cdclab/consumer/documents.planted"
)

// Plants are the slowdowns of a calibration, each as consumer/documents/planted.go reads one.
var Plants = []string{"cpu=200us", "sleep=5ms", "trips=1"}

// drawnGates is how many gates are drawn from the real Runs for each row of the table.
const drawnGates = 400

// Calibrate runs gates real gates with the head on both sides, then one gate for each of Plants,
// and draws more from the Runs. What was measured before an interrupt counts. The gates of before,
// an earlier part of the same calibration, are not run again.
func Calibrate(ctx context.Context, c Config, gates int, before *gate.Calibration) (
	*gate.Calibration, string, error) {
	begin := time.Now()
	if err := c.Rule.Validate(); err != nil {
		return nil, "", err
	}
	if c.BaseConsumer+c.HeadConsumer != "" {
		return nil, "", errors.New("--calibrate plants slowdowns into the lab's own consumer: " +
			"no program can be given")
	}
	all := []wanted{{revision: c.Head}}
	for _, plant := range Plants {
		all = append(all, wanted{revision: c.Head, planted: plant})
	}
	made, err := makeBuilds(ctx, all, c.Lab.Say)
	if err != nil {
		return nil, "", err
	}
	defer made.remove()
	c.Budget = 0 // a calibration takes hours
	s, err := open(ctx, c, begin, made.paths[0])
	if err != nil {
		return nil, "", err
	}
	result := gate.NewCalibration(c.Rule)
	result.StartTime, result.Commit = begin.UTC(), made.builds[0].Commit
	result.Host, result.Conditions = s.warm.Provenance.Host, conditions(s.warm)
	if !before.Precedes(result) {
		return nil, "", errors.Join(s.Close(ctx), errors.New("the earlier part of the calibration "+
			"is of another machine, rule, load or version"))
	}
	result.Missing = s.runTrials(ctx, all, made.paths, gates, before, result)
	err = s.Close(ctx)
	result.Minutes = before.Minutes + time.Since(begin).Minutes()
	result.Measure(drawnGates)
	return result, s.out, err
}

// runTrials runs the gates that before lacks: gates gates of the first build against itself, and
// one against each other build. The returned sentence says why gates are missing, "" for none.
func (s *session) runTrials(ctx context.Context, all []wanted, paths []string, gates int,
	before, result *gate.Calibration) (missing string) {
	for i, path := range paths {
		trial, times := before.Trial(all[i].planted), 1
		if trial.Planted == "" {
			times = gates
		}
		s.programs = map[gate.Side]string{gate.Base: paths[0], gate.Head: path}
		for n := trial.Gates + 1; n <= times && !s.broken; n++ {
			s.say(fmt.Sprintf("gate %d of %d: %s against %s", n, times, all[0], all[i]))
			if missing = s.addGate(ctx, result.Rule, &trial); missing != "" {
				s.say("this gate does not count: " + missing)
			}
		}
		result.Trials = append(result.Trials, trial)
	}
	if !s.broken { // gates in doubt are made up for by the others, or Measure says what is missing
		return ""
	}
	return missing
}

// addGate runs one gate and adds the gate and its pairs to a trial.
func (s *session) addGate(ctx context.Context, rule gate.Rule, trial *gate.Trial) string {
	first := len(s.attempts)
	endedBy := s.measureBoth(ctx, rule)
	attempts := s.attempts[first:]
	if trial.Planted != "" && endedBy == "" { // the truth is known: all Runs are wanted
		for _, side := range gate.Order(2 * rule.MoreRuns)[min(len(attempts), 2*rule.MoreRuns):] {
			if endedBy = s.measureNext(ctx, side, 0); endedBy != "" {
				break
			}
		}
		attempts = s.attempts[first:]
	}
	result := gate.Judge(rule, attempts)
	trial.Void += result.Void()
	trial.Pairs = append(trial.Pairs, gate.PairsOf(attempts)...)
	if endedBy == "" {
		trial.Gates++
		if result.Verdict.Status == reports.Fail {
			trial.Failed++
		}
		if len(result.Suspicious) > 0 {
			trial.Extended++
		}
	}
	return endedBy
}

// RatesPath is where the error rates of a machine are stored, without the extension.
func RatesPath(root, fingerprint string) string {
	return filepath.Join(experiments.BaselineDir(root), "gate", reports.FileName(fingerprint))
}

// knownRates are the stored error rates for the Run's machine and conditions; nil for none.
func knownRates(run *reports.Run, rule gate.Rule) (*gate.Rates, error) {
	root, err := experiments.FindRoot()
	if err != nil {
		return nil, err
	}
	path := RatesPath(root, run.Provenance.Host.Fingerprint) + ".json"
	stored, err := gate.ReadCalibration(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if stored.SchemaVersion != gate.SchemaVersion || stored.Rule != rule ||
		stored.Conditions != conditions(run) {
		return nil, fmt.Errorf("%s is of another rule, load or version", path)
	}
	return &stored.Rates, nil
}
