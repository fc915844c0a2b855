package compose

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestLocalStages: a builder without BuildKit builds each stage before the wanted one, and
// `build.sh core` has not fetched what the stages of the profile observe copy.
func TestLocalStages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("local/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("local/build.sh")
	if err != nil {
		t.Fatal(err)
	}
	core := regexp.MustCompile(`(?m)^for image in (.*) \$watches;`).FindSubmatch(script)
	if core == nil {
		t.Fatal("build.sh names no images")
	}
	observed, seen := "", 0
	for _, stage := range strings.Split(string(text), "\nFROM ")[1:] {
		first, _, _ := strings.Cut(stage, "\n")
		_, name, _ := strings.Cut(first, " AS ")
		if strings.Contains(stage, "observers/") {
			observed = name
		}
		if strings.Contains(" "+string(core[1])+" ", " "+name+" ") {
			seen++
			if observed != "" {
				t.Errorf("%s comes after %s, which copies observers", name, observed)
			}
		}
	}
	if want := len(strings.Fields(string(core[1]))); seen != want || observed == "" {
		t.Errorf("%d of %d stages of the core, observers in %q", seen, want, observed)
	}
}
