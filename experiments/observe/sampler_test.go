package observe

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports"
)

// scripted is a probe that files the values given by the test.
type scripted func(l *Sampler)

func (s scripted) sample(_ context.Context, to *Sampler) { s(to) }
func (s scripted) close()                                {}

func TestSamplerKeepsEveryGaugeAsLongAsTheSamples(t *testing.T) {
	n := 0
	l := samplerOf(scripted(func(l *Sampler) {
		n++
		l.put("consumer", "lag", "", 0, 1)
		l.put("consumer", "lag", "", 0, 2) // the next partition
		if n == 3 {
			l.put("mongo", "connections", "", 10, 4)
		}
		total := map[int]float64{1: 100, 2: 130, 3: 20, 4: 50, 5: 90}
		l.at[len(l.at)-1] = time.Unix(int64(10*n), 0)
		l.putRate("postgres", "cpu", "%", 200, 100, total[n])
	}))
	for range 5 {
		l.sample()
	}
	looks := l.Looks(time.Unix(20, 0))
	if !slices.Equal(looks.Seconds, []float64{-10, 0, 10, 20, 30}) {
		t.Errorf("seconds %v", looks.Seconds)
	}
	capacity := map[string]float64{"connections": 10, "cpu": 200}
	want := map[string][]float64{
		"lag": {3, 3, 3, 3, 3}, "connections": {-1, -1, 4, -1, -1},
		"cpu": {-1, 300, -1, 300, 400}, // the part was started anew before the third
	}
	for _, g := range looks.Gauges {
		if !slices.Equal(g.Values, want[g.Name]) || g.Capacity != capacity[g.Name] {
			t.Errorf("%s: %v of %v, want %v of %v", g.Name, g.Values, g.Capacity, want[g.Name],
				capacity[g.Name])
		}
	}
	if len(looks.Gauges) != len(want) {
		t.Errorf("%d gauges, want %d", len(looks.Gauges), len(want))
	}
	asked := 0
	l.seldom = []probe{scripted(func(*Sampler) { asked++ })}
	for range 2 * seldomEvery {
		l.sample()
	}
	if asked != 2 {
		t.Errorf("what costs was asked %d times in %d samples", asked, 2*seldomEvery)
	}
	l.at = l.at[:5]
	for _, g := range l.gauges {
		g.Values = g.Values[:5]
	}
	l.thin()
	if looks := l.Looks(time.Unix(20, 0)); !slices.Equal(looks.Seconds, []float64{-10, 10, 30}) ||
		slices.ContainsFunc(looks.Gauges, func(g reports.Gauge) bool {
			return len(g.Values) != 3
		}) {
		t.Errorf("thinned: %+v", looks)
	}
}

// TestProcessesSeeWork: a working process shows up with processor time and memory.
func TestProcessesSeeWork(t *testing.T) {
	l := samplerOf(processes{func() map[string][]int {
		return map[string][]int{"gone": {1 << 30}, "none": nil}
	}, machineCapacities(), hostGroups})
	l.sample()
	busy := 0
	for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
		busy++
	}
	l.sample()
	looks := l.Looks(time.Now())
	find := func(component, name string) reports.Gauge {
		i := slices.IndexFunc(looks.Gauges, func(g reports.Gauge) bool {
			return g.Component == component && g.Name == name
		})
		if i < 0 {
			t.Fatalf("no %s of %s in %+v", name, component, looks.Gauges)
		}
		return looks.Gauges[i]
	}
	if cpu := find(labComponent, reports.GaugeCPU); cpu.Values[1] <= 0 || cpu.Capacity < 100 {
		t.Errorf("%+v", cpu)
	}
	if memory := find(labComponent, reports.GaugeMemory); memory.Values[1] < 1<<20 ||
		memory.Capacity < memory.Values[1] {
		t.Errorf("%+v", memory)
	}
	used := l.used.resources()
	if i := slices.IndexFunc(used, func(r reports.Resource) bool {
		return r.Component == labComponent
	}); i < 0 || used[i].CPUSeconds <= 0 {
		t.Errorf("%+v after %d turns of process %d", used, busy, os.Getpid())
	}
}

// TestMetricsProbe: the probe reads the heap of Go and of the JVM, and the consumer's pool; a
// single connection is no bottleneck but the slow stand-in's way.
func TestMetricsProbe(t *testing.T) {
	for most, capacity := range map[int]float64{64: 64, 1: 0} {
		typed := map[string]bool{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for _, line := range []string{
				"go_memstats_heap_inuse_bytes 100", `jvm_memory_used_bytes{area="heap"} 30`,
				`jvm_memory_used_bytes{area="nonheap"} 5`,
				telemetry.MetricPoolConnections + `{state="open"} 7`,
				telemetry.MetricPoolConnections + `{state="in_use"} 1`,
				fmt.Sprint(telemetry.MetricPoolMaxConnections, " ", most),
			} {
				name := line[:strings.IndexAny(line, "{ ")]
				if !typed[name] {
					fmt.Fprintf(w, "# TYPE %s gauge\n", name)
				}
				typed[name] = true
				fmt.Fprintln(w, line)
			}
		}))
		defer server.Close()
		l := samplerOf(&metricsProbe{urls: map[string][]string{"consumer": {server.URL},
			"kafka": {""}}})
		l.sample()
		want := []reports.Gauge{
			{Component: "consumer", Name: reports.GaugeConnections, Capacity: capacity,
				Values: []float64{1}},
			{Component: "consumer", Name: reports.GaugeHeap, Unit: "bytes", Values: []float64{130}},
		}
		if diff := cmp.Diff(want, l.Looks(time.Now()).Gauges); diff != "" {
			t.Error(diff)
		}
	}
}
