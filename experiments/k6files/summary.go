// Package k6files reads the files left by k6 after a test: the summary and the log. The package
// runs no k6 and judges nothing. Start reading at ReadSummary, then at Complaints.
package k6files

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports"
)

// Summary is k6's end-of-test data as --summary-export writes the data, whatever the script
// itself does.
type Summary struct {
	Metrics map[string]metric `json:"metrics"`
}

// metric has a number for each of "p(95)", "count" and so on, and under "thresholds" whether each
// was crossed.
type metric map[string]json.RawMessage

// thresholds are the metric's, true for a crossed one; none of a metric without.
func (m metric) thresholds() (crossed map[string]bool) {
	_ = json.Unmarshal(m["thresholds"], &crossed)
	return crossed
}

// empty returns true if the metric has no sample, or none but 0: k6 exports the same for both. The
// 0 of a counter is a count, and a gauge may be 0.
func (m metric) empty() bool {
	_, isRate := m["passes"]
	_, isGauge := m["value"]
	_, isCounter := m["rate"]
	if isCounter || isGauge && !isRate {
		return false
	}
	for name := range m {
		if value, is := m.value(name); is && value != 0 {
			return false
		}
	}
	return true
}

// Unmeasured names the kept thresholds of metrics without a sample.
func (s *Summary) Unmeasured() []string {
	var names []string
	for name, one := range s.Metrics {
		for expression, crossed := range one.thresholds() {
			if !crossed && one.empty() {
				names = append(names, "k6 "+name+" "+expression)
			}
		}
	}
	slices.Sort(names)
	return names
}

// value returns a number named by a threshold; the export calls a rate's number "value".
func (m metric) value(of string) (value float64, known bool) {
	for _, name := range []string{of, map[string]string{"rate": "value", "p(50)": "med"}[of]} {
		if text, ok := m[name]; ok && json.Unmarshal(text, &value) == nil {
			return value, true
		}
	}
	return 0, false
}

// ReadSummary reads the file; an error names the file.
func ReadSummary(path string) (*Summary, error) {
	text, err := namedfile.Read(path, namedfile.Small)
	if err != nil {
		return nil, fmt.Errorf("read k6's summary: %w", err)
	}
	var summary Summary
	if err := json.Unmarshal(text, &summary); err != nil {
		return nil, fmt.Errorf("read k6's summary %s: %w", path, err)
	}
	return &summary, nil
}

// Count returns the count of a counter of k6, such as iterations.
func (s *Summary) Count(of string) int64 {
	count, _ := s.Metrics[of].value("count")
	return int64(count)
}

// operators makes "<" of every operator between a threshold's value and its limit.
var operators = strings.NewReplacer(">", "<", "=", "<", "!", "<")

// Violations returns the crossed thresholds of the script, each with the value that the expression
// begins with: p(95) of "p(95)<2000".
func (s *Summary) Violations() []reports.Violation {
	var crossed []reports.Violation
	for name, one := range s.Metrics {
		for expression, broken := range one.thresholds() {
			if !broken {
				continue
			}
			of, _, _ := strings.Cut(operators.Replace(expression), "<")
			crossing := reports.Violation{Name: "k6 " + name, Limit: expression}
			var known bool
			if crossing.Value, known = one.value(strings.TrimSpace(of)); !known {
				crossing.Name += ", which is not in the script's summaryTrendStats,"
			}
			crossed = append(crossed, crossing)
		}
	}
	slices.SortFunc(crossed, func(a, b reports.Violation) int {
		return strings.Compare(a.Name+a.Limit, b.Name+b.Limit)
	})
	return crossed
}
