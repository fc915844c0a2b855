package experiments

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/cdclab/cdclab/reports"
)

// prometheusComponent has what a Prometheus that watches the pipeline says, beside what the lab saw itself.
const prometheusComponent = "prometheus"

// defaultLagQuery is the lag that the lab's consumer, or another that names it as the specification does,
// says of itself; else the group's as kafka_exporter has it. Each partition is one member's: where two say
// something of it, as after a rebalance, the greater counts.
func defaultLagQuery(group string) string {
	return fmt.Sprintf(`max by (topic, partition) ({__name__=~"cdc_consumer_lag_records|kafka_consumer_lag"}) or `+
		`max by (topic, partition) (kafka_consumergroup_lag{consumergroup=%q})`, group)
}

// prometheusProbe asks a Prometheus for the consumer's lag: a query that gives one number for each
// partition, or one for all.
type prometheusProbe struct {
	api   prometheus.API
	query string
	// said is told, once, why there is no answer.
	said func(string)
}

func newPrometheusProbe(address, query string, said func(string)) (*prometheusProbe, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return nil, fmt.Errorf("prometheus %q: want an address such as http://127.0.0.1:9090", address)
	}
	client, err := api.NewClient(api.Config{Address: address})
	if err != nil {
		return nil, fmt.Errorf("prometheus %q: %w", address, err)
	}
	return &prometheusProbe{prometheus.NewAPI(client), query, said}, nil
}

func (p *prometheusProbe) close() {}

func (p *prometheusProbe) look(ctx context.Context, l *looker) {
	value, _, _, err := p.api.Query(ctx, p.query, time.Time{})
	vector, ok := value.(model.Vector)
	switch {
	case err == nil && !ok:
		err = fmt.Errorf("query %s gives a %s, want a vector", p.query, value.Type())
	case err == nil && len(vector) == 0:
		err = fmt.Errorf("query %s gives nothing", p.query)
	}
	if err != nil {
		if p.said != nil {
			p.said("Prometheus said nothing of the lag: " + err.Error())
			p.said = nil
		}
		return
	}
	for _, sample := range vector {
		l.put(prometheusComponent, reports.GaugeLag, "", 0, max(0, float64(sample.Value)))
		if topic := sample.Metric["topic"]; topic != "" {
			name := fmt.Sprintf("%s %s/%s", reports.GaugeLag, topic, sample.Metric["partition"])
			l.put(prometheusComponent, name, "", 0, max(0, float64(sample.Value)))
		}
	}
}
