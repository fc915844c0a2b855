package consumertest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Lines are the log's lines with the message.
func Lines(t *testing.T, output *strings.Builder, message string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for text := range strings.Lines(output.String()) {
		line := map[string]any{}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line["msg"] == message {
			all = append(all, line)
		}
	}
	return all
}

// Gathered returns the metrics of a registry by name.
func Gathered(t testing.TB, from prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, family := range families {
		all[family.GetName()] = family
	}
	return all
}

// EventCount sums the metric of events over the operations.
func EventCount(t testing.TB, from prometheus.Gatherer, entity, outcome string) (sum float64) {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "cdc_consumer_events_total" {
			continue
		}
		for _, metric := range family.Metric {
			if LabelOf(metric, "entity") == entity && LabelOf(metric, "outcome") == outcome {
				sum += metric.Counter.GetValue()
			}
		}
	}
	return sum
}

// ValueOf is the value of a gauge or a counter.
func ValueOf(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var read dto.Metric
	if err := m.Write(&read); err != nil {
		t.Fatal(err)
	}
	return read.Gauge.GetValue() + read.Counter.GetValue()
}

// GaugeOf is the value of a gauge without labels, and whether the gauge tells a value at all.
func GaugeOf(t testing.TB, from prometheus.Gatherer, name string) (value float64, told bool) {
	t.Helper()
	family := Gathered(t, from)[name]
	if family == nil {
		return 0, false
	}
	return family.Metric[0].Gauge.GetValue(), true
}

// LabelOf returns the value of a label, "" where there is none.
func LabelOf(metric *dto.Metric, name string) string {
	for _, l := range metric.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// ErrAway is the error of a server that is away, an error that may pass.
var ErrAway = errors.New("connection refused")
