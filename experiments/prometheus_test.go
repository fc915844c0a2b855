package experiments

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
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
	probe, err := newPrometheusProbe(server.URL, defaultLagQuery, func(text string) { said = append(said, text) })
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
	if asked != defaultLagQuery || !slices.Equal(values["prometheus "+reports.GaugeLag], []float64{7, -1, -1}) ||
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
