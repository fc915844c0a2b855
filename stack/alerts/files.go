package alerts

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// heading begins each written file.
const heading = "# Written from the table in stack/alerts by go test ./stack/alerts -update.\n"

// Files returns the text of every file of the table, by the path below stack.
func Files() (map[string]string, error) {
	all := All()
	files := map[string]string{"alerts/RUNBOOK.md": runbook(all)}
	for path, content := range map[string]any{
		"alerts/prometheus/rules/alerts.yaml":   prometheusRules(all),
		"alerts/prometheus/rules/switches.yaml": switches(),
		"alerts/prometheus/tests.yaml":          trials(all, "rules/alerts.yaml"),
		"alerts/alertmanager/all-channels.yaml": alertmanager(all, slack, email, pagerduty,
			webhook),
		"alerts/alertmanager/webhook.yaml":                  alertmanager(all, webhook),
		"grafana/provisioning/alerting/rules.yaml":          grafanaAlerts(all),
		"grafana/provisioning/alerting/contact-points.yaml": grafanaContacts(),
		"grafana/provisioning/alerting/policies.yaml":       grafanaPolicies(),
	} {
		text, err := yaml.MarshalWithOptions(content, yaml.UseLiteralStyleIfMultiline(true))
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", path, err)
		}
		files[path] = heading + string(text)
	}
	return files, nil
}
