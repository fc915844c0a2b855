package experiments

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
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
	probe, err := newPrometheusProbe(server.URL, query, func(text string) { said = append(said, text) })
	if err != nil {
		t.Fatal(err)
	}
	l := newLooker(probe)
	l.look()
	answer = `{"status":"success","data":{"resultType":"vector","result":[]}}`
	l.look()
	answer = `{"status":"error","errorType":"bad_data","error":"parse error"}`
	l.look()
	values := map[string][]float64{}
	for _, g := range l.looks(time.Now()).Gauges {
		values[g.Component+" "+g.Name] = g.Values
	}
	if asked != query || !slices.Equal(values["prometheus "+reports.GaugeLag], []float64{7, -1, -1}) ||
		!slices.Equal(values["prometheus lag cdc.public.customer/1"], []float64{4, -1, -1}) {
		t.Errorf("asked %s, got %v", asked, values)
	}
	if len(said) != 1 || !strings.Contains(said[0], "gives nothing") {
		t.Errorf("said %q, want one sentence", said)
	}
	for _, address := range []string{"", "127.0.0.1:9090", "/x"} {
		if _, err := newPrometheusProbe(address, "x", nil); err == nil || !strings.Contains(err.Error(), "prometheus") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// findPrometheus skips the test where there is none.
func findPrometheus(t *testing.T) string {
	t.Helper()
	program, err := stack.FindPrometheus("")
	if errors.Is(err, stack.ErrNoPrometheus) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// startPrometheus returns its address.
func startPrometheus(t *testing.T, program string, pages ...string) string {
	t.Helper()
	server, err := stack.StartPrometheus(t.Context(), program, pages...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server.URL
}

// TestPrometheusDefaultLagQuery: a real Prometheus answers it from whatever names the lag, each partition once, and
// knows the group.
func TestPrometheusDefaultLagQuery(t *testing.T) {
	program := findPrometheus(t)
	for name, c := range map[string]struct {
		page string
		want float64
	}{
		"our consumers, one just rebalanced, beside kafka_exporter": {`cdc_consumer_lag_records{topic="t",partition="0"} 3
cdc_consumer_lag_records{topic="t",partition="1"} 4
cdc_consumer_lag_records{topic="t",partition="1",old="yes"} 2
kafka_consumergroup_lag{consumergroup="shop",topic="t",partition="1"} 5
`, 7},
		"the specification's name": {"kafka_consumer_lag{topic=\"t\",partition=\"1\"} 9\n", 9},
		"kafka_exporter, two groups": {`kafka_consumergroup_lag{consumergroup="shop",topic="t",partition="1"} 5
kafka_consumergroup_lag{consumergroup="other",topic="t",partition="1"} 50
`, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.page) }))
			defer pages.Close()
			probe, err := newPrometheusProbe(startPrometheus(t, program, pages.URL+"/metrics"), defaultLagQuery("shop"), nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				l := newLooker(probe)
				l.look()
				if g := l.gauges[gaugeName{prometheusComponent, reports.GaugeLag}]; g != nil {
					if partition := l.gauges[gaugeName{prometheusComponent, reports.GaugeLag + " t/1"}]; g.Values[0] != c.want || partition == nil {
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

// TestLagByARealPrometheus: one that reads the consumer's page has the lag that the lab sees itself, later by
// the time between two looks of the consumer and of its own, and by the same names. MongoDB stands still for longer
// than that.
func TestLagByARealPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("a run of 20 s; left out by -short")
	}
	program := findPrometheus(t)
	c := smoke(t, 100, 20*time.Second)
	c.PlanPath = writePlan(t, `
name: mongo-stall
description: the consumer's lag grows
steady-state: {recovery: 30s}
method:
  - {at: 3s, fault: pause, target: mongo, for: 8s}
`)
	s := begin(t, c)
	s.slow("20")
	s.config.Prometheus = startPrometheus(t, program, s.stack.Endpoints().ConsumerMetricsURLs...)
	run := mustComplete(t, s)
	lags := map[string]map[string][]float64{}
	for _, g := range run.Looks.Gauges {
		if strings.HasPrefix(g.Name, reports.GaugeLag) {
			if lags[g.Component] == nil {
				lags[g.Component] = map[string][]float64{}
			}
			lags[g.Component][g.Name] = g.Values
			t.Log(g.Component, g.Name, g.Values)
		}
	}
	own, theirs := lags[stack.Consumer], lags[prometheusComponent]
	if names := slices.Sorted(maps.Keys(theirs)); len(names) < 5 || !slices.Equal(names, slices.Sorted(maps.Keys(own))) {
		t.Fatalf("Prometheus has %q", names)
	}
	values := theirs[reports.GaugeLag]
	most, there := slices.Max(own[reports.GaugeLag]), slices.Max(values)
	if most < 100 || there < most/4 || there > most*1.2 {
		t.Errorf("the greatest lag was %v, by Prometheus %v", most, there)
	}
}
