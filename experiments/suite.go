package experiments

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Suite is several scenarios in sequence, each on a stack of its own: one run's leftovers must not be
// the next one's latency.
type Suite struct {
	Name string       `yaml:"name"`
	Runs []SuiteEntry `yaml:"runs"`
}

// SuiteEntry is one Run of a Suite; what it leaves out is the command line's, and else the scenario's.
type SuiteEntry struct {
	Scenario string        `yaml:"scenario"`
	Rate     int           `yaml:"rate"`
	Duration time.Duration `yaml:"duration"`
	Mix      string        `yaml:"mix"`
	// Chaos is the path of a plan, from where the command runs.
	Chaos string `yaml:"chaos"`
}

// LoadSuite reads a suite file; an error names the file and the line.
func LoadSuite(path string) (*Suite, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the suite: %w", err)
	}
	var s Suite
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the suite %s: %s", path, strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if len(s.Runs) == 0 {
		return nil, fmt.Errorf("read the suite %s: no runs", path)
	}
	for i, run := range s.Runs {
		if run.Scenario == "" {
			return nil, fmt.Errorf("read the suite %s: run %d has no scenario", path, i+1)
		}
	}
	return &s, nil
}

// SuiteOf is a suite of scenarios that say everything themselves.
func SuiteOf(scenarios []string) *Suite {
	s := &Suite{Name: strings.Join(scenarios, ", ")}
	for _, name := range scenarios {
		s.Runs = append(s.Runs, SuiteEntry{Scenario: name})
	}
	return s
}

// Apply is the configuration of one Run of the suite, from the command line's.
func (e SuiteEntry) Apply(c Config) Config {
	c.Scenario = e.Scenario
	if e.Rate > 0 {
		c.Rate = e.Rate
	}
	if e.Duration > 0 {
		c.Duration = e.Duration
	}
	if e.Mix != "" {
		c.Mix = e.Mix
	}
	if e.Chaos != "" {
		c.PlanPath = e.Chaos
	}
	return c
}
