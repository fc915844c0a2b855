package alerts

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the files anew")

// TestFiles: the committed files are those of the table, and no other file stands beside them.
func TestFiles(t *testing.T) {
	t.Parallel()
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		path = filepath.Join("..", path)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v: run go test ./stack/alerts -update\n%s", path, err, diff)
		}
	}
	for _, pattern := range []string{"prometheus/*/*", "alertmanager/*",
		"../grafana/provisioning/alerting/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Errorf("%s: %v, %v", pattern, found, err)
		}
		for _, path := range found {
			if files[strings.TrimPrefix(filepath.Join("alerts", path), "../")] == "" {
				t.Errorf("%s is of no table", path)
			}
		}
	}
}

// TestTable: every alert has its parts, every placeholder a label or a number, every silence its
// alert, and the specification's sections all theirs.
func TestTable(t *testing.T) {
	t.Parallel()
	all := All()
	sections := map[string][]Severity{}
	for i, a := range all {
		if a.Name == "" || a.Summary == "" || a.Action == "" || a.Query == "" || a.Dashboard == "" {
			t.Errorf("alert %d lacks a part: %+v", i, a)
		}
		if first, _ := find(all, a.Name); first.Query != a.Query {
			t.Errorf("%s is there twice", a.Name)
		}
		for _, s := range a.SilencedBy {
			if _, is := find(all, s.By); !is {
				t.Errorf("%s is silenced by %s, which is no alert", a.Name, s.By)
			}
		}
		if !a.Loki {
			sections[a.Section] = append(sections[a.Section], a.Severity)
			wantLabels(t, a)
		}
		if strings.Contains(a.Query, "$") {
			t.Errorf("%s: Grafana takes a $ for a variable: %s", a.Name, a.Query)
		}
	}
	want := map[string][]Severity{
		"2.6.2": {Warning, Critical, Critical}, "2.6.3": {Warning, Critical, Critical},
		"2.6.4": {Warning, Critical, Critical},
		"2.6.5": {Critical, Critical, Critical, Warning},
		"2.6.6": {Warning, Critical, Critical}, "2.6.7": {Info, Warning, Critical},
		"2.6.8": {Warning, Critical, Critical}, "2.5.9": {Warning},
	}
	delete(sections, "")
	if diff := cmp.Diff(want, sections); diff != "" {
		t.Error(diff)
	}
}

// wantLabels compares the placeholders with the labels that the trial's alert has.
func wantLabels(t *testing.T, a Alert) {
	t.Helper()
	labels := a.labels()
	for _, found := range placeholder.FindAllStringSubmatch(a.Summary+a.Action, -1) {
		name := found[1]
		_, more := a.More[name]
		_, fixed := labels[name]
		_, own := a.Trial.Labels[name]
		// One series has no exporter or no receiver.
		if name != "value" && !more && !fixed && !own && name != "receiver" {
			t.Errorf("%s: {%s} is no label of the alert: %v", a.Name, name, a.Trial.Labels)
		}
	}
	if labels["component"] == "" && a.Trial.Labels["component"] == "" {
		t.Errorf("%s has no component", a.Name)
	}
}

// TestContext: the alerts carry what the specification's acceptance criteria ask for.
func TestContext(t *testing.T) {
	t.Parallel()
	all := All()
	for name, labels := range map[string][]string{
		"ConsumerLag": {"topic", "partition"}, "ConsumerLagCritical": {"topic", "partition"},
		"ConsumerLagGrowing": {"topic", "partition"}, "ErrorRate": {"error_type"},
		"ErrorRateCritical": {"error_type"}, "AnyError": {"error_type"},
		"ValidationFailures": {"rule"}, "ValidationFailuresCritical": {"rule"},
		"ReferenceBroken": {"rule", "entity"}, "ColumnAdded": {"entity", "column", "kind"},
		"ColumnRemoved":      {"entity", "column", "kind"},
		"ColumnIncompatible": {"entity", "column", "kind"},
	} {
		a, _ := find(all, name)
		for _, label := range labels {
			if a.Trial.Labels[label] == "" {
				t.Errorf("%s does not carry %s", name, label)
			}
		}
	}
	for name, words := range map[string][]string{
		"LatencyP95": {"{p50@s}", "{p95@s}", "{p99@s}"}, "DeadLetters": {"{value}"},
		"DeadLettersCritical": {"{value}"}, "DeadLettersGrowing": {"{count}"},
	} {
		a, _ := find(all, name)
		for _, word := range words {
			if !strings.Contains(a.Summary, word) {
				t.Errorf("%s does not say %s: %s", name, word, a.Summary)
			}
		}
	}
}

// TestSecretsStayOutside: what is committed names variables and files, and holds no secret.
func TestSecretsStayOutside(t *testing.T) {
	t.Parallel()
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	settings := regexp.MustCompile(`(?m)^\s*-?\s*(url|integrationKey|addresses|\w+_file): (.*)$`)
	found := 0
	for path, text := range files {
		for _, setting := range settings.FindAllStringSubmatch(text, -1) {
			found++
			if value := strings.Trim(setting[2], `"'`); !strings.HasPrefix(value, secrets) &&
				!strings.HasPrefix(value, "$GF_CDCLAB_") {
				t.Errorf("%s: %s", path, setting[0])
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d settings: this test looks at the wrong thing", found)
	}
}

// TestInhibition: a dead broker silences lag and latency, and what is critical the warning.
func TestInhibition(t *testing.T) {
	t.Parallel()
	file := alertmanager(All(), webhook)
	silenced := func(by, name string) bool {
		return slices.ContainsFunc(file.Inhibit, func(i inhibition) bool {
			return i.Source[0] == `alertname="`+by+`"` &&
				regexp.MustCompile(`\b`+name+`\b`).MatchString(i.Target[0])
		})
	}
	for _, name := range []string{"ConsumerLag", "ConsumerLagCritical", "ConsumerLagGrowing",
		"LatencyP95", "LatencyP99Critical", "PartitionsPaused"} {
		if !silenced("KafkaLost", name) {
			t.Errorf("KafkaLost does not silence %s", name)
		}
	}
	for by, name := range map[string]string{"ConsumerLagCritical": "ConsumerLag",
		"ErrorRateCritical": "ErrorRate", "LatencyP95Critical": "LatencyP95",
		"ValidationFailuresCritical": "ValidationFailures", "DeadLettersCritical": "DeadLetters"} {
		if !silenced(by, name) {
			t.Errorf("%s does not silence %s", by, name)
		}
	}
	if silenced("KafkaLost", "MongoLost") || silenced("KafkaLost", "DeadLetters") {
		t.Error("KafkaLost silences what it does not explain")
	}
}
