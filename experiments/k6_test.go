package experiments

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/servertest"
)

// TestK6Exits: of k6's exit codes, 99 is a measurement whose thresholds were crossed and 110 one
// that the script calls failed; any other but 0 is told with the end of k6's log. The folder has
// what k6 takes for syntax elsewhere.
func TestK6Exits(t *testing.T) {
	program := filepath.Join(t.TempDir(), "k6")
	text := `#!/bin/sh
printf '%s' "$LOG" >&2
exit $CODE
`
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	for code, want := range map[int]string{
		0: "", k6ThresholdsFailed: "", k6MarkedAsFailed: "",
		107: "k6 smoke.js: exit status 107\nthe \"reason\"\n\tat script.js:7",
		108: "k6 smoke.js: exit status 108\nthe \"reason\"\n\tat script.js:7",
	} {
		dir := filepath.Join(t.TempDir(), "a, level=debug, %s \n=")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		g := generator{program: program, scenario: "smoke.js", dir: dir,
			start: servertest.Folder(t).Start,
			env: map[string]string{
				"CODE": fmt.Sprint(code),
				"LOG": `time="2026-11-27T09:00:34Z" level=error ` +
					`msg="the \"reason\"\n\tat script.js:7\n" hint="script exception"`,
			}}
		got, err := g.run(t.Context())
		if want == "" && (err != nil || got != code) || want != "" &&
			(err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("code %d: got %d, %v, want %q", code, got, err, want)
		}
	}
}
