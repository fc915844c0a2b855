package main

import (
	"errors"
	"go/ast"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestJustfile: every recipe is a single line that ./just can read without just.
func TestJustfile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("justfile")
	if err != nil {
		t.Fatal(err)
	}
	recipe := regexp.MustCompile(`^[a-z][a-z-]*( \*args)?:$`)
	var recipes, body int
	for number, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "    "):
			if body++; body > 1 {
				t.Errorf("justfile:%d: a recipe has more than one line", number+1)
			}
			if strings.Contains(line, "go run . ") && !strings.Contains(line, " && ") {
				t.Errorf("justfile:%d: a signal to `go run` does not reach the lab", number+1)
			}
		case recipe.MatchString(line):
			recipes, body = recipes+1, 0
		case line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "[") &&
			!strings.HasPrefix(line, "set ") && !strings.HasPrefix(line, "export CDCLAB_FROM "):
			t.Errorf("justfile:%d: ./just cannot read %q", number+1, line)
		}
	}
	if recipes == 0 || recipes > maxRecipes {
		t.Errorf("justfile has %d recipes, want 1 to %d", recipes, maxRecipes)
	}
}

// TestJustFromAnotherFolder: files are meant from where the caller stands, whatever folder and
// however the caller reaches ./just.
func TestJustFromAnotherFolder(t *testing.T) {
	t.Parallel()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.ReadFile("reports/testdata/good.json")
	if err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(t.TempDir(), "a folder")
	err = errors.Join(os.Mkdir(there, 0o755), os.Symlink("link", filepath.Join(there, "far")),
		os.Symlink(filepath.Join(root, "just"), filepath.Join(there, "link")),
		os.WriteFile(filepath.Join(there, "mine.json"), run, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(there, filepath.Join(root, "just"))
	if err != nil {
		t.Fatal(err)
	}
	for _, just := range []string{filepath.Join(root, "just"), relative, "./link", "./far"} {
		for _, hand := range []string{"by-hand", ""} {
			command := exec.Command(just, "compare", "mine.json", "mine.json")
			command.Dir = there
			command.Env = append(os.Environ(), "CDCLAB_JUST="+hand, "CDPATH="+root)
			text, err := command.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && (!errors.As(err, &exit) || exit.ExitCode() == exitCouldNotRun) ||
				!strings.Contains(string(text), "e2e p50") {
				t.Errorf("%s %s: %v\n%s", just, hand, err, text)
			}
		}
	}
}

// TestFuzzRecipe: whatever can be fuzzed is.
func TestFuzzRecipe(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("justfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, is := d.(*ast.FuncDecl)
			if !is || !s.test() || !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			command := regexp.MustCompile(` -fuzz ` + f.Name.Name + ` [-a-z0-9 ]*\./` + s.room +
				`( &&|\n)`)
			if !command.Match(text) {
				t.Errorf("%s: ./just fuzz leaves out %s", s.path, f.Name.Name)
			}
		}
	}
}
