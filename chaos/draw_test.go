package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/stack"
)

// TestDraw: each seed gives the same plan again, the plan is valid as a file, and over many seeds
// every possible fault comes, but for faults with a loss of their own.
func TestDraw(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	overlaps := 0
	for seed := range uint64(200) {
		d := Draft{Seed: seed, Length: 2 * time.Minute, Stack: stack.Embedded, Consumers: 2}
		plan, err := Draw(d)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Draw(d)
		hidden := cmpopts.IgnoreUnexported(Plan{}, Fault{})
		if diff := cmp.Diff(plan, again, hidden); err != nil || diff != "" {
			t.Fatalf("seed %d gives two plans: %v %s", seed, err, diff)
		}
		text, err := plan.Text()
		if err != nil {
			t.Fatal(err)
		}
		read, err := parse(text)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if diff := cmp.Diff(plan, read, hidden); diff != "" {
			t.Fatalf("seed %d: written and read again:\n%s", seed, diff)
		}
		if impossible := plan.On(stack.Embedded); len(impossible) > 0 {
			t.Errorf("seed %d: %s", seed, impossible)
		}
		for i := range plan.Method {
			f := &plan.Method[i]
			seen[f.Kind] = true
			if f.line().Loses != "" {
				t.Errorf("seed %d: %s loses data by itself", seed, f.Kind)
			}
			if i > 0 && f.At < plan.Method[i-1].end() {
				overlaps++
			}
		}
	}
	for _, k := range faults.Table() {
		possible := len(k.TargetsOn(stack.Embedded, 2)) > 0
		if possible && k.Loses == "" && !seen[k.Name] {
			t.Errorf("%s was never drawn", k.Name)
		}
	}
	if overlaps < 200 {
		t.Errorf("%d faults of 200 plans overlap, want one a plan", overlaps)
	}
	if _, err := Draw(Draft{Length: time.Second, Stack: stack.Embedded}); err == nil {
		t.Error("a plan of a second")
	}
}

// TestShrink: the smallest failing plan is found, whether one fault fails or two together, with few
// runs.
func TestShrink(t *testing.T) {
	t.Parallel()
	plan := &Plan{Name: "p"}
	for n := range 32 {
		plan.Method = append(plan.Method, kill(time.Duration(n)*time.Second, 0))
	}
	for name, culprits := range map[string][]time.Duration{
		"one":      {13 * time.Second},
		"the last": {31 * time.Second},
		"two":      {3 * time.Second, 29 * time.Second},
		"three":    {0, 14 * time.Second, 15 * time.Second},
	} {
		runs := 0
		small := Shrink(plan, func(p *Plan) bool {
			runs++
			for _, at := range culprits {
				if !slices.ContainsFunc(p.Method, func(f Fault) bool { return f.At == at }) {
					return false
				}
			}
			return true
		})
		var left []time.Duration
		for _, f := range small.Method {
			left = append(left, f.At)
		}
		if !slices.Equal(left, culprits) || runs > 60 {
			t.Errorf("%s: %v after %d runs, want %v", name, left, runs, culprits)
		}
	}
	if len(plan.Method) != 32 {
		t.Error("the plan itself was shrunk")
	}
}

// TestText: what a plan says is written, and a default is not.
func TestText(t *testing.T) {
	t.Parallel()
	plan, err := Load("consumer-kill-loop")
	if err != nil {
		t.Fatal(err)
	}
	text, err := plan.Text()
	if err != nil || !strings.Contains(string(text), "repeat: every 3s for 5m0s") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, name := range []string{"consumer-kill-loop", "consumer-stop", "mongo-latency",
		"source-kills"} {
		plan, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := plan.Text()
		if err != nil {
			t.Fatal(err)
		}
		read, err := parse(text)
		if diff := cmp.Diff(plan, read, cmpopts.IgnoreUnexported(Plan{}, Fault{})); diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
		if strings.Contains(string(text), "direction:") ||
			strings.Contains(string(text), "jitter:") {
			t.Errorf("%s has defaults:\n%s", name, text)
		}
	}
}

// TestDrawSingle: a plan of each fault on each target is valid as a file, is the same for the same
// seed, and has room for the steady state before and after.
func TestDrawSingle(t *testing.T) {
	t.Parallel()
	for _, kind := range faults.Table() {
		for _, target := range kind.TargetsOf(1) {
			for seed := range uint64(3) {
				d := Draft{Seed: seed, Stack: stack.Embedded, Consumers: 1, Rate: 200}
				plan := DrawSingle(d, kind, target)
				text, err := plan.Text()
				if err != nil {
					t.Fatal(err)
				}
				read, err := parse(text)
				if err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				hidden := cmpopts.IgnoreUnexported(Plan{}, Fault{})
				if diff := cmp.Diff(plan, read, hidden); diff != "" {
					t.Errorf("written and read again:\n%s", diff)
				}
				if diff := cmp.Diff(plan, DrawSingle(d, kind, target), hidden); diff != "" {
					t.Errorf("one seed, two plans:\n%s", diff)
				}
				rest := plan.Load.Duration - plan.End()
				if at := plan.Method[0].At; at < 5*time.Second || rest < 20*time.Second {
					t.Errorf("%s: fault at %v, %v of rest", plan.Name, at, rest)
				}
			}
		}
	}
}
