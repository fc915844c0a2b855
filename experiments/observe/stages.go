package observe

import (
	"context"
	"math"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// consumerStages are the stages measured by the consumer: the value of the label, and the name in a
// Run.
var consumerStages = []struct{ label, name string }{
	{telemetry.StageSourceToConnector, reports.SourceToConnector},
	{telemetry.StageConnectorToKafka, reports.ConnectorToKafka},
	{telemetry.StageKafkaToConsumer, reports.KafkaToConsumer},
	{telemetry.StageConsumerToApplied, reports.ConsumerToApplied},
}

// bucket is a bucket of a cumulative histogram: how many samples took at most the upper bound.
type bucket struct {
	upperSeconds float64
	count        uint64
}

// histogram holds a scrape's numbers of a stage.
type histogram struct {
	count      uint64
	sumSeconds float64
	buckets    []bucket
}

// startMetric tells a process of the consumer from the next.
const startMetric = "process_start_time_seconds"

// ConsumerStages are the stages of one scrape by label value, with the start of the process; the
// zero value is a failed scrape.
type ConsumerStages struct {
	stages       map[string]histogram
	startSeconds float64
}

// ReadConsumers reads the stages of each consumer. A failure leaves a consumer's stages out, with a
// warning: stages attribute, no verdict needs a stage.
func ReadConsumers(ctx context.Context, urls []string) (all []ConsumerStages, warnings []string) {
	for n, url := range urls {
		metrics, err := readStages(ctx, url)
		if err != nil {
			warnings = append(warnings,
				"the stages of "+stack.ConsumerName(n+1)+" are missing: "+err.Error())
		}
		all = append(all, metrics)
	}
	return all, warnings
}

func readStages(ctx context.Context, url string) (ConsumerStages, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	families, err := Scrape(ctx, http.DefaultClient, url)
	if err != nil {
		return ConsumerStages{}, err
	}
	return stagesOf(families), nil
}

// stagesOf reads the stages on a consumer's page.
func stagesOf(families map[string]*dto.MetricFamily) ConsumerStages {
	metrics := ConsumerStages{stages: map[string]histogram{}}
	for _, metric := range families[telemetry.MetricStageSeconds].GetMetric() {
		metrics.stages[Label(metric, "stage")] = readHistogram(metric.GetHistogram())
	}
	for _, metric := range families[startMetric].GetMetric() {
		metrics.startSeconds = metric.GetGauge().GetValue()
	}
	return metrics
}

func readHistogram(h *dto.Histogram) histogram {
	read := histogram{count: h.GetSampleCount(), sumSeconds: h.GetSampleSum()}
	for _, b := range h.GetBucket() {
		read.buckets = append(read.buckets, bucket{b.GetUpperBound(), b.GetCumulativeCount()})
	}
	return read
}

// StagesBetween returns the stages between two scrapes of the same consumers, all consumers
// together. A consumer started in between counts from zero again; then its later scrape stands
// alone.
func StagesBetween(before, after []ConsumerStages) []reports.Stage {
	var stages []reports.Stage
	for _, stage := range consumerStages {
		var h histogram
		for n, m := range after {
			one := m.stages[stage.label]
			if n < len(before) && m.startSeconds == before[n].startSeconds {
				one = one.minus(before[n].stages[stage.label])
			}
			h = h.plus(one)
		}
		if h.count == 0 {
			continue
		}
		stages = append(stages, reports.Stage{
			Stage: stage.name, Count: int64(h.count),
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
		count := b.count - before.buckets[i].count
		rest.buckets = append(rest.buckets, bucket{b.upperSeconds, count})
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
// above the last finite bound is the bound.
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
