package chaos

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
)

// Text returns the Plan as YAML that Load reads. Members without a value, and parameters with their
// default, are left out.
func (p *Plan) Text() ([]byte, error) {
	plan := yaml.MapSlice{{Key: "name", Value: p.Name}}
	add := func(to *yaml.MapSlice, key string, value any, there bool) {
		if there {
			*to = append(*to, yaml.MapItem{Key: key, Value: value})
		}
	}
	add(&plan, "description", p.Description, p.Description != "")
	var load yaml.MapSlice
	add(&load, "rate", p.Load.Rate, p.Load.Rate > 0)
	add(&load, "duration", p.Load.Duration.String(), p.Load.Duration > 0)
	add(&plan, "load", load, len(load) > 0)
	add(&plan, "consumers", p.Consumers, p.Consumers > 0)
	steady := yaml.MapSlice{{Key: "recovery", Value: p.SteadyState.Recovery.String()}}
	add(&steady, "p95", p.SteadyState.P95.String(), p.SteadyState.P95 > 0)
	add(&steady, "lag", p.SteadyState.Lag, p.SteadyState.Lag > 0)
	add(&plan, "steady-state", steady, true)
	var expected yaml.MapSlice
	add(&expected, "steady-within", p.Expectations.SteadyWithin.String(),
		p.Expectations.SteadyWithin > 0)
	add(&expected, "degradation", p.Expectations.Degradation, p.Expectations.Degradation > 0)
	add(&expected, "lag", p.Expectations.Lag, p.Expectations.Lag > 0)
	add(&plan, "expectations", expected, len(expected) > 0)
	var method []yaml.MapSlice
	for i := range p.Method {
		f := &p.Method[i]
		one := yaml.MapSlice{{Key: "at", Value: f.At.String()}, {Key: "fault", Value: f.Kind},
			{Key: "target", Value: f.Target}}
		add(&one, "for", f.For.String(), f.For > 0)
		add(&one, "restart-after", f.RestartAfter.String(), f.RestartAfter > 0)
		add(&one, "repeat", fmt.Sprintf("every %s for %s", f.Repeat.Every.String(),
			f.Repeat.For.String()), f.Repeat.Every > 0)
		for _, parameter := range f.line().Parameters {
			value := f.With[parameter.Name]
			add(&one, parameter.Name, value, value != parameter.Default)
		}
		method = append(method, one)
	}
	add(&plan, "method", method, true)
	var rollbacks []yaml.MapSlice
	for _, r := range p.Rollbacks {
		rollbacks = append(rollbacks, yaml.MapSlice{{Key: "action", Value: r.Action},
			{Key: "target", Value: r.Target}})
	}
	add(&plan, "rollbacks", rollbacks, len(rollbacks) > 0)
	text, err := yaml.Marshal(plan)
	if err != nil {
		return nil, fmt.Errorf("write plan %s: %w", p.Name, err)
	}
	return text, nil
}

// Kinds lists the names of the Plan's faults, each once, sorted.
func (p *Plan) Kinds() []string {
	var names []string
	for _, f := range p.Method {
		names = append(names, f.Kind)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
