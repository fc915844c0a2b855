package observers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/stack/alerts"
)

// The files of the source tree, of which the containers of a Compose stack mount the same.
const (
	collectorFile    = "stack/otel/collector.yaml"
	prometheusFile   = "stack/otel/prometheus.yaml"
	alertmanagerFile = "stack/alerts/alertmanager/webhook.yaml"
)

// replace returns the text of a file of the tree with each old text replaced; an old text that is
// not there is an error, because the file has changed.
func (o Options) replace(name string, pairs ...string) (string, error) {
	text, err := namedfile.Read(filepath.Join(o.Tree, filepath.FromSlash(name)), namedfile.Small)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			return "", fmt.Errorf("read %s: no %q", name, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(string(text)), nil
}

// writeFiles writes the configurations of the three programs into the folder.
func (o *Observers) writeFiles(options Options) error {
	rules := o.file("rules")
	if err := os.MkdirAll(rules, 0o700); err != nil {
		return err
	}
	server := []string{"alertmanager:9093", o.alertmanager.address, "localhost:9090",
		o.prometheus.address, "/etc/prometheus/rules", rules}
	manager := []string{"/run/secrets/webhook_url", o.file("webhook_url")}
	overlay := quietOverlay
	if options.Pace.Faster > 1 {
		server = append(server, "evaluation_interval: 5s",
			"evaluation_interval: "+alerts.Fast.String())
		manager = append(manager, "group_wait: 10s", "group_wait: 1s",
			"group_interval: 1m", "group_interval: 1s")
		overlay += fastOverlay
	}
	prometheus, err := options.replace(prometheusFile, server...)
	if err != nil {
		return err
	}
	alertmanager, err := options.replace(alertmanagerFile, manager...)
	if err != nil {
		return err
	}
	return o.folder.WriteFiles(map[string][]byte{
		own("prometheus.yaml"): []byte(prometheus), own("alertmanager.yaml"): []byte(alertmanager),
		own("collector.yaml"): []byte(overlay), own("webhook_url"): []byte(o.webhook.url),
	})
}

// quietOverlay sends nothing to a Loki or a Tempo, which do not run beside a stack of processes,
// and does not try for long to reach a Prometheus that has ended.
const quietOverlay = `
exporters:
  debug: {}
  prometheus_remote_write:
    timeout: 5s
    retry_on_failure: {max_interval: 1s, initial_interval: 1s, max_elapsed_time: 5s}
service:
  pipelines:
    traces: {exporters: [debug]}
    logs: {exporters: [debug]}
`

// fastOverlay looks as often as shortened rules need.
var fastOverlay = fmt.Sprintf(`
receivers:
  prometheus:
    config:
      global: {scrape_interval: %[1]v, scrape_timeout: %[1]v}
processors:
  batch: {timeout: 200ms}
`, alerts.Fast)

// writeRules writes the rules into the folder of the rules.
func (o *Observers) writeRules(pace alerts.Pace) error {
	files, err := pace.Rules()
	if err != nil {
		return err
	}
	rules := map[string][]byte{}
	for name, text := range files {
		rules[filepath.Join(own("rules"), name)] = []byte(text)
	}
	return o.folder.WriteFiles(rules)
}
