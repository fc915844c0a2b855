package alerts

import (
	"slices"
	"strings"
)

// The channels, by Grafana's names.
const (
	slack     = "slack"
	email     = "email"
	pagerduty = "pagerduty"
	webhook   = "webhook"
)

// route is who is told of a severity, and how often again.
type route struct {
	severity Severity
	channels []string
	repeat   string
}

var routes = []route{
	{Critical, []string{pagerduty, slack, email, webhook}, "1h"},
	{Warning, []string{slack, webhook}, "4h"},
	{Info, []string{email, webhook}, "24h"},
}

func (r route) receiver() string { return "cdclab-" + string(r.severity) }

func routeOf(s Severity) route {
	return routes[slices.IndexFunc(routes, func(r route) bool { return r.severity == s })]
}

// grouping makes one message of the partitions of a topic, and of the columns of a table.
var grouping = timing{[]string{"alertname", "component", "topic", "entity"}, "10s", "1m", "4h"}

// The configuration of an Alertmanager.
// https://prometheus.io/docs/alerting/latest/configuration/
type (
	managerFile struct {
		Global    map[string]string `yaml:"global,omitempty"`
		Route     managerRoute      `yaml:"route"`
		Inhibit   []inhibition      `yaml:"inhibit_rules"`
		Receivers []managerReceiver `yaml:"receivers"`
	}
	managerRoute struct {
		Receiver string   `yaml:"receiver"`
		Matchers []string `yaml:"matchers,omitempty"`
		timing   `yaml:",inline"`
		Routes   []managerRoute `yaml:"routes,omitempty"`
	}
	inhibition struct {
		Source []string `yaml:"source_matchers"`
		Target []string `yaml:"target_matchers"`
		Equal  []string `yaml:"equal,omitempty"`
	}
	managerReceiver struct {
		Name      string           `yaml:"name"`
		Slack     []map[string]any `yaml:"slack_configs,omitempty"`
		Email     []map[string]any `yaml:"email_configs,omitempty"`
		PagerDuty []map[string]any `yaml:"pagerduty_configs,omitempty"`
		Webhook   []map[string]any `yaml:"webhook_configs,omitempty"`
	}
)

// secrets is the folder of the files with the channels' secrets.
const secrets = "/run/secrets/"

// alertmanager returns the configuration with the channels named. A channel without a secret only
// fails: therefore a file for the webhook alone stands beside the file for all.
func alertmanager(all []Alert, channels ...string) managerFile {
	file := managerFile{
		Route:   managerRoute{Receiver: routeOf(Warning).receiver(), timing: grouping},
		Inhibit: inhibitions(all),
	}
	if slices.Contains(channels, email) {
		file.Global = map[string]string{
			"smtp_smarthost": "smtp.example.org:587", "smtp_from": "cdclab@example.org",
			"smtp_auth_username":      "cdclab@example.org",
			"smtp_auth_password_file": secrets + "smtp_password",
		}
	}
	for _, r := range routes {
		file.Route.Routes = append(file.Route.Routes, managerRoute{Receiver: r.receiver(),
			Matchers: []string{`severity="` + string(r.severity) + `"`},
			timing:   timing{Repeat: r.repeat}})
		file.Receivers = append(file.Receivers, r.alertmanagerReceiver(channels))
	}
	return file
}

func (r route) alertmanagerReceiver(channels []string) managerReceiver {
	made := managerReceiver{Name: r.receiver()}
	const title = `[{{ .Status }}] {{ .CommonLabels.alertname }} {{ .CommonLabels.component }}`
	const text = `{{ range .Alerts }}{{ .Annotations.summary }}. {{ .Annotations.action }} ` +
		`({{ .Annotations.runbook }}) {{ end }}`
	for _, channel := range r.channels {
		if !slices.Contains(channels, channel) {
			continue
		}
		switch channel {
		case slack:
			made.Slack = []map[string]any{{"api_url_file": secrets + "slack_url",
				"send_resolved": true, "title": title, "text": text}}
		case email:
			made.Email = []map[string]any{{"to": "oncall@example.org", "send_resolved": true,
				"headers": map[string]string{"subject": title}, "text": text}}
		case pagerduty:
			made.PagerDuty = []map[string]any{{"routing_key_file": secrets + "pagerduty_key",
				"severity": "critical", "description": title}}
		case webhook:
			made.Webhook = []map[string]any{{"url_file": secrets + "webhook_url",
				"send_resolved": true}}
		}
	}
	return made
}

// inhibitions are the silences of the table: one rule for each silencing alert and set of labels.
func inhibitions(all []Alert) []inhibition {
	var rules []inhibition
	names := map[string][]string{}
	var order []string
	for _, a := range all {
		for _, s := range a.SilencedBy {
			key := s.By + " " + strings.Join(s.Equal, " ")
			if names[key] == nil {
				order = append(order, key)
			}
			names[key] = append(names[key], a.Name)
		}
	}
	for _, key := range order {
		parts := strings.Fields(key)
		rules = append(rules, inhibition{[]string{`alertname="` + parts[0] + `"`},
			[]string{`alertname=~"` + strings.Join(names[key], "|") + `"`}, parts[1:]})
	}
	return rules
}
