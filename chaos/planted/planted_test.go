// Package planted checks the checker. Each bug of bugs.yaml is a change of the sources: the tests
// build a wrong consumer or a wrong k6, and the lab must notice the bug under the bug's plan. No
// program of the project has a planted bug. Start reading at bug; caught_test.go runs the lab.
package planted

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
)

// bug is a planted bug, with the words of bugs.yaml.
type bug struct {
	Name    string
	Program string
	Plan    string
	Test    string
	Caught  []reports.RowStatus
	Doubt   string
	Changes []change
}

// change is a change of a file: Old stands once in the file, and New comes in the place of Old.
type change struct{ File, Old, New string }

// programs are the folders of the programs that may have a bug.
var programs = map[string]string{
	"consumer": "consumer/cmd/consumer", "k6": "xk6-cdc/cmd/k6",
}

func root(t testing.TB) string {
	t.Helper()
	found, err := experiments.FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func bugs(t testing.TB) []bug {
	t.Helper()
	text, err := os.ReadFile("bugs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []bug
	if err := yaml.UnmarshalWithOptions(text, &all, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return all
}

// overlay writes the changed files of the bugs and returns the file for the -overlay flag of the
// go command.
func overlay(t testing.TB, planted ...bug) string {
	t.Helper()
	top, folder := root(t), t.TempDir()
	replace := map[string]string{}
	for _, b := range planted {
		for _, c := range b.Changes {
			path := filepath.Join(top, filepath.FromSlash(c.File))
			source := path
			if changed := replace[path]; changed != "" {
				source = changed
			}
			text, err := os.ReadFile(source)
			if err != nil {
				t.Fatalf("%s: %v", b.Name, err)
			}
			if n := strings.Count(string(text), c.Old); n != 1 {
				t.Fatalf("%s: the old text stands %d times in %s, want once:\n%s", b.Name, n,
					c.File, c.Old)
			}
			replace[path] = filepath.Join(folder, strings.ReplaceAll(c.File, "/", "-"))
			wrong := strings.Replace(string(text), c.Old, c.New, 1)
			if err := os.WriteFile(replace[path], []byte(wrong), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// goTool runs the go command in a folder of the checkout.
func goTool(t testing.TB, folder string, args ...string) ([]byte, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = filepath.Join(root(t), filepath.FromSlash(folder))
	return command.CombinedOutput()
}

// TestBugsArePlanted: each bug names the plan, or else the test, that notices the bug, and each
// change still has its place in the sources.
func TestBugsArePlanted(t *testing.T) {
	t.Parallel()
	all := bugs(t)
	if len(all) < 15 {
		t.Errorf("%d bugs, want at least 15", len(all))
	}
	names := map[string]bool{}
	for _, b := range all {
		if names[b.Name] {
			t.Errorf("two bugs are named %q", b.Name)
		}
		names[b.Name] = true
		if programs[b.Program] == "" || len(b.Changes) == 0 || (b.Plan == "") == (b.Test == "") {
			t.Errorf("%s: want a program, changes, and either a plan or a test", b.Name)
		}
		if b.Test != "" && len(strings.Fields(b.Test)) < 2 {
			t.Errorf("%s: %q is no package with a test", b.Name, b.Test)
		}
		if b.Test == "" {
			if _, err := chaos.Load(b.Plan); err != nil {
				t.Errorf("%s: %v", b.Name, err)
			}
			if (len(b.Caught) == 0) == (b.Doubt == "") {
				t.Errorf("%s: want either statuses or a doubt by which the bug is caught", b.Name)
			}
		}
		for _, status := range b.Caught {
			if !slices.Contains(reports.RowStatuses, status) || !status.Bad() {
				t.Errorf("%s: %q is no status of a wrong row", b.Name, status)
			}
		}
		overlay(t, b)
	}
}

// TestWrongProgramsCompile compiles the sources with all bugs at once, because each bug alone would
// take a minute.
func TestWrongProgramsCompile(t *testing.T) {
	t.Parallel()
	all := bugs(t)
	path := overlay(t, all...)
	for folder, packages := range map[string]string{
		"consumer": "./...", "xk6-cdc": "./tracker",
	} {
		if text, err := goTool(t, folder, "build", "-overlay", path, packages); err != nil {
			t.Errorf("%v: %s", err, text)
		}
	}
}

// TestBugsAreTold: each bug stands in a table of PLANTED.md, beside the plan or the test that
// notices the bug.
func TestBugsAreTold(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root(t), "chaos", "PLANTED.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bugs(t) {
		by := b.Plan
		if by == "" {
			by = strings.Fields(b.Test)[1]
		}
		if line := "| " + b.Name + " | `" + by + "`"; !strings.Contains(string(text), line) {
			t.Errorf("PLANTED.md has no line %q", line)
		}
	}
}
