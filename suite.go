package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
)

// suiteName is what follows `bench` to run several scenarios in sequence.
const suiteName = "suite"

// benchSuite runs the scenarios one after the other, also after one that failed or could not run, prints
// each report and in the end one line for each; the worst verdict is the suite's, and one that could not
// run is worse than all of them.
func benchSuite(ctx context.Context, t terminal, config experiments.Config, scenarios, path string) (int, error) {
	suite := experiments.SuiteOf(strings.FieldsFunc(scenarios, func(r rune) bool { return r == ',' || r == ' ' }))
	switch {
	case scenarios != "" && path != "":
		return 0, fmt.Errorf("--scenarios %s and --suite %s: want one of them", scenarios, path)
	case path != "":
		var err error
		if suite, err = experiments.LoadSuite(path); err != nil {
			return 0, err
		}
	case len(suite.Runs) == 0:
		return 0, fmt.Errorf("bench suite: want --scenarios smoke,baseline,... or --suite FILE")
	}
	for _, entry := range suite.Runs {
		if entry.Scenario == experiments.Selftest {
			return 0, fmt.Errorf("suite %s: %s measures the floor and has no load; run `bench %[2]s`", suite.Name, entry.Scenario)
		}
	}
	out, err := experiments.PrepareOut(config.Out, suiteName, time.Now())
	if err != nil {
		return 0, err
	}
	summary := suiteSummary{Suite: suite.Name}
	verdict, couldNotRun := reports.Verdict{Status: reports.Pass}, false
	for i, entry := range suite.Runs {
		one := entry.Apply(config)
		name := strings.TrimSuffix(filepath.Base(entry.Scenario), ".js")
		one.Out = filepath.Join(out, fmt.Sprintf("%d-%s", i+1, name))
		result, err := experiments.Run(ctx, one)
		switch {
		case err != nil:
			couldNotRun = true
			summary.add(name, "COULD NOT RUN  "+err.Error())
		default:
			if err := printResult(t, result, config.JSON); err != nil {
				return 0, err
			}
			verdict = verdict.Merge(result.Run.Verdict)
			summary.add(name, reports.LastLine(result.Run, fromHere(result.ReportPath)))
		}
		if ctx.Err() != nil {
			break
		}
	}
	code := verdictCode(verdict.Status)
	summary.Status = strings.ToUpper(string(verdict.Status))
	if couldNotRun {
		code, summary.Status = exitCouldNotRun, "COULD NOT RUN"
	}
	return code, summary.print(t, config.JSON)
}

// suiteSummary is the end of a suite.
type suiteSummary struct {
	Suite  string   `json:"suite"`
	Status string   `json:"status"`
	Runs   []string `json:"runs"`
}

func (s *suiteSummary) add(name, line string) {
	s.Runs = append(s.Runs, fmt.Sprintf("%-10s  %s", name, line))
}

// print prints it below the reports, or as one more of the JSON lines, beside the Runs on standard output.
func (s *suiteSummary) print(t terminal, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(t.err).Encode(s)
	}
	_, err := fmt.Fprintf(t.out, "\nSuite %s: %s\n  %s\n", s.Suite, s.Status, strings.Join(s.Runs, "\n  "))
	return err
}
