package chaos

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/process"
)

// TestImpossible: faults that a stack cannot have are named with their place in the file, and their
// proxies are not asked for.
func TestImpossible(t *testing.T) {
	t.Parallel()
	plan, err := Parse("far.yaml", []byte(head+
		"  - {at: 1s, fault: kill, target: consumer}\n"+
		"  - {at: 5s, fault: partition, target: consumer-kafka, for: 1s}\n"+
		"  - {at: 9s, fault: broker-errors, target: kafka, for: 1s}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]string{
		stack.Embedded: "far.yaml:7:21: partition cannot be applied to consumer-kafka: " +
			"the embedded stack has no proxy consumer-kafka",
		stack.Native: "far.yaml:8:21: broker-errors cannot be applied to kafka: " +
			"the lab applies broker-errors to the stacks embedded, and not to native",
	} {
		got := plan.On(kind)
		if len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
	if plan.On(stack.Embedded); len(plan.Proxies()) > 0 {
		t.Errorf("proxies %q of the embedded stack", plan.Proxies())
	}
	plan.On(stack.Native)
	if diff := cmp.Diff([]string{"consumer-kafka"}, plan.Proxies()); diff != "" {
		t.Error(diff)
	}
}

// TestProfile: a Fault that takes the slot away asks for a Debezium that reads all rows again.
func TestProfile(t *testing.T) {
	t.Parallel()
	for text, on := range map[string][]string{
		"slot-dropped, target: connector":         {stack.Native, stack.Compose},
		"slot-invalidated, target: connector":     {stack.Native, stack.Compose},
		"snapshot-interrupted, target: connector": {stack.Native, stack.Compose},
		"restored, target: postgres, for: 3s":     {stack.Native},
		"replication-cut, target: connector":      nil,
	} {
		plan, err := parse([]byte(head + "  - {at: 1s, fault: " + text + "}\n"))
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range stack.Started {
			want := ""
			if slices.Contains(on, kind) {
				want = stack.WhenNeededProfile
			}
			plan.On(kind)
			if got := plan.Profile(); got != want {
				t.Errorf("%s on %s: %q, want %q", text, kind, got, want)
			}
		}
	}
}

// TestDisks: a Fault that fills a Disk asks for one, where Stack and machine can have a Disk.
func TestDisks(t *testing.T) {
	t.Parallel()
	for text, on := range map[string][]string{
		"disk-full, target: postgres, for: 2s": {stack.Embedded, stack.Native},
		"disk-full, target: kafka, for: 2s":    {stack.Native}, "kill, target: postgres": nil,
	} {
		plan, err := parse([]byte(head + "  - {at: 1s, fault: " + text + "}\n"))
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range stack.Started {
			var want []string
			if slices.Contains(on, kind) && process.DiskImpossible() == nil {
				want = []string{plan.Method[0].Target}
			}
			plan.On(kind)
			if got := plan.Disks(); !slices.Equal(got, want) {
				t.Errorf("%s on %s: %q, want %q", text, kind, got, want)
			}
		}
	}
}
