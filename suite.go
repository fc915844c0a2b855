package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
)

// suiteName is what follows `bench` to run several scenarios in sequence.
const suiteName = "suite"

// benchSuite runs the scenarios one after the other, also after one that failed, prints each report
// and in the end one line for each; the worst verdict is the suite's.
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
	out, err := experiments.PrepareOut(config.Out, suiteName, time.Now())
	if err != nil {
		return 0, err
	}
	verdict := reports.Verdict{Status: reports.Pass}
	var lines []string
	for i, entry := range suite.Runs {
		one := entry.Apply(config)
		name := strings.TrimSuffix(filepath.Base(entry.Scenario), ".js")
		one.Out = filepath.Join(out, fmt.Sprintf("%d-%s", i+1, name))
		result, err := experiments.Run(ctx, one)
		if err != nil {
			return 0, fmt.Errorf("run %d of %d, %s: %w", i+1, len(suite.Runs), name, err)
		}
		if err := printResult(t, result, config.JSON); err != nil {
			return 0, err
		}
		verdict = verdict.Merge(result.Run.Verdict)
		lines = append(lines, fmt.Sprintf("%-10s  %s", name, reports.LastLine(result.Run, fromHere(result.ReportPath))))
		if ctx.Err() != nil {
			break
		}
	}
	to := t.out
	if config.JSON {
		to = t.err
	}
	fmt.Fprintf(to, "\nSuite %s: %s\n", suite.Name, strings.ToUpper(string(verdict.Status)))
	for _, line := range lines {
		fmt.Fprintln(to, "  "+line)
	}
	return verdictCode(verdict.Status), nil
}
