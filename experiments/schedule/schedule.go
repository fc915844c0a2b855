// Package schedule reads the load made by k6 of a script's options: which iterations k6 starts, how
// many, and when. The package runs no k6 and knows no ledger. Start reading at Read; a Test has a
// Scenario for each executor of the script.
package schedule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Test is a script's load as `k6 inspect --execution-requirements` prints the load.
type Test struct {
	// Scenarios are the script's, in the order of their starts, and of their names.
	Scenarios []Scenario
}

// Read reads the output of k6. A test waiting for somebody's word is an error, and so is a test
// that divides itself.
func Read(text []byte) (Test, error) {
	var options struct {
		Paused           *bool               `json:"paused"`
		ExecutionSegment *string             `json:"executionSegment"`
		Scenarios        map[string]Scenario `json:"scenarios"`
	}
	if err := json.Unmarshal(text, &options); err != nil {
		return Test{}, err
	}
	switch {
	case options.Paused != nil && *options.Paused:
		return Test{}, errors.New("options.paused: nobody would resume the test")
	case options.ExecutionSegment != nil && *options.ExecutionSegment != "":
		return Test{}, fmt.Errorf("options.executionSegment: give --segment instead of %q",
			*options.ExecutionSegment)
	}
	var t Test
	for _, name := range slices.Sorted(maps.Keys(options.Scenarios)) {
		one := options.Scenarios[name]
		one.Name = name
		t.Scenarios = append(t.Scenarios, one)
	}
	slices.SortStableFunc(t.Scenarios, func(a, b Scenario) int {
		return cmp.Compare(a.Start(), b.Start())
	})
	return t, nil
}

// End is when the last of the scenarios is over, after the test's start.
func (t Test) End() (end time.Duration) {
	for _, s := range t.Scenarios {
		end = max(end, s.Start()+s.Length())
	}
	return end
}

// String is "load: constant-arrival-rate 100/s 5m0s; carts: ...".
func (t Test) String() string {
	var all []string
	for i := range t.Scenarios {
		all = append(all, t.Scenarios[i].Name+": "+t.Scenarios[i].String())
	}
	return strings.Join(all, "; ")
}

// Only returns the scenarios with kept names.
func (t Test) Only(kept func(name string) bool) Test {
	return Test{slices.DeleteFunc(slices.Clone(t.Scenarios), func(s Scenario) bool {
		return !kept(s.Name)
	})}
}

// Length is the time from the start of the first scenario to the end of the last; 0 for none.
func (t Test) Length() time.Duration {
	if len(t.Scenarios) == 0 {
		return 0
	}
	return t.End() - t.Scenarios[0].Start()
}

// Model is "open" where every scenario starts iterations on a schedule, "closed" where none does,
// "mixed", or "" without a scenario.
func (t Test) Model() string {
	model := ""
	for i := range t.Scenarios {
		one := "closed"
		if t.Scenarios[i].Open() {
			one = "open"
		}
		if model != "" && model != one {
			return "mixed"
		}
		model = one
	}
	return model
}

// Rates are the rates, in iterations a second, at which the open scenarios begin, in order.
func (t Test) Rates() (rates []float64) {
	for i := range t.Scenarios {
		if s := &t.Scenarios[i]; s.Open() {
			first := s.Rate.or(0)
			if s.isRamp() {
				first = s.StartRate.or(0)
			}
			rates = append(rates, s.perSecond(first))
		}
	}
	return rates
}

// HasFixedLength is true if no scenario ends early, all iterations done.
func (t Test) HasFixedLength() bool {
	return !slices.ContainsFunc(t.Scenarios, func(s Scenario) bool { return s.countsIterations() })
}
