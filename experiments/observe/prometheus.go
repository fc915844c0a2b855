package observe

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/shown"
)

// prometheusComponent has the answers of a Prometheus that watches the pipeline, beside what the
// lab saw itself.
const prometheusComponent = "prometheus"

// defaultLagQuery asks for the lag that the lab's consumer tells, or another consumer by the
// specification's name; else for the group's lag by kafka_exporter. Each partition belongs to a
// single member: where two members tell of a partition, as after a rebalance, the greater number
// counts.
func defaultLagQuery(group string) string {
	return fmt.Sprintf(`max by (topic, partition) ({__name__=~"%s|kafka_consumer_lag"}) or `+
		`max by (topic, partition) (kafka_consumergroup_lag{consumergroup=%q})`,
		telemetry.MetricLag, group)
}

// prometheusProbe asks a Prometheus for the consumer's lag: by a query with a number for each
// partition, or with a single number for all.
type prometheusProbe struct {
	api   prometheus.API
	query string
	// said is told, once, why there is no answer.
	said func(string)
}

// CheckPrometheus refuses an address that cannot be a Prometheus's.
func CheckPrometheus(address string) error {
	_, err := newPrometheusProbe(address, "", nil)
	return err
}

func newPrometheusProbe(address, query string, said func(string)) (*prometheusProbe, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return nil, fmt.Errorf("prometheus %s: want an address such as http://127.0.0.1:9090",
			shown.Address(address))
	}
	client, err := api.NewClient(api.Config{Address: address, Client: &http.Client{
		CheckRedirect: hop.StayHere,
		Transport:     hop.Transport(parsed.User != nil || parsed.RawQuery != "", parsed.Scheme)}})
	if err != nil {
		return nil, fmt.Errorf("prometheus %s: cannot be reached by HTTP", shown.Address(address))
	}
	return &prometheusProbe{prometheus.NewAPI(client), query, said}, nil
}

func (p *prometheusProbe) close() {}

func (p *prometheusProbe) sample(ctx context.Context, s *Sampler) {
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
			p.said("Prometheus said nothing of the lag: " + hop.WithoutURL(err).Error())
			p.said = nil
		}
		return
	}
	for _, sample := range vector {
		s.put(prometheusComponent, reports.GaugeLag, "", 0, max(0, float64(sample.Value)))
		if topic := sample.Metric["topic"]; topic != "" {
			name := fmt.Sprintf("%s %s/%s", reports.GaugeLag, topic, sample.Metric["partition"])
			s.put(prometheusComponent, name, "", 0, max(0, float64(sample.Value)))
		}
	}
}
