// Package observers runs a Prometheus with the rules of the alerts, an Alertmanager and an
// OpenTelemetry Collector beside a pipeline of processes, and receives the Alertmanager's
// notifications. The package measures nothing, and the pipeline does without the package. Start
// reading at Start.
package observers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cdclab/cdclab/reports/wholefile"
	"github.com/cdclab/cdclab/stack/alerts"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// Options say what is observed and how.
type Options struct {
	// Tree is the root of the source tree with the programs' configurations.
	Tree string
	// CacheDir keeps installed programs.
	CacheDir string
	Pace     alerts.Pace
	// Consumers, Kafka and Connect are the addresses of pages of metrics, http://host:port/metrics.
	Consumers      []string
	Kafka, Connect string
	// Say receives a line for each alert.
	Say func(string)
}

// Names of the parts.
const (
	Prometheus   = string(programs.Prometheus)
	Alertmanager = string(programs.Alertmanager)
	Collector    = "otel-collector"
)

// needed are the programs by the parts' names.
var needed = map[string]programs.Observer{Prometheus: programs.Prometheus,
	Alertmanager: programs.Alertmanager, Collector: programs.Otelcol}

// Find returns the programs by the parts' names. The error says how to install a missing program.
func Find(cacheDir string) (map[string]string, error) {
	found := map[string]string{}
	for _, name := range []string{Prometheus, Alertmanager, Collector} {
		path, err := programs.FindObserver(needed[name], cacheDir)
		if errors.Is(err, programs.ErrNoObserver) {
			return nil, fmt.Errorf("--observe needs %s, which is not installed: "+
				"`./cdclab fetch observers` builds the programs (15 minutes, once)", needed[name])
		}
		if err != nil {
			return nil, err
		}
		found[name] = path
	}
	return found, nil
}

// Part is one of the three programs: a Component of a Stack in all but the list of a pipeline's
// parts, so that no number of the pipeline has a share of the observers.
type Part struct {
	*process.Child
	address string
	command process.Command
	health  string
}

// Start starts the program and returns when the program serves.
func (p *Part) Start(ctx context.Context) error { return p.Launch(ctx, p.command, p.answers) }

func (p *Part) answers(ctx context.Context) error { return process.Answers(ctx, p.health) }

// Health is nil when the program serves.
func (p *Part) Health(ctx context.Context) error {
	if err := p.Serves(); err != nil {
		return err
	}
	return p.answers(ctx)
}

// Observers are the running programs; nil is none.
type Observers struct {
	folder                              *process.Folder
	webhook                             *webhook
	prometheus, alertmanager, collector *Part
	// otlp is the address of the collector's OTLP over HTTP.
	otlp string
}

// own names a file of the observers among the files of the folder.
func own(name string) string { return "observe-" + name }

func (o *Observers) file(name string) string { return o.folder.File(own(name)) }

// Start starts the programs, whose data and logs are in the folder, and returns when the Prometheus
// has the metrics of the consumers and evaluates the rules. On an error all is ended again.
func Start(ctx context.Context, folder *process.Folder, options Options) (*Observers, error) {
	found, err := Find(options.CacheDir)
	if err != nil {
		return nil, err
	}
	o := &Observers{folder: folder}
	if o.webhook, err = newWebhook(options.Say); err != nil {
		return nil, err
	}
	if err = o.prepare(options, found); err == nil {
		err = o.start(ctx, options)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the observers: %w", err), o.Stop(ctx))
	}
	return o, nil
}

// prepare chooses the ports and writes the configurations.
func (o *Observers) prepare(options Options, found map[string]string) error {
	ports := map[string]int{}
	for _, name := range []string{Prometheus, Alertmanager, "GRPC", "HTTP", "HEALTH", "METRICS"} {
		var err error
		if ports[name], err = process.FreePort(); err != nil {
			return err
		}
	}
	made := func(name string, port int, health string) *Part {
		address := process.Loopback(port)
		return &Part{Child: process.NewChild(name, o.folder, syscall.SIGTERM), address: address,
			command: process.Command{Path: found[name]}, health: "http://" + address + health}
	}
	o.prometheus = made(Prometheus, ports[Prometheus], "/-/ready")
	o.alertmanager = made(Alertmanager, ports[Alertmanager], "/-/ready")
	o.collector = made(Collector, ports["HEALTH"], "/")
	o.otlp = "http://" + process.Loopback(ports["HTTP"])
	o.prometheus.command.Args = []string{
		"--config.file=" + o.file("prometheus.yaml"),
		"--storage.tsdb.path=" + o.file("prometheus"),
		"--web.listen-address=" + o.prometheus.address, "--web.enable-remote-write-receiver",
		"--web.enable-otlp-receiver", "--query.lookback-delta=" + options.lookback().String(),
		"--enable-feature=exemplar-storage,native-histograms",
	}
	o.alertmanager.command.Args = []string{
		"--config.file=" + o.file("alertmanager.yaml"),
		"--storage.path=" + o.file("alertmanager"),
		"--web.listen-address=" + o.alertmanager.address, "--cluster.listen-address=",
	}
	o.collector.command.Args = []string{
		"--config=" + filepath.Join(options.Tree, filepath.FromSlash(collectorFile)),
		"--config=" + o.file("collector.yaml"),
	}
	o.collector.command.Env = []string{"CDC_OTEL_LISTEN=127.0.0.1", "CDC_OTEL_SELF=127.0.0.1",
		"CDC_PROMETHEUS=http://" + o.prometheus.address, "CDC_OTEL_DATA=" + o.file("collector"),
		"CDC_LOG_FILES=" + o.file("none/*.log"), "CDC_SCRAPE_POSTGRES=[]",
		"CDC_SCRAPE_MONGODB=[]"}
	for _, name := range []string{"GRPC", "HTTP", "HEALTH", "METRICS"} {
		o.collector.command.Env = append(o.collector.command.Env,
			fmt.Sprintf("CDC_OTEL_%s_PORT=%d", name, ports[name]))
	}
	for name, pages := range map[string][]string{"CONSUMER": options.Consumers,
		"KAFKA": {options.Kafka}, "CONNECT": {options.Connect}} {
		o.collector.command.Env = append(o.collector.command.Env,
			"CDC_SCRAPE_"+name+"=["+strings.Join(hosts(pages), ",")+"]")
	}
	return o.writeFiles(options)
}

// lookback is how long Prometheus takes a series for present after its last sample: some scrapes. A
// collector that died marks no series as ended, and with Prometheus' own 5 minutes an alert on an
// absence would come 4 minutes late.
func (o Options) lookback() time.Duration {
	if o.Pace.Faster > 1 {
		return 10 * alerts.Fast
	}
	return time.Minute
}

// hosts are the hosts of pages; a page "" is none.
func hosts(pages []string) []string {
	var all []string
	for _, page := range pages {
		if u, err := url.Parse(page); err == nil && u.Host != "" {
			all = append(all, u.Host)
		}
	}
	return all
}

// start starts the programs. The rules come last: before the first samples every alert on an
// absence would fire.
func (o *Observers) start(ctx context.Context, options Options) error {
	for _, p := range o.Parts() {
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, process.StartGrace)
	defer cancel()
	server := o.prometheus.Current()
	for _, query := range firstSamples(options) {
		err := server.Ready(ctx, func(ctx context.Context) error { return o.has(ctx, query) })
		if err != nil {
			return err
		}
	}
	if err := o.writeRules(options.Pace); err != nil {
		return err
	}
	self, err := process.Find(server.PID())
	if err == nil {
		err = self.Signal(syscall.SIGHUP)
	}
	if err != nil {
		return fmt.Errorf("load the rules: %w", err)
	}
	return server.Ready(ctx, func(ctx context.Context) error {
		return o.has(ctx, "cdclab:zero_tolerance")
	})
}

// firstSamples are queries with an answer when every source of metrics is known.
func firstSamples(options Options) []string {
	queries := []string{`up{job="otel-collector"} == 1`}
	for job, pages := range map[string][]string{"cdc-consumer": options.Consumers,
		"kafka": {options.Kafka}, "connect": {options.Connect}} {
		if n := len(hosts(pages)); n > 0 {
			queries = append(queries, fmt.Sprintf("count(up{job=%q} == 1) == %d", job, n))
		}
	}
	return queries
}

// has is nil if the Prometheus answers the query with a sample.
func (o *Observers) has(ctx context.Context, query string) error {
	text, err := process.Page(ctx, o.PrometheusURL()+"/api/v1/query?query="+
		url.QueryEscape(query))
	if err != nil {
		return err
	}
	var answer struct {
		Data struct{ Result []any }
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("ask Prometheus for %s: %w", query, err)
	}
	if len(answer.Data.Result) == 0 {
		return fmt.Errorf("no sample of %s in Prometheus", query)
	}
	return nil
}

// Parts are the programs, in the order of their start.
func (o *Observers) Parts() []*Part {
	if o == nil {
		return nil
	}
	return []*Part{o.alertmanager, o.prometheus, o.collector}
}

// PrometheusURL is the address of the Prometheus.
func (o *Observers) PrometheusURL() string { return "http://" + o.prometheus.address }

// Pages are the addresses of the programs for a person, by what they are.
func (o *Observers) Pages() map[string]string {
	if o == nil {
		return nil
	}
	return map[string]string{"prometheus": o.PrometheusURL(), "OTLP": o.otlp,
		"alertmanager": "http://" + o.alertmanager.address}
}

// Alerts are the alerts so far, in the order of their notifications, each with the fault before.
func (o *Observers) Alerts(faults []Fault) []Alert {
	if o == nil {
		return nil
	}
	return explain(o.webhook.alerts(), faults)
}

// alertsName is the file of a run's alerts.
const alertsName = "alerts.json"

// Save writes the alerts into the folder of a run, and returns a line for each.
func (o *Observers) Save(folder string, faults []Fault) ([]string, error) {
	if o == nil {
		return nil, nil
	}
	all := o.Alerts(faults)
	lines := []string{fmt.Sprintf("%d alerts fired (%s)", len(all), alertsName)}
	for _, a := range all {
		lines = append(lines, a.String())
	}
	text, err := json.MarshalIndent(map[string]any{"alerts": append([]Alert{}, all...)}, "", "  ")
	if err == nil {
		err = wholefile.Write(filepath.Join(folder, alertsName), append(text, '\n'))
	}
	if err != nil {
		return lines, fmt.Errorf("keep the alerts: %w", err)
	}
	return lines, nil
}

// Stop ends the programs, the collector first: a collector without its Prometheus waits at its end.
func (o *Observers) Stop(ctx context.Context) error {
	if o == nil {
		return nil
	}
	var failed []error
	for _, p := range slices.Backward(o.Parts()) {
		if p != nil { // a part may be missing after an error
			failed = append(failed, p.Stop(ctx))
		}
	}
	return errors.Join(append(failed, o.webhook.close(ctx))...)
}
