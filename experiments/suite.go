package experiments

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/shown"
)

// Suite is several scenarios in sequence, each on a stack of its own: one run's leftovers must not
// be the next one's latency.
type Suite struct {
	Name string       `yaml:"name"`
	Runs []SuiteEntry `yaml:"runs"`
}

// SuiteEntry is a Run of a Suite; a missing member is the command line's, and else the scenario's.
type SuiteEntry struct {
	Scenario string         `yaml:"scenario"`
	Rate     *int           `yaml:"rate"`
	Duration *time.Duration `yaml:"duration"`
	Mix      string         `yaml:"mix"`
	// Chaos is the path of a plan, from where the command runs.
	Chaos string `yaml:"chaos"`
}

// LoadSuite reads a suite file; an error names the file and the line.
func LoadSuite(path string) (*Suite, error) {
	text, err := namedfile.Read(path, namedfile.Small)
	if err != nil {
		return nil, fmt.Errorf("read the suite: %w", err)
	}
	var s Suite
	err = yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&s)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the suite %s: %s",
			path, strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if len(s.Runs) == 0 {
		return nil, fmt.Errorf("read the suite %s: no runs", path)
	}
	var written struct { // the library cuts the fraction of a whole number off
		Runs []struct{ Rate any }
	}
	if err := yaml.Unmarshal(text, &written); err != nil {
		return nil, fmt.Errorf("read the suite %s: %w", path, err)
	}
	for i, run := range s.Runs {
		if fraction, is := written.Runs[i].Rate.(float64); is {
			return nil, fmt.Errorf("read the suite %s: run %d, %s: rate %v is not a whole number",
				path, i+1, run.Scenario, fraction)
		}
		if run.Scenario == "" {
			return nil, fmt.Errorf("read the suite %s: run %d has no scenario", path, i+1)
		}
		config := run.Apply(DefaultConfig())
		if err := config.Validate(); err != nil {
			return nil, fmt.Errorf("read the suite %s: run %d, %s: %w", path, i+1, run.Scenario,
				err)
		}
	}
	return &s, nil
}

// SuiteOf returns a suite of scenarios without settings of the suite's.
func SuiteOf(scenarios []string) *Suite {
	s := &Suite{Name: strings.Join(scenarios, ", ")}
	for _, name := range scenarios {
		s.Runs = append(s.Runs, SuiteEntry{Scenario: name})
	}
	return s
}

// Apply returns the configuration of a Run of the suite, from the command line's.
func (e SuiteEntry) Apply(c Config) Config {
	c.Scenario = e.Scenario
	c.Rate, c.Duration = cmp.Or(e.Rate, c.Rate), cmp.Or(e.Duration, c.Duration)
	if e.Mix != "" {
		c.Mix = e.Mix
	}
	if e.Chaos != "" {
		c.PlanPath = e.Chaos
	}
	return c
}

func (r *SuiteResult) add(e SuiteEntry, line string) {
	r.Runs = append(r.Runs, fmt.Sprintf("%-10s  %s", scriptName(e.Scenario), line))
}

// Has returns true if the suite runs the scenario.
func (s *Suite) Has(scenario string) bool {
	return slices.ContainsFunc(s.Runs, func(e SuiteEntry) bool { return e.Scenario == scenario })
}

// SuiteResult is the end of a Suite. The members of the JSON are the name, the worst verdict in
// words and a line for each scenario.
type SuiteResult struct {
	Suite  string   `json:"suite"`
	Status string   `json:"status"`
	Runs   []string `json:"runs"`
	// Verdict is the worst of the existing Runs, and at best unknown where a scenario was not run.
	Verdict reports.Verdict `json:"-"`
	// CouldNotRun is true if a scenario left no Run, a result worse than every verdict.
	CouldNotRun bool `json:"-"`
}

// Run runs the scenarios in sequence, also after a failed scenario or a scenario that could not
// run, until ctx ends. Each has its own folder in config.Out, which exists. show receives each
// Result and returns the Result's line.
func (s *Suite) Run(ctx context.Context, config Config,
	show func(*Result) (string, error)) (*SuiteResult, error) {
	return s.runEach(ctx, config, Run, show)
}

func (s *Suite) runEach(ctx context.Context, config Config,
	run func(context.Context, Config) (*Result, error),
	show func(*Result) (string, error)) (*SuiteResult, error) {
	var scenarios []string
	for _, entry := range s.Runs {
		scenarios = append(scenarios, entry.Scenario)
	}
	whole := &SuiteResult{Suite: shown.Hide(s.Name, scenarios),
		Verdict: reports.Verdict{Status: reports.Pass}}
	unrun := 0
	for i, entry := range s.Runs {
		if ctx.Err() != nil {
			unrun++
			whole.add(entry, "NOT RUN  the suite was interrupted before")
			continue
		}
		one := entry.Apply(config)
		name := scriptName(entry.Scenario)
		one.Out = filepath.Join(config.Out, fmt.Sprintf("%d-%s", i+1, name))
		var line string
		result, err := run(ctx, one)
		if result != nil { // also with an error: a Run that could not be stored
			whole.Verdict = whole.Verdict.Merge(result.Run.Verdict)
			var showErr error
			if line, showErr = show(result); showErr != nil {
				return nil, showErr
			}
		}
		if err != nil {
			of := slices.Concat([]string{entry.Scenario}, config.Command)
			whole.CouldNotRun, line = true, "COULD NOT RUN  "+shown.Hide(err.Error(), of)
		}
		whole.add(entry, line)
	}
	if unrun > 0 || len(s.Runs) == 0 {
		whole.Verdict = whole.Verdict.Merge(reports.Verdict{
			Status:  reports.Unknown,
			Reasons: []string{fmt.Sprintf("%d of %d scenarios were not run.", unrun, len(s.Runs))},
		})
	}
	whole.Status = strings.ToUpper(string(whole.Verdict.Status))
	if whole.CouldNotRun {
		whole.Status = "COULD NOT RUN"
	}
	return whole, nil
}
