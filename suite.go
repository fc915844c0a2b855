package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports/render"
)

// suiteName follows `bench` to run several scenarios in sequence.
const suiteName = "suite"

// benchSuite runs the scenarios one after the other, prints each report and in the end a line for
// each.
func benchSuite(ctx context.Context, t terminal, g *grafana, config experiments.Config,
	scenarios, path string) (int, error) {
	suite := experiments.SuiteOf(strings.FieldsFunc(scenarios,
		func(r rune) bool { return r == ',' || r == ' ' }))
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
	if suite.Has(experiments.Selftest) {
		return 0, fmt.Errorf("suite %s: %s measures the floor and has no load; run `bench %[2]s`",
			suite.Name, experiments.Selftest)
	}
	out, err := experiments.PrepareOut(config.Out, suiteName, time.Now())
	if err != nil {
		return 0, err
	}
	defer out.Close()
	config.Out = out.Path
	result, err := suite.Run(ctx, config, func(one *experiments.Result) (string, error) {
		g.annotateResult(ctx, t, one)
		return render.LastLine(one.Run, fromHere(one.ReportPath)), printResult(t, one, config.JSON)
	})
	if err != nil {
		return 0, err
	}
	if config.JSON { // one more of the JSON lines, beside the runs on standard output
		err = json.NewEncoder(t.err).Encode(result)
	} else {
		_, err = fmt.Fprintf(t.out, "\nSuite %s: %s\n  %s\n", result.Suite, result.Status,
			strings.Join(result.Runs, "\n  "))
	}
	if result.CouldNotRun {
		return exitCouldNotRun, err
	}
	return verdictCode(result.Verdict.Status), err
}
