package alerts

import (
	"fmt"
	"regexp"
	"strings"
)

// The files of rules. https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
type (
	ruleFile struct {
		Groups []ruleGroup `yaml:"groups"`
	}
	ruleGroup struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	}
	rule struct {
		Record      string            `yaml:"record,omitempty"`
		Alert       string            `yaml:"alert,omitempty"`
		Expr        string            `yaml:"expr"`
		For         string            `yaml:"for,omitempty"`
		Labels      map[string]string `yaml:"labels,omitempty"`
		Annotations map[string]string `yaml:"annotations,omitempty"`
	}
)

// prometheusRules returns the alerts that a Prometheus evaluates.
func prometheusRules(all []Alert) ruleFile {
	group := ruleGroup{Name: "cdclab"}
	for _, a := range all {
		if a.Loki {
			continue
		}
		r := rule{Alert: a.Name, Expr: a.Query, Labels: a.labels(),
			Annotations: a.annotations(prometheusText)}
		if a.For > 0 {
			r.For = promDuration(a.For)
		}
		group.Rules = append(group.Rules, r)
	}
	return ruleFile{[]ruleGroup{group}}
}

// switches is the file that a person changes.
func switches() ruleFile {
	return ruleFile{[]ruleGroup{{Name: "cdclab-switches",
		Rules: []rule{{Record: zeroTolerance, Expr: "vector(0)"}}}}}
}

func (a Alert) labels() map[string]string {
	labels := map[string]string{"severity": string(a.Severity)}
	if a.Component != "" {
		labels["component"] = a.Component
	}
	return labels
}

// annotations are the texts, with the templates of one program.
func (a Alert) annotations(template func(a Alert, name, format string) string) map[string]string {
	return map[string]string{
		"summary": a.fill(a.Summary, template), "action": a.fill(a.Action, template),
		"dashboard": "/d/" + a.Dashboard,
		"runbook":   "stack/alerts/RUNBOOK.md#" + strings.ToLower(a.Name),
	}
}

// placeholder is {name}, {name%} or {name@s} in a text.
var placeholder = regexp.MustCompile(`\{(\w+)(%|@s)?\}`)

// formats are the functions of both programs' templates.
var formats = map[string]string{"": "humanize", "%": "humanizePercentage", "@s": "humanizeDuration"}

func (a Alert) fill(text string, template func(a Alert, name, format string) string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		parts := placeholder.FindStringSubmatch(found)
		return template(a, parts[1], formats[parts[2]])
	})
}

// prometheusText is a placeholder in the templates of Prometheus. Nothing has a dollar sign,
// because Grafana reads a dollar sign as a variable of the environment.
func prometheusText(a Alert, name, format string) string {
	switch query, more := a.More[name]; {
	case more:
		return fmt.Sprintf("{{ with query `%s` }}{{ . | first | value | %s }}{{ end }}", query,
			format)
	case name == "value":
		return fmt.Sprintf("{{ %s .Value }}", format)
	}
	return fmt.Sprintf("{{ .Labels.%s }}", name)
}
