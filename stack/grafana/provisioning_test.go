package grafana

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

var update = flag.Bool("update", false, "write the dashboards anew")

// boardsOf builds every dashboard.
func boardsOf(t *testing.T) map[string]dashboard.Dashboard {
	t.Helper()
	all, err := Dashboards()
	if err != nil || len(all) != 9 {
		t.Fatalf("%d dashboards, %v", len(all), err)
	}
	return all
}

// TestProvisioning: Grafana reads what the code says, and the SDK reads it strictly.
func TestProvisioning(t *testing.T) {
	t.Parallel()
	for name, board := range boardsOf(t) {
		want, err := json.MarshalIndent(board, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, '\n')
		path := filepath.Join("provisioning", "dashboards", name+".json")
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if diff := cmp.Diff(string(want), string(got)); err != nil || diff != "" {
			t.Errorf("%v: run go test ./stack/grafana -update\n%s", err, diff)
		}
		var read dashboard.Dashboard
		if err := read.UnmarshalJSONStrict(got); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	found, err := filepath.Glob("provisioning/dashboards/*.json")
	if err != nil || len(found) != 9 {
		t.Errorf("%v, %v: a file is of no code", found, err)
	}
}

// panelOf is the tested part of a panel, as Grafana reads a panel.
type panelOf struct {
	board, Type, Title, Description string
	Datasource                      struct{ Type, UID string }
	FieldConfig                     struct{ Defaults struct{ Unit string } }
	Targets                         []struct {
		Expr, Query, QueryType, LegendFormat string
	}
}

// panelsOf reads the dashboards as Grafana reads their JSON.
func panelsOf(t *testing.T) []panelOf {
	t.Helper()
	var all []panelOf
	for name, built := range boardsOf(t) {
		text, err := json.Marshal(built)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			UID        string
			Panels     []panelOf
			Templating struct{ List []struct{ Name string } }
			Links      []struct{ Tags []string }
		}
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatal(err)
		}
		if board.UID != "cdclab-"+name || len(board.Links) != 1 ||
			!strings.Contains(string(text), `"type":"tags"`) {
			t.Errorf("%s: uid %s, %d links, or no annotations", name, board.UID, len(board.Links))
		}
		var variables []string
		for _, one := range board.Templating.List {
			variables = append(variables, one.Name)
		}
		for _, panel := range board.Panels {
			panel.board = name
			wantVariables(t, panel, variables)
			all = append(all, panel)
		}
	}
	return all
}

// wantVariables compares the variables used by a panel with those of its dashboard.
func wantVariables(t *testing.T, panel panelOf, variables []string) {
	t.Helper()
	for _, one := range panel.Targets {
		for _, used := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(
			one.Expr+one.Query+panel.Datasource.UID, -1) {
			if !strings.HasPrefix(used[1], "__") && !slices.Contains(variables, used[1]) {
				t.Errorf("%s, %s: $%s is none of %v", panel.board, panel.Title, used[1], variables)
			}
		}
	}
}

// TestPanels: every panel has a title, a unit, a description that says what to do, a query, and
// the data source of a variable; a Prometheus query chooses by the run.
func TestPanels(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, panel := range panelsOf(t) {
		name := panel.board + ": " + panel.Title
		if seen[name] || panel.Title == "" {
			t.Errorf("%s is there twice, or without a title", name)
		}
		seen[name] = true
		if panel.FieldConfig.Defaults.Unit == "" || len(panel.Description) < 30 ||
			len(panel.Targets) == 0 || !strings.HasPrefix(panel.Datasource.UID, "${") {
			t.Errorf("%s: %+v", name, panel)
		}
		for _, one := range panel.Targets {
			chooses := `=~"$run"`
			if panel.board == "k6" {
				chooses = `=~"$testid"`
			}
			if panel.Datasource.Type == "prometheus" && !strings.Contains(one.Expr, chooses) {
				t.Errorf("%s: %s is of every run", name, one.Expr)
			}
		}
	}
	if len(seen) < 100 {
		t.Errorf("%d panels: this test looks at the wrong thing", len(seen))
	}
}

// TestSpecifiedPanels: what sections 2.5.2 to 2.5.9 name is there.
func TestSpecifiedPanels(t *testing.T) {
	t.Parallel()
	titles := map[string]string{}
	for _, panel := range panelsOf(t) {
		titles[panel.board] += panel.Title + "\n"
	}
	for board, names := range map[string][]string{
		"overview": {"Pipeline", "Events in all", "Events by entity",
			"Latency from commit to document", "Errors", "Lag", "Active connections"},
		"kafka": {"Messages a second by topic", "Partition distribution", "Lag of the group by " +
			"partition", "Replication", "Brokers running", "JVM: heap"},
		"consumer": {"Events a second", "Processing time of a batch", "Batch size",
			"Retries by reason", "Dead-letter topic", "Memory", "Garbage collection"},
		"mongodb": {"Write operations a second", "Write latency", "Documents by collection",
			"Connection pool", "Use of indexes"},
		"validation": {"Passed and failed", "Failures by rule", "Validation latency", "Trend"},
		"tracing": {"Search", "Service graph", "Lines of traced events", "Span duration",
			"Errors", "The way of a CDC event"},
		"logs": {"Lines by service", "Errors", "Volume by level", "Fields of the consumer's lines",
			"Lines with a trace"},
		"collector": {"Received", "Exported", "Queue depth", "Dropped", "Exporter latency",
			"Memory", "Processor"},
	} {
		for _, name := range names {
			if !strings.Contains(titles[board], name) {
				t.Errorf("%s lacks %q", board, name)
			}
		}
	}
}

// TestProvisioningFiles: the files have the members of Grafana's documentation, and name the folder
// of the dashboards. Otherwise Grafana only logs what it cannot read, and shows nothing.
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
	want := provider{"cdclab", "cdclab", "file", false,
		options{"${GF_PATHS_PROVISIONING}/dashboards"}}
	if dashboards.APIVersion != 1 || len(dashboards.Providers) != 1 ||
		dashboards.Providers[0] != want {
		t.Errorf("%+v", dashboards)
	}
	type source struct {
		Name, UID, Type, Access, URL string
		IsDefault                    bool           `yaml:"isDefault"`
		JSONData                     map[string]any `yaml:"jsonData"`
	}
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []source
	}
	readStrict(t, "datasources/cdclab.yaml", &sources)
	var uids []string
	for _, one := range sources.Datasources {
		uids = append(uids, one.UID)
		if one.Type != one.UID || one.Access != "proxy" ||
			one.URL != "${CDC_"+strings.ToUpper(one.UID)+"_URL}" {
			t.Errorf("%+v", one)
		}
	}
	if !slices.Equal(uids, []string{"prometheus", "tempo", "loki", "alertmanager"}) {
		t.Errorf("data sources %v", uids)
	}
	// A metric leads to a trace, a span to lines, a line to a trace.
	for i, leads := range []struct{ member, to string }{
		{"exemplarTraceIdDestinations", "tempo"}, {"tracesToLogsV2", "loki"},
		{"derivedFields", "tempo"},
	} {
		text, err := yaml.Marshal(sources.Datasources[i].JSONData[leads.member])
		if err != nil || !strings.Contains(string(text), "datasourceUid: "+leads.to) {
			t.Errorf("%s leads to %s, %v", leads.member, text, err)
		}
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
