package experiments

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestK6Exits: of k6's exit codes, 99 is a measurement whose thresholds were crossed; any other but 0 is no
// measurement, and told with the end of k6's log.
func TestK6Exits(t *testing.T) {
	program := filepath.Join(t.TempDir(), "k6")
	text := `#!/bin/sh
for argument; do case $argument in file=*) echo "the reason" > "${argument#file=}";; esac; done
exit $CODE
`
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	for code, want := range map[int]string{
		0: "", k6ThresholdsFailed: "", 107: "k6 smoke.js: exit status 107\nthe reason", 108: "k6 smoke.js: exit status 108\nthe reason",
	} {
		g := generator{program: program, scenario: "smoke.js", dir: t.TempDir(), env: map[string]string{"CODE": fmt.Sprint(code)}}
		got, err := g.run(t.Context())
		if want == "" && (err != nil || got != code) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("code %d: got %d, %v, want %q", code, got, err, want)
		}
	}
}
