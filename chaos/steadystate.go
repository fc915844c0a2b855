package chaos

import (
	"time"

	"github.com/goccy/go-yaml/ast"
)

// SteadyState is what must hold of a Run under the Plan, besides what must hold of every Run: that no
// row is lost, stale, resurrected or otherwise wrong.
type SteadyState struct {
	// Recovery is how soon after the end of each Fault its target must be healthy again.
	Recovery time.Duration `yaml:"recovery"`
}

// UnmarshalYAML decodes the steady-state mapping.
func (s *SteadyState) UnmarshalYAML(node ast.Node) error {
	type plain SteadyState
	return decode(node, (*plain)(s), "recovery")
}
