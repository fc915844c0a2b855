package alerts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The files of Grafana's provisioning of alerts.
// https://grafana.com/docs/grafana/latest/alerting/set-up/provision-alerting-resources/
type (
	grafanaRules struct {
		APIVersion int            `yaml:"apiVersion"`
		Groups     []grafanaGroup `yaml:"groups"`
	}
	grafanaGroup struct {
		OrgID    int           `yaml:"orgId"`
		Name     string        `yaml:"name"`
		Folder   string        `yaml:"folder"`
		Interval string        `yaml:"interval"`
		Rules    []grafanaRule `yaml:"rules"`
	}
	grafanaRule struct {
		UID         string            `yaml:"uid"`
		Title       string            `yaml:"title"`
		Condition   string            `yaml:"condition"`
		Data        []grafanaQuery    `yaml:"data"`
		NoDataState string            `yaml:"noDataState"`
		ErrorState  string            `yaml:"execErrState"`
		For         string            `yaml:"for"`
		Labels      map[string]string `yaml:"labels"`
		Annotations map[string]string `yaml:"annotations"`
		IsPaused    bool              `yaml:"isPaused"`
	}
	grafanaQuery struct {
		RefID  string         `yaml:"refId"`
		Range  grafanaRange   `yaml:"relativeTimeRange"`
		Source string         `yaml:"datasourceUid"`
		Model  map[string]any `yaml:"model"`
	}
	grafanaRange struct {
		From int `yaml:"from"`
		To   int `yaml:"to"`
	}
	contactPoints struct {
		APIVersion int            `yaml:"apiVersion"`
		Points     []contactPoint `yaml:"contactPoints"`
	}
	contactPoint struct {
		OrgID     int        `yaml:"orgId"`
		Name      string     `yaml:"name"`
		Receivers []notifier `yaml:"receivers"`
	}
	notifier struct {
		UID      string            `yaml:"uid"`
		Type     string            `yaml:"type"`
		Settings map[string]string `yaml:"settings"`
	}
	policies struct {
		APIVersion int      `yaml:"apiVersion"`
		Policies   []policy `yaml:"policies"`
	}
	policy struct {
		OrgID    int        `yaml:"orgId,omitempty"`
		Receiver string     `yaml:"receiver"`
		Matchers [][]string `yaml:"object_matchers,omitempty"`
		timing   `yaml:",inline"`
		Routes   []policy `yaml:"routes,omitempty"`
	}
	// timing is of Grafana's policies and of the Alertmanager's routes alike.
	timing struct {
		GroupBy  []string `yaml:"group_by,omitempty"`
		Wait     string   `yaml:"group_wait,omitempty"`
		Interval string   `yaml:"group_interval,omitempty"`
		Repeat   string   `yaml:"repeat_interval,omitempty"`
	}
)

// The data sources' UIDs in stack/grafana/provisioning/datasources.
const (
	prometheusUID = "prometheus"
	lokiUID       = "loki"
)

// grafanaAlerts returns the same alerts for Grafana. A query without a result is the good state:
// "no data" means OK everywhere, because the alerts on absence watch over the queries.
func grafanaAlerts(all []Alert) grafanaRules {
	group := grafanaGroup{OrgID: 1, Name: "cdclab", Folder: "cdclab", Interval: "15s"}
	for _, a := range all {
		group.Rules = append(group.Rules, grafanaRule{
			UID: "cdclab-" + strings.ToLower(a.Name), Title: a.Name, Condition: "C",
			Data: a.grafanaData(all), NoDataState: "OK", ErrorState: "Error",
			For: promDuration(a.For), Labels: a.labels(), Annotations: a.annotations(grafanaText),
		})
	}
	return grafanaRules{1, []grafanaGroup{group}}
}

// grafanaData are the queries of an alert, and the condition that there is a result.
func (a Alert) grafanaData(all []Alert) []grafanaQuery {
	data := []grafanaQuery{a.grafanaQuery("A", a.unlessSilenced(all))}
	for _, name := range slices.Sorted(maps.Keys(a.More)) {
		data = append(data, a.grafanaQuery(name, a.More[name]))
	}
	return append(data, grafanaQuery{RefID: "C", Range: grafanaRange{600, 0}, Source: "__expr__",
		Model: map[string]any{"refId": "C", "type": "threshold", "expression": "A",
			"conditions": []any{map[string]any{
				"evaluator": map[string]any{"type": "gt", "params": []int{-1}}}}}})
}

func (a Alert) grafanaQuery(id, query string) grafanaQuery {
	source := prometheusUID
	model := map[string]any{"refId": id, "expr": query, "instant": true, "range": false}
	if a.Loki {
		source = lokiUID
		model = map[string]any{"refId": id, "expr": query, "queryType": "instant"}
	}
	return grafanaQuery{id, grafanaRange{600, 0}, source, model}
}

// unlessSilenced is the query without anything that another alert explains: Grafana's own notifier
// has no inhibition.
func (a Alert) unlessSilenced(all []Alert) string {
	query := a.Query
	for _, s := range a.SilencedBy {
		if by, is := find(all, s.By); is {
			query = fmt.Sprintf("(%s)\nunless on (%s) (%s)", query, strings.Join(s.Equal, ", "),
				by.Query)
		}
	}
	return query
}

// grafanaText is a placeholder in Grafana's templates.
func grafanaText(a Alert, name, format string) string {
	switch _, more := a.More[name]; {
	case more:
		return fmt.Sprintf("{{ %s .Values.%s.Value }}", format, name)
	case name == "value":
		return fmt.Sprintf("{{ %s .Values.A.Value }}", format)
	}
	return fmt.Sprintf("{{ .Labels.%s }}", name)
}

// grafanaContacts names the channels of each severity; secrets come from the environment, whose
// variables Grafana's image fills from files (GF_..._URL__FILE).
func grafanaContacts() contactPoints {
	file := contactPoints{APIVersion: 1}
	for _, r := range routes {
		point := contactPoint{OrgID: 1, Name: r.receiver()}
		for _, channel := range r.channels {
			uid := fmt.Sprintf("cdclab-%s-%s", r.severity, channel)
			point.Receivers = append(point.Receivers, notifier{uid, channel,
				map[string]map[string]string{
					slack:     {"url": "$GF_CDCLAB_SLACK_URL"},
					email:     {"addresses": "$GF_CDCLAB_EMAIL"},
					pagerduty: {"integrationKey": "$GF_CDCLAB_PAGERDUTY_KEY"},
					webhook:   {"url": "$GF_CDCLAB_WEBHOOK_URL"},
				}[channel]})
		}
		file.Points = append(file.Points, point)
	}
	return file
}

// grafanaPolicies sends each severity to its contact point, and anything else to the warnings'.
func grafanaPolicies() policies {
	root := policy{OrgID: 1, Receiver: routeOf(Warning).receiver(), timing: grouping}
	for _, r := range routes {
		root.Routes = append(root.Routes, policy{Receiver: r.receiver(),
			Matchers: [][]string{{"severity", "=", string(r.severity)}},
			timing:   timing{Repeat: r.repeat}})
	}
	return policies{1, []policy{root}}
}
