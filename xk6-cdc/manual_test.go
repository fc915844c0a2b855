package cdc

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestManual: what index.d.ts describes is what there is, with the same names.
func TestManual(t *testing.T) {
	t.Parallel()
	text := readFile(t, "index.d.ts")
	lab := newLab(DefaultOptions(), nil, nil)
	stats := slices.Collect(func(yield func(string) bool) {
		for name := range (&handle{lab: lab}).Stats() {
			if !yield(name) {
				return
			}
		}
	})
	methods := slices.Collect(maps.Keys((&handle{lab: lab}).methods()))
	var options []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
		options = append(options, field.Tag.Get("json"))
	}
	for name, want := range map[string][]string{
		"Options": options, "Stats": stats, "Lab": methods, "PlannedWrite": {"entity", "op", "fields"},
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
	for _, metric := range []string{MetricLatency, MetricSuccess, MetricTimeout, MetricDelay, MetricCommit, MetricQuery,
		MetricPipeline, MetricWrites} {
		if !strings.Contains(text, "`"+metric+"`") {
			t.Errorf("index.d.ts does not describe the metric %s", metric)
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
		if match := declared.FindStringSubmatch(line); match != nil && (i == 0 || !strings.HasSuffix(lines[i-1], "*/")) {
			members = append(members, match[1])
		}
	}
	return members
}

// described are the members that an interface of the manual has, sorted.
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
