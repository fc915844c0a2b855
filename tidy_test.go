package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module       = "github.com/cdclab/cdclab/"
	maxFileLines = 400
	maxFuncLines = 70
	maxRecipes   = 15
)

// mayImport is the import direction of the tree: a room and the rooms of ours it may use. A room
// that is not listed may use none.
var mayImport = map[string][]string{
	"consumer":              {"consumer/debezium", "consumer/entity"},
	"consumer/cmd/consumer": {"consumer"},
	"consumer/entity":       {"consumer/debezium"},
	"stack/connector":       {"consumer/debezium"},
	"stack":                 {"stack/connector"},
	"chaos":                 {"stack", "consumer/entity", "xk6-cdc/ledger"},
	"experiments":           {"chaos", "stack", "reports", "consumer/entity", "xk6-cdc/ledger", "stack/nullmongo"},
	"xk6-cdc":               {"consumer/entity", "xk6-cdc/ledger"},
	"xk6-cdc/cmd/k6":        {"xk6-cdc"},
	"":                      {"chaos", "consumer", "experiments", "reports", "stack"},
}

var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "types", "models"}

// source is one parsed Go file of the project.
type source struct {
	path, room string
	lines      int
	file       *ast.File
	fset       *token.FileSet
	text       string
}

func (s *source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "runs" || d.Name() == "bin" ||
			strings.HasPrefix(d.Name(), ".") && path != ".") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		room := filepath.ToSlash(filepath.Dir(path))
		if room == "." {
			room = ""
		}
		all = append(all, &source{path, room, bytes.Count(text, []byte("\n")), file, fset, string(text)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found %d Go files: the house rules are looking in the wrong place", len(all))
	}
	return all
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, at most %d", s.path, s.lines, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if lines > maxFuncLines {
				t.Errorf("%s: %s has %d lines, at most %d", s.path, f.Name.Name, lines, maxFuncLines)
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(s.path), ".go"), "_test")
		if slices.Contains(bannedNames, base) || slices.Contains(bannedNames, s.file.Name.Name) {
			t.Errorf("%s: the name says nothing; say what is in it", s.path)
		}
	}
}

func TestImportDirection(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, i := range s.file.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			target, ours := strings.CutPrefix(path+"/", module)
			target = strings.TrimSuffix(target, "/")
			if ours && !slices.Contains(mayImport[s.room], target) {
				t.Errorf("%s imports %s: %q may use %v", s.path, target, s.room, mayImport[s.room])
			}
		}
	}
}

// TestConsumerIsLean: the consumer is deployed alone; what only the lab needs stays out of it.
func TestConsumerIsLean(t *testing.T) {
	t.Parallel()
	deps := output(t, "go", "list", "-deps", "./consumer/cmd/consumer")
	for _, heavy := range []string{"go.k6.io/", "franz-go/pkg/kfake", "oxiproxy", "pglogrepl", "embedded-postgres",
		"google.golang.org/grpc"} {
		if strings.Contains(deps, heavy) {
			t.Errorf("the consumer links %s", heavy)
		}
	}
	if !strings.Contains(deps, "github.com/twmb/franz-go/pkg/kgo") {
		t.Error("the list of dependencies does not even hold the Kafka client: this test looks at the wrong thing")
	}
}

func TestPackageComments(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	rooms := map[string]bool{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		rooms[s.room] = true
		doc := s.file.Doc.Text()
		if doc == "" {
			continue
		}
		documented[s.room] = true
		name := s.file.Name.Name
		if name != "main" && !strings.HasPrefix(doc, "Package "+name+" ") {
			t.Errorf("%s: the package comment begins with %q", s.path, "Package "+name)
		}
		if name != "main" && !strings.Contains(strings.ReplaceAll(doc, "\n", " "), "tart reading") {
			t.Errorf("%s: the package comment does not say where to start reading", s.path)
		}
	}
	for room := range rooms {
		if !documented[room] {
			t.Errorf("package %q has no package comment", room)
		}
	}
}

func TestExportedComments(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, d := range s.file.Decls {
			for _, missing := range undocumented(d) {
				t.Errorf("%s: %s has no comment that begins with its name", s.path, missing)
			}
		}
	}
}

// undocumented lists the exported names of a declaration without a comment. A group of constants
// or variables may have one comment for all.
func undocumented(d ast.Decl) []string {
	begins := func(doc *ast.CommentGroup, name string) bool {
		text := strings.TrimPrefix(strings.TrimPrefix(doc.Text(), "A "), "An ")
		return strings.HasPrefix(text, name)
	}
	var missing []string
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && !begins(d.Doc, d.Name.Name) && !(d.Recv != nil && d.Doc.Text() != "") &&
			!implementsStandard(d) {
			missing = append(missing, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && !begins(d.Doc, spec.Name.Name) && !begins(spec.Doc, spec.Name.Name) {
					missing = append(missing, spec.Name.Name)
				}
			case *ast.ValueSpec:
				if spec.Names[0].IsExported() && d.Doc.Text() == "" && spec.Doc.Text() == "" && spec.Comment.Text() == "" {
					missing = append(missing, spec.Names[0].Name)
				}
			}
		}
	}
	return missing
}

// implementsStandard spares methods whose meaning an interface already states: those of error,
// fmt.Stringer, sort, flag.Value, and the methods of unexported types.
func implementsStandard(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return false
	}
	if slices.Contains([]string{"Error", "Unwrap", "String", "Set", "Write"}, d.Name.Name) {
		return true
	}
	receiver := d.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	name, ok := receiver.(*ast.Ident)
	return ok && !name.IsExported()
}

func TestNoSleepsInTests(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test() && s.path != "tidy_test.go" && strings.Contains(s.text, "time."+"Sleep(") {
			t.Errorf("%s sleeps: wait for the condition, or use testing/synctest", s.path)
		}
	}
}

func TestNothingUnfinished(t *testing.T) {
	t.Parallel()
	unfinished := regexp.MustCompile(`(?i)\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	for _, s := range sources(t) {
		if found := unfinished.FindString(s.text); found != "" {
			t.Errorf("%s holds %q", s.path, found)
		}
	}
}

func TestFormatted(t *testing.T) {
	t.Parallel()
	if out := output(t, "gofmt", "-l", "."); out != "" {
		t.Errorf("gofmt would change:\n%s", out)
	}
}

func TestModuleTidy(t *testing.T) {
	t.Parallel()
	output(t, "go", "mod", "tidy", "-diff")
}

// TestJustfile: the recipes are what ./just can read without just, one line each.
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
		case recipe.MatchString(line):
			recipes, body = recipes+1, 0
		case line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "[") && !strings.HasPrefix(line, "set "):
			t.Errorf("justfile:%d: ./just cannot read %q", number+1, line)
		}
	}
	if recipes == 0 || recipes > maxRecipes {
		t.Errorf("justfile has %d recipes, want 1 to %d", recipes, maxRecipes)
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
			command := regexp.MustCompile(` -fuzz ` + f.Name.Name + ` [-a-z0-9 ]*\./` + s.room + `( &&|\n)`)
			if !command.Match(text) {
				t.Errorf("%s: ./just fuzz leaves out %s", s.path, f.Name.Name)
			}
		}
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out))
	}
	return string(out)
}
