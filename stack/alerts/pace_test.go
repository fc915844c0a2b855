package alerts

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPace: without a factor the rules are the committed rules; a factor divides the alert's time
// and the windows, and no limit.
func TestPace(t *testing.T) {
	t.Parallel()
	committed, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	same, err := Pace{}.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range same {
		want := strings.TrimPrefix(committed["alerts/prometheus/rules/"+name], heading)
		if diff := cmp.Diff(want, text); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	fast, err := Pace{Faster: 12, ZeroTolerance: true}.Rules()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(fast["switches.yaml"], "vector(1)") {
		t.Errorf("no zero tolerance: %s", fast["switches.yaml"])
	}
	before, _ := find(All(), "DeadLettersGrowing")
	after := Pace{Faster: 12}.shorten(before)
	if after.For != 150*time.Second || !strings.Contains(after.Query, "offset 25s") {
		t.Errorf("%v, %s", after.For, after.Query)
	}
	for _, a := range All() {
		short := Pace{Faster: 12}.shorten(a)
		if strings.ContainsAny(strings.Join(windows.FindAllString(short.Query, -1), ""), "m") ||
			short.For > a.For {
			t.Errorf("%s: %v, %s", a.Name, short.For, short.Query)
		}
		if found := strings.Count(a.Query, " > "); found != strings.Count(short.Query, " > ") {
			t.Errorf("%s has other limits: %s", a.Name, short.Query)
		}
	}
}
