package experiments

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// stageMetric is the consumer's histogram of its stages (consumer/metrics.go), and consumerStages
// what its label values are called in a Run.
const stageMetric = "cdc_consumer_stage_seconds"

var consumerStages = map[string]string{
	"source_to_connector": reports.SourceToConnector,
	"connector_to_kafka":  reports.ConnectorToKafka,
	"kafka_to_consumer":   reports.KafkaToConsumer,
	"consumer_to_applied": reports.ConsumerToApplied,
}

// bucket is one bucket of a cumulative histogram: how many samples took at most its upper bound.
type bucket struct {
	upperSeconds float64
	count        uint64
}

// histogram is what one scrape says of one stage.
type histogram struct {
	count      uint64
	sumSeconds float64
	buckets    []bucket
}

// startMetric tells one process of the consumer from the next.
const startMetric = "process_start_time_seconds"

// consumerMetrics are the stages of one scrape by label value, and the process they are of; the zero
// value is a scrape that failed.
type consumerMetrics struct {
	stages       map[string]histogram
	startSeconds float64
}

// scrapeConsumers reads the stages of each consumer. A failure leaves that consumer's out of the
// Run, with a warning: they attribute, nothing is decided on them.
func (s *session) scrapeConsumers(ctx context.Context) []consumerMetrics {
	var all []consumerMetrics
	for n, url := range s.stack.Endpoints().ConsumerMetricsURLs {
		metrics, err := scrape(ctx, url)
		if err != nil {
			s.warn("the stages of " + stack.ConsumerName(n+1) + " are missing: " + err.Error())
		}
		all = append(all, metrics)
	}
	return all
}

func scrape(ctx context.Context, url string) (consumerMetrics, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	families, err := scrapeFamilies(ctx, http.DefaultClient, url)
	if err != nil {
		return consumerMetrics{}, err
	}
	metrics := consumerMetrics{stages: map[string]histogram{}}
	for _, metric := range families[stageMetric].GetMetric() {
		metrics.stages[label(metric, "stage")] = readHistogram(metric.GetHistogram())
	}
	for _, metric := range families[startMetric].GetMetric() {
		metrics.startSeconds = metric.GetGauge().GetValue()
	}
	return metrics, nil
}

// scrapeFamilies reads a page of the Prometheus text format.
func scrapeFamilies(ctx context.Context, client *http.Client, url string) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", url, err)
	}
	return families, nil
}

func label(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

func readHistogram(h *dto.Histogram) histogram {
	read := histogram{count: h.GetSampleCount(), sumSeconds: h.GetSampleSum()}
	for _, b := range h.GetBucket() {
		read.buckets = append(read.buckets, bucket{b.GetUpperBound(), b.GetCumulativeCount()})
	}
	return read
}

// stagesBetween are the stages between two scrapes of the same consumers, all of them together. A
// consumer that was started in between counts from zero again; then its later scrape stands alone.
func stagesBetween(before, after []consumerMetrics) []reports.Stage {
	var stages []reports.Stage
	for _, name := range []string{"source_to_connector", "connector_to_kafka", "kafka_to_consumer", "consumer_to_applied"} {
		var h histogram
		for n, m := range after {
			one := m.stages[name]
			if n < len(before) && m.startSeconds == before[n].startSeconds {
				one = one.minus(before[n].stages[name])
			}
			h = h.plus(one)
		}
		if h.count == 0 {
			continue
		}
		stages = append(stages, reports.Stage{
			Stage: consumerStages[name], Count: int64(h.count),
			Latency: reports.Latency{
				P50: h.quantileMs(0.50), P95: h.quantileMs(0.95), P99: h.quantileMs(0.99),
				Max: h.quantileMs(1), Mean: 1000 * h.sumSeconds / float64(h.count),
			},
		})
	}
	return stages
}

func (h histogram) minus(before histogram) histogram {
	if len(before.buckets) != len(h.buckets) {
		return h // the stage had not been seen before
	}
	rest := histogram{h.count - before.count, h.sumSeconds - before.sumSeconds, nil}
	for i, b := range h.buckets {
		rest.buckets = append(rest.buckets, bucket{b.upperSeconds, b.count - before.buckets[i].count})
	}
	return rest
}

// plus adds a histogram of the same buckets, or of none.
func (h histogram) plus(more histogram) histogram {
	if len(h.buckets) == 0 {
		return more
	}
	sum := histogram{h.count + more.count, h.sumSeconds + more.sumSeconds, slices.Clone(h.buckets)}
	for i, b := range more.buckets {
		sum.buckets[i].count += b.count
	}
	return sum
}

// quantileMs interpolates within the bucket that holds the quantile, as Prometheus does; a quantile
// above the last finite bound is that bound.
func (h histogram) quantileMs(q float64) float64 {
	rank := q * float64(h.count)
	var lower, below float64
	for _, b := range h.buckets {
		if math.IsInf(b.upperSeconds, 1) {
			break
		}
		if in := float64(b.count) - below; float64(b.count) >= rank && in > 0 {
			return 1000 * (lower + (b.upperSeconds-lower)*(rank-below)/in)
		}
		lower, below = b.upperSeconds, float64(b.count)
	}
	return 1000 * lower
}
