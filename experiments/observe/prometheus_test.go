package observe

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack/servertest"
)

func TestPrometheusLag(t *testing.T) {
	answer := `{"status":"success","data":{"resultType":"vector","result":[
		{"metric":{"topic":"cdc.public.customer","partition":"0"},"value":[1,"3"]},
		{"metric":{"topic":"cdc.public.customer","partition":"1"},"value":[1,"4"]}]}}`
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.FormValue("query")
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	var said []string
	query := defaultLagQuery("cdclab")
	probe, err := newPrometheusProbe(server.URL, query, func(text string) {
		said = append(said, text)
	})
	if err != nil {
		t.Fatal(err)
	}
	l := samplerOf(probe)
	l.sample()
	answer = `{"status":"success","data":{"resultType":"vector","result":[]}}`
	l.sample()
	answer = `{"status":"error","errorType":"bad_data","error":"parse error"}`
	l.sample()
	values := map[string][]float64{}
	for _, g := range l.Looks(time.Now()).Gauges {
		values[g.Component+" "+g.Name] = g.Values
	}
	if asked != query || !slices.Equal(values["prometheus "+reports.GaugeLag],
		[]float64{7, -1, -1}) ||
		!slices.Equal(values["prometheus lag cdc.public.customer/1"], []float64{4, -1, -1}) {
		t.Errorf("asked %s, got %v", asked, values)
	}
	if len(said) != 1 || !strings.Contains(said[0], "gives nothing") {
		t.Errorf("said %q, want one sentence", said)
	}
	for _, address := range []string{"", "127.0.0.1:9090", "/x"} {
		if _, err := newPrometheusProbe(address, "x", nil); err == nil ||
			!strings.Contains(err.Error(), "prometheus") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestPrometheusDefaultLagQuery: a real Prometheus answers the query by any name of the lag, each
// partition once, and knows the group.
func TestPrometheusDefaultLagQuery(t *testing.T) {
	program := servertest.FindPrometheus(t)
	for name, c := range map[string]struct {
		page string
		want float64
	}{
		"our consumers, one just rebalanced, beside kafka_exporter": {
			telemetry.MetricLag + `{topic="t",partition="0"} 3
` + telemetry.MetricLag + `{topic="t",partition="1"} 4
` + telemetry.MetricLag + `{topic="t",partition="1",old="yes"} 2
kafka_consumergroup_lag{consumergroup="shop",topic="t",partition="1"} 5
`, 7},
		"the specification's name": {"kafka_consumer_lag{topic=\"t\",partition=\"1\"} 9\n", 9},
		"kafka_exporter, two groups": {
			`kafka_consumergroup_lag{consumergroup="shop",topic="t",partition="1"} 5
kafka_consumergroup_lag{consumergroup="other",topic="t",partition="1"} 50
`, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
				_ *http.Request) {
				fmt.Fprint(w, c.page)
			}))
			defer pages.Close()
			probe, err := newPrometheusProbe(servertest.RunPrometheus(t, program,
				pages.URL+"/metrics"), defaultLagQuery("shop"), nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				l := samplerOf(probe)
				l.sample()
				if g := l.gauges[gaugeName{prometheusComponent, reports.GaugeLag}]; g != nil {
					name := gaugeName{prometheusComponent, reports.GaugeLag + " t/1"}
					partition := l.gauges[name]
					if g.Values[0] != c.want || partition == nil {
						t.Errorf("lag %v, want %v; %v", g.Values, c.want, partition)
					}
					return
				}
				select {
				case <-ctx.Done():
					t.Fatal("no lag")
				case <-tick.C:
				}
			}
		})
	}
}
