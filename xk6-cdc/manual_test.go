package cdc

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// TestManual: index.d.ts describes everything there is, with the same names.
func TestManual(t *testing.T) {
	t.Parallel()
	text := readFile(t, "index.d.ts")
	g := newGenerator(DefaultOptions(), nil, nil)
	stats := slices.Collect(func(yield func(string) bool) {
		for name := range (&handle{generator: g}).Stats() {
			if !yield(name) {
				return
			}
		}
	})
	methods := slices.Collect(maps.Keys((&handle{generator: g}).methods()))
	var options []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
		if field.IsExported() { // the others are of the environment alone
			options = append(options, field.Tag.Get("json"))
		}
	}
	for name, want := range map[string][]string{
		"Options": options, "Stats": stats, "Lab": methods,
		"PlannedWrite": {"entity", "op", "fields"},
	} {
		slices.Sort(want)
		got := described(t, text, name)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("interface %s:\n%s", name, diff)
		}
	}
	for _, name := range []string{"Options", "Lab"} {
		for _, member := range undescribed(t, text, name) {
			t.Errorf("interface %s: %s has no description", name, member)
		}
	}
	for _, name := range ledger.Unmeasured {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("index.d.ts does not say that nothing is measured of %s", name)
		}
	}
	for _, metric := range []string{MetricLatency, MetricSuccess, MetricTimeout, MetricDelay,
		MetricCommit, MetricQuery,
		MetricPipeline, MetricWrites} {
		if !strings.Contains(text, "`"+metric+"`") {
			t.Errorf("index.d.ts does not describe the metric %s", metric)
		}
	}
}

// TestManualDefaults: the defaults and the names in index.d.ts are the program's.
func TestManualDefaults(t *testing.T) {
	t.Parallel()
	body := interfaceOf(t, readFile(t, "index.d.ts"), "Options")
	text, err := json.Marshal(DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	var defaults map[string]json.RawMessage
	if err := json.Unmarshal(text, &defaults); err != nil {
		t.Fatal(err)
	}
	for name, value := range defaults {
		before, _, _ := strings.Cut(body, "\n    "+name+"?:")
		comment := strings.Join(strings.Fields(before[strings.LastIndex(before, "/**"):]), " ")
		want := regexp.MustCompile(`[{}]|"\w+":`).ReplaceAllString(string(value), "")
		want = strings.ReplaceAll(want, ",", ", ")
		switch name {
		case "postgres", "mongo", "database", "ledger", "started", "status", "seed":
			if variable := "Default: " + ownVariable[name] +
				", else "; !strings.Contains(comment, variable) {
				t.Errorf("option %s: want %q in %s", name, variable, comment)
			}
			continue
		case "trackerBudget":
			want = fmt.Sprintf("%g for a poll, %g for a change stream", tracker.PollBudget,
				tracker.StreamBudget)
		case "timeout", "statementTimeout", "abortAfter":
			want = strings.Replace(want, "m0s", "m", 1)
		}
		if want = "Default: " + want; !regexp.MustCompile(regexp.QuoteMeta(want) +
			`[.,]`).MatchString(comment) {
			t.Errorf("option %s: want %q in %s", name, want, comment)
		}
	}
	quoted := func(names ...string) string { return "'" + strings.Join(names, "' | '") + "';" }
	for _, declaration := range []string{
		"export type Entity = " + quoted(tables.Names[:]...), "export type Operation = " +
			quoted(string(ledger.Insert), string(ledger.Update), string(ledger.Delete)),
		"tracker?: " + quoted(tracker.Auto, tracker.ChangeStream, tracker.Poll), "choice?: " +
			quoted(ChooseUniform, ChooseZipf),
	} {
		if !strings.Contains(readFile(t, "index.d.ts"), declaration) {
			t.Errorf("index.d.ts does not say %s", declaration)
		}
	}
}

var (
	declared = regexp.MustCompile(`(?m)^    (\w+)[?]?[:(]`)
)

// undescribed are the members of an interface without a comment above them.
func undescribed(t *testing.T, text, name string) (members []string) {
	t.Helper()
	lines := strings.Split(interfaceOf(t, text, name), "\n")
	for i, line := range lines {
		if match := declared.FindStringSubmatch(line); match != nil &&
			(i == 0 || !strings.HasSuffix(lines[i-1], "*/")) {
			members = append(members, match[1])
		}
	}
	return members
}

// described returns the members of an interface of the manual, sorted.
func described(t *testing.T, text, name string) (members []string) {
	t.Helper()
	for _, match := range declared.FindAllStringSubmatch(interfaceOf(t, text, name), -1) {
		members = append(members, match[1])
	}
	slices.Sort(members)
	return members
}

func interfaceOf(t *testing.T, text, name string) string {
	t.Helper()
	_, body, found := strings.Cut(text, "  export interface "+name+" {\n")
	body, _, ended := strings.Cut(body, "\n  }\n")
	if !found || !ended {
		t.Fatalf("index.d.ts has no interface %s", name)
	}
	return body
}
