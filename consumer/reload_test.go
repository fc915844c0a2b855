package consumer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/documents"
)

// TestSpecsReload: a new file serves, a broken file is logged once and changes nothing.
func TestSpecsReload(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spec := "entity: shop\ntable: public.shop\ncollection: shops\nkey: id\n" +
		"fields:\n  - {column: id, kind: uuid, required: true}\n"
	write("shop.yaml", spec)
	var output strings.Builder
	config := DefaultConfig()
	config.Specs, config.Output = folder, &output
	c, err := newConsumer(config, documents.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	w := specsWatch{consumer: c, folder: os.DirFS(folder)}
	if w.seen, err = fingerprint(w.folder); err != nil {
		t.Fatal(err)
	}
	reloads := func(result string) float64 {
		return consumertest.ValueOf(t, c.metrics.Reloads.WithLabelValues(result))
	}
	look := func() { w.checkFolder(context.Background()) }
	look()
	if reloads("changed")+reloads("failed") != 0 {
		t.Error("reloaded without a change")
	}
	write("till.yaml", strings.ReplaceAll(spec, "shop", "till"))
	look()
	look()
	if spec, there := c.registry.ByEntity("till"); reloads("changed") != 1 || !there ||
		spec.Collection != "tills" {
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
