package gating

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/namedfile"
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
// and draws more from the Runs. What was measured before an interrupt counts.
func Calibrate(ctx context.Context, c Config, gates int) (*gate.Calibration, string, error) {
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
	result := &gate.Calibration{SchemaVersion: gate.SchemaVersion, Rule: c.Rule,
		StartTime: begin.UTC(), Commit: made.builds[0].Commit}
	for _, m := range gate.Primary {
		result.Metrics = append(result.Metrics, m.Name)
	}
	for i, path := range made.paths {
		trial := gate.Trial{Planted: all[i].planted}
		times := 1
		if trial.Planted == "" {
			times = gates
		}
		s.programs = map[gate.Side]string{gate.Base: made.paths[0], gate.Head: path}
		for n := 0; n < times && !s.broken; n++ {
			s.say(fmt.Sprintf("gate %d of %d: %s against %s", n+1, times, all[0].revision,
				all[i].revision+" "+all[i].planted))
			if endedBy := s.addGate(ctx, c.Rule, &trial); endedBy != "" {
				s.say("this gate does not count: " + endedBy)
				result.Missing = endedBy
			}
		}
		result.Trials = append(result.Trials, trial)
	}
	if !s.broken { // gates in doubt are made up for by the others, or Measure says what is missing
		result.Missing = ""
	}
	if len(s.attempts) > 0 {
		run := s.attempts[0].Run
		result.Host, result.Conditions = run.Provenance.Host, conditions(run)
	}
	err = s.Close(ctx)
	result.Minutes = time.Since(begin).Minutes()
	result.Measure(drawnGates)
	return result, s.out, err
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
	text, err := namedfile.Read(path, namedfile.Small)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var stored gate.Calibration
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if stored.SchemaVersion != gate.SchemaVersion || stored.Rule != rule ||
		stored.Conditions != conditions(run) {
		return nil, fmt.Errorf("%s is of another rule, load or version", path)
	}
	return &stored.Rates, nil
}
