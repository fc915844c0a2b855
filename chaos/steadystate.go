package chaos

import (
	"fmt"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// SteadyState is what must hold of a Run under the Plan. Lost, Stale, Corrupt and Resurrected are
// the most rows of that Status allowed, 0 unless the Plan says otherwise; of the other bad statuses
// none is ever allowed.
type SteadyState struct {
	Lost        int `yaml:"lost"`
	Stale       int `yaml:"stale"`
	Corrupt     int `yaml:"corrupt"`
	Resurrected int `yaml:"resurrected"`
	// Recovery is how soon after the end of each Fault its target must be healthy again.
	Recovery time.Duration `yaml:"recovery"`
}

// Judge holds the hypothesis against what was found. What failed is a defect of the pipeline; where
// something is unknown, nothing was proved: a Fault that was not applied, or rows that PostgreSQL
// itself lost. The zero SteadyState judges a Run without Faults.
func (s SteadyState) Judge(c Consistency, windows []Window) (failed, unknown []string) {
	allowed := map[Status]int{
		Lost: s.Lost, Stale: s.Stale, Corrupt: s.Corrupt, Resurrected: s.Resurrected,
	}
	for _, status := range Statuses {
		n := c.Counts[status]
		switch {
		case status == SourceLoss && n > 0:
			unknown = append(unknown,
				fmt.Sprintf("%d keys: PostgreSQL does not hold what it acknowledged", n))
		case status.Bad() && n > allowed[status]:
			failed = append(failed, fmt.Sprintf("%d %s, at most %d allowed", n, status, allowed[status]))
		}
	}
	for _, w := range windows {
		switch took := w.Recovered - w.End; {
		case !w.Applied:
			unknown = append(unknown, fmt.Sprintf("%s of %s was not applied: %v", w.Fault, w.Target, w.Err))
		case w.Recovered == 0:
			failed = append(failed, fmt.Sprintf("%s did not recover from %s: %v", w.Target, w.Fault, w.Err))
		case took > s.Recovery:
			failed = append(failed, fmt.Sprintf("%s took %v to recover from %s, at most %v allowed",
				w.Target, took.Round(time.Millisecond), w.Fault, s.Recovery))
		}
	}
	return failed, unknown
}

// UnmarshalYAML decodes the steady-state mapping.
func (s *SteadyState) UnmarshalYAML(node ast.Node) error {
	type plain SteadyState
	if err := decode(node, (*plain)(s), "recovery"); err != nil {
		return err
	}
	if s.Lost < 0 || s.Stale < 0 || s.Corrupt < 0 || s.Resurrected < 0 {
		return complain(node, "", "want numbers of rows, not below 0")
	}
	return nil
}
