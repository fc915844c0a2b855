package consumer

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

func TestLagWatch(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	client := kafkaClient(t, lab.config)
	lab.produce(t, customer(insert, 1, 1, "a@x"), customer(insert, 1, 2, "b@x"), customer(insert, 1, 3, "c@x"))
	m := newMetrics()
	w := &lagWatch{client: client, admin: kadm.NewClient(client), metrics: m, group: lab.config.Group, letters: "cdc.public.customer"}
	m.assigned(map[string][]int32{"cdc.public.customer": {0, 1}, "cdc.public.order": {0}})
	ctx := context.Background()
	sum := func(name string) (sum float64, count int) {
		for _, one := range gathered(t, m)[name].GetMetric() {
			sum, count = sum+one.Gauge.GetValue(), count+1
		}
		return sum, count
	}
	w.look(ctx)
	if lag, partitions := sum(MetricLag); lag != 3 || partitions != 3 {
		t.Errorf("before any commit the lag is %v of %d partitions", lag, partitions)
	}
	if letters := valueOf(t, m.letters); letters != 3 {
		t.Errorf("%v records in the topic of dead letters", letters)
	}
	ends, err := lab.admin.ListEndOffsets(ctx, "cdc.public.customer")
	if err != nil {
		t.Fatal(err)
	}
	offsets := ends.Offsets()
	if err := lab.admin.CommitAllOffsets(ctx, lab.config.Group, offsets); err != nil {
		t.Fatal(err)
	}
	w.look(ctx)
	lag, _ := sum(MetricLag)
	if committed, partitions := sum(MetricCommittedOffset); lag != 0 || committed != 3 || partitions != 2 {
		t.Errorf("after the commit the lag is %v, the offsets %v of %d partitions", lag, committed, partitions)
	}
	if valueOf(t, m.brokers) != 1 {
		t.Error("the broker is not counted")
	}
	lab.cluster.Close()
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	w.look(ctx)
	if valueOf(t, m.brokers) != 0 {
		t.Error("a broker that has gone is counted")
	}
}

// TestSpecsReload: a new file serves, a broken one is told once and changes nothing.
func TestSpecsReload(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spec := "entity: shop\ntable: public.shop\ncollection: shops\nkey: id\nfields:\n  - {column: id, kind: uuid, required: true}\n"
	write("shop.yaml", spec)
	var output strings.Builder
	config := DefaultConfig()
	config.Specs, config.Output = folder, &output
	c, err := newConsumer(config, newMemoryStore())
	if err != nil {
		t.Fatal(err)
	}
	w := specsWatch{consumer: c, folder: os.DirFS(folder)}
	if w.seen, err = fingerprint(w.folder); err != nil {
		t.Fatal(err)
	}
	reloads := func(result string) float64 { return valueOf(t, c.metrics.reloads.WithLabelValues(result)) }
	look := func() { w.look(context.Background()) }
	look()
	if reloads("changed")+reloads("failed") != 0 {
		t.Error("reloaded without a change")
	}
	write("till.yaml", strings.ReplaceAll(spec, "shop", "till"))
	look()
	look()
	if spec, there := c.registry.ByEntity("till"); reloads("changed") != 1 || !there || spec.Collection != "tills" {
		t.Errorf("after a new file: %v reloads, %v", reloads("changed"), spec)
	}
	write("till.yaml", "entity: [")
	look()
	look()
	if _, there := c.registry.ByEntity("till"); reloads("failed") != 1 || !there ||
		strings.Count(output.String(), "specs not reloaded") != 1 {
		t.Errorf("after a broken file: %v failures, log %s", reloads("failed"), output.String())
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	look()
	look()
	if _, there := c.registry.ByEntity("shop"); reloads("failed") != 2 || !there {
		t.Errorf("after the folder went: %v failures", reloads("failed"))
	}
}

func TestEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		count := 0
		every(ctx, time.Second, func(context.Context) { count++ })
		if count != 3 {
			t.Errorf("%d times in 3.5 s", count)
		}
	})
}

// TestProfiles are served only when asked for.
func TestProfiles(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		config := DefaultConfig()
		config.Pprof, config.Output = on, testLog{t}
		config.ListenFile = filepath.Join(t.TempDir(), "address")
		c, err := newConsumer(config, newMemoryStore())
		if err != nil {
			t.Fatal(err)
		}
		served, err := c.listen()
		if err != nil {
			t.Fatal(err)
		}
		address, err := os.ReadFile(config.ListenFile)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Get("http://" + strings.TrimSpace(string(address)) + "/debug/pprof/heap")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if want := map[bool]int{false: http.StatusNotFound, true: http.StatusOK}[on]; response.StatusCode != want {
			t.Errorf("--pprof=%v: %s", on, response.Status)
		}
		if err := served.close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}
