package observe

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/shown"
)

// Scrape reads a page of the Prometheus text format.
func Scrape(ctx context.Context, client *http.Client,
	url string) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", shown.Address(url), hop.WithoutURL(err))
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", shown.Address(url), hop.WithoutURL(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape %s: %s", shown.Address(url), response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", shown.Address(url), err)
	}
	return families, nil
}

// Label returns the value of a metric's label, "" without the label.
func Label(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// metricsProbe reads the programs' own pages: the heap of Go programs and of JVMs, the consumer's
// pool of connections to MongoDB, and the consumers' stages.
type metricsProbe struct {
	// urls are the pages of each component.
	urls   map[string][]string
	client http.Client
	// consumers are the names of the consumers, before is the stages in the sample before.
	consumers []string
	before    []ConsumerStages
}

func (p *metricsProbe) close() { p.client.CloseIdleConnections() }

func (p *metricsProbe) sample(ctx context.Context, s *Sampler) {
	now := make([]ConsumerStages, len(p.consumers))
	for component, urls := range p.urls {
		for _, url := range urls {
			families, err := Scrape(ctx, &p.client, url)
			if err != nil {
				continue
			}
			if n := slices.Index(p.consumers, component); n >= 0 {
				now[n] = stagesOf(families)
			}
			heap := families["go_memstats_heap_inuse_bytes"].GetMetric()
			heap = append(heap, matching(families["jvm_memory_used_bytes"], "area", "heap")...)
			for _, m := range heap {
				s.put(component, reports.GaugeHeap, "bytes", 0, m.GetGauge().GetValue())
			}
			inUse := matching(families[telemetry.MetricPoolConnections], "state", "in_use")
			most := families[telemetry.MetricPoolMaxConnections].GetMetric()
			if len(inUse) == 1 && len(most) == 1 {
				capacity := most[0].GetGauge().GetValue()
				if capacity <= 1 {
					capacity = 0 // a pool of one is meant to be in use
				}
				used := inUse[0].GetGauge().GetValue()
				s.put(component, reports.GaugeConnections, "", capacity, used)
			}
		}
	}
	p.putStages(s, now)
}

// putStages files the stages of the records since the sample before, of all consumers together. A
// consumer that did not answer leaves a gap, because its next answer covers the time of both.
func (p *metricsProbe) putStages(s *Sampler, now []ConsumerStages) {
	complete := !slices.ContainsFunc(now, func(c ConsumerStages) bool { return c.stages == nil })
	if complete && p.before != nil {
		for _, stage := range StagesBetween(p.before, now) {
			s.put("consumer", reports.StageGauge(stage.Stage, reports.GaugeMean), "ms", 0,
				stage.Mean)
			s.put("consumer", reports.StageGauge(stage.Stage, reports.GaugeP99), "ms", 0, stage.P99)
		}
	}
	if p.before = nil; complete {
		p.before = now
	}
}

// matching are a family's metrics with this label.
func matching(family *dto.MetricFamily, name, value string) (found []*dto.Metric) {
	for _, m := range family.GetMetric() {
		if Label(m, name) == value {
			found = append(found, m)
		}
	}
	return found
}
