package grafana

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the dashboards anew")

// TestProvisioning: what Grafana reads is what the code says.
func TestProvisioning(t *testing.T) {
	t.Parallel()
	board, err := K6()
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.MarshalIndent(board, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	path := filepath.Join("provisioning", "dashboards", "k6.json")
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if diff := cmp.Diff(string(want), string(got)); err != nil || diff != "" {
		t.Errorf("%v: run go test ./stack/grafana -update\n%s", err, diff)
	}
}

// TestProvisioningFiles: Grafana only logs what it cannot read of these, and shows nothing then. They have the members that
// its documentation has, and the dashboards are looked for where they are.
func TestProvisioningFiles(t *testing.T) {
	t.Parallel()
	type options struct{ Path string }
	type provider struct {
		Name, Folder, Type string
		AllowUIUpdates     bool `yaml:"allowUiUpdates"`
		Options            options
	}
	var dashboards struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []provider
	}
	readStrict(t, "dashboards/cdclab.yaml", &dashboards)
	want := provider{"cdclab", "cdclab", "file", false, options{"${GF_PATHS_PROVISIONING}/dashboards"}}
	if dashboards.APIVersion != 1 || len(dashboards.Providers) != 1 || dashboards.Providers[0] != want {
		t.Errorf("%+v", dashboards)
	}
	type settings struct {
		HTTPMethod   string `yaml:"httpMethod"`
		TimeInterval string `yaml:"timeInterval"`
	}
	type source struct {
		Name, UID, Type, Access, URL string
		IsDefault                    bool     `yaml:"isDefault"`
		JSONData                     settings `yaml:"jsonData"`
	}
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []source
	}
	readStrict(t, "datasources/prometheus.yaml", &sources)
	prometheus := source{"Prometheus", "prometheus", "prometheus", "proxy", "${CDC_PROMETHEUS_URL}", true, settings{"POST", "5s"}}
	if sources.APIVersion != 1 || len(sources.Datasources) != 1 || sources.Datasources[0] != prometheus {
		t.Errorf("%+v", sources)
	}
}

func readStrict(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("provisioning", path))
	if err == nil {
		err = yaml.UnmarshalWithOptions(text, into, yaml.Strict())
	}
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
}
