// Package toolkit writes plans as experiments of the Chaos Toolkit, and reads such experiments
// again. The Toolkit has no load and no table check: the experiment runs the plan with `cdclab
// bench`, and asks `cdclab report` for the verdict. Format:
// https://chaostoolkit.org/reference/api/experiment/. Start reading at Export.
package toolkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/cdclab/cdclab/chaos"
)

// experiment has the members of the format that the lab writes, in the format's order.
type experiment struct {
	Version     string      `json:"version"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Tags        []string    `json:"tags"`
	Runtime     runtime     `json:"runtime"`
	Hypothesis  hypothesis  `json:"steady-state-hypothesis"`
	Method      []activity  `json:"method"`
	Rollbacks   []activity  `json:"rollbacks"`
	Extensions  []extension `json:"extensions"`
}

// runtime has the hypothesis asked after the method alone, because no run is there before.
type runtime struct {
	Hypothesis struct {
		Strategy string `json:"strategy"`
	} `json:"hypothesis"`
	Rollbacks struct {
		Strategy string `json:"strategy"`
	} `json:"rollbacks"`
}

type hypothesis struct {
	Title  string     `json:"title"`
	Probes []activity `json:"probes"`
}

type activity struct {
	Type string `json:"type"`
	Name string `json:"name"`
	// Tolerance is the exit code of a probe that holds; nil for an action.
	Tolerance *int     `json:"tolerance,omitempty"`
	Provider  provider `json:"provider"`
}

type provider struct {
	Type      string   `json:"type"`
	Path      string   `json:"path"`
	Arguments []string `json:"arguments"`
}

type extension struct {
	Name string          `json:"name"`
	Plan json.RawMessage `json:"plan"`
}

// Export returns the plan as an experiment. file is where the experiment will be, because bench
// reads the plan from there; out is the folder for the run.
func Export(plan *chaos.Plan, file, out string) ([]byte, error) {
	text, err := plan.Text()
	if err != nil {
		return nil, err
	}
	whole, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("export plan %s: %w", plan.Name, err)
	}
	pass := 0
	e := experiment{
		Version: "1.0.0", Title: plan.Name, Description: plan.Description,
		Tags: append([]string{"cdc"}, plan.Kinds()...),
		Hypothesis: hypothesis{
			Title: fmt.Sprintf("no row is lost or stale, and each part is back within %v",
				plan.SteadyState.Recovery),
			Probes: []activity{{Type: "probe", Name: "verdict of the run", Tolerance: &pass,
				Provider: provider{"process", "cdclab", []string{"report", out + "/run.json"}}}},
		},
		Method: []activity{{Type: "action", Name: method(plan), Provider: provider{"process",
			"cdclab", []string{"bench", "smoke", "--chaos", file, "--out", out}}}},
		Rollbacks:  []activity{},
		Extensions: []extension{{chaos.Extension, whole}},
	}
	if e.Description == "" {
		e.Description = plan.Name
	}
	e.Runtime.Hypothesis.Strategy, e.Runtime.Rollbacks.Strategy = "after-method-only", "always"
	made, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("export plan %s: %w", plan.Name, err)
	}
	return append(made, '\n'), nil
}

// method names the only action by the plan's faults and rollbacks. The lab runs the rollbacks, too,
// because the Toolkit has nothing to roll back after the end of the lab's stack.
func method(plan *chaos.Plan) string {
	var all []string
	for _, f := range plan.Method {
		all = append(all, fmt.Sprintf("%s %s at %v", f.Kind, f.Target, f.At))
	}
	name := "load with " + strings.Join(all, ", ")
	all = nil
	for _, r := range plan.Rollbacks {
		all = append(all, r.Action+" "+r.Target)
	}
	if len(all) > 0 {
		name += "; then " + strings.Join(all, ", ")
	}
	return name
}

// ErrForeign is an experiment that was not written by Export. Its actions are Python of others,
// which the lab does not run.
var ErrForeign = errors.New("the experiment has no extension " + chaos.Extension +
	": only experiments of `cdclab chaos export` become plans")

// Import returns the plan in an experiment. name is the file, for errors.
func Import(name string, text []byte) (*chaos.Plan, error) {
	var e struct {
		Extensions []extension `json:"extensions"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("import %s: %w", name, err)
	}
	if !slices.ContainsFunc(e.Extensions, func(x extension) bool {
		return x.Name == chaos.Extension && len(x.Plan) > 0
	}) {
		return nil, fmt.Errorf("import %s: %w", name, ErrForeign)
	}
	plan, err := chaos.Parse(name, text)
	if err != nil {
		return nil, fmt.Errorf("import the extension %s of %w", chaos.Extension, err)
	}
	return plan, nil
}
