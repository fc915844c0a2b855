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
	maxRoomFiles = 15 // of a room, without tests
	maxRoomFuncs = 150
	maxRecipes   = 15
)

// openToAll are rooms for every room, as a standard library is: how servers are reached, what a
// person may see, and how files that a person names are read.
var openToAll = []string{"hop", "hop/pg", "namedfile", "shown"}

// testRooms are the last elements of rooms imported only by tests.
var testRooms = []string{"corpus", "servertest", "consumertest", "documentstest"}

var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "types",
	"models"}

// source is a parsed Go file of the project.
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
		all = append(all, &source{path, room, bytes.Count(text, []byte("\n")), file, fset,
			string(text)})
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
				t.Errorf("%s: %s has %d lines, at most %d",
					s.path, f.Name.Name, lines, maxFuncLines)
			}
		}
	}
}

// TestRooms: a room with more files or functions than a newcomer can overlook is two rooms.
func TestRooms(t *testing.T) {
	t.Parallel()
	files, funcs := map[string]int{}, map[string]int{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		files[s.room]++
		for _, d := range s.file.Decls {
			if _, is := d.(*ast.FuncDecl); is {
				funcs[s.room]++
			}
		}
	}
	for room := range files {
		if files[room] > maxRoomFiles || funcs[room] > maxRoomFuncs {
			t.Errorf("%q has %d files and %d functions, at most %d and %d",
				room, files[room], funcs[room], maxRoomFiles, maxRoomFuncs)
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
			if ours && slices.Contains(testRooms, filepath.Base(target)) &&
				!slices.Contains(testRooms, filepath.Base(s.room)) {
				t.Errorf("%s imports %s, which is for tests only", s.path, target)
			}
			if ours && !slices.Contains(mayImport[s.room], target) &&
				!slices.Contains(openToAll, target) {
				t.Errorf("%s imports %s: %q may use %v", s.path, target, s.room, mayImport[s.room])
			}
		}
	}
}

// TestConsumerIsLean: the consumer is deployed alone, without the needs of the lab alone.
func TestConsumerIsLean(t *testing.T) {
	t.Parallel()
	deps := output(t, "go", "list", "-deps", "./consumer/cmd/consumer")
	for _, heavy := range []string{"go.k6.io/", "franz-go/pkg/kfake", "oxiproxy", "pglogrepl",
		"embedded-postgres", "google.golang.org/grpc", "jackc/pgx"} {
		if strings.Contains(deps, heavy) {
			t.Errorf("the consumer links %s", heavy)
		}
	}
	if !strings.Contains(deps, "github.com/twmb/franz-go/pkg/kgo") {
		t.Error("the list of dependencies does not even hold the Kafka client: " +
			"this test looks at the wrong thing")
	}
}

func TestNoSleepsInTests(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test() && s.path != "tidy_test.go" && strings.Contains(s.text, "time."+"Sleep(") {
			t.Errorf("%s sleeps: wait for the condition, or use testing/synctest", s.path)
		}
	}
}

// TestChildrenHaveMadeEnvironments: only stack/process starts programs, so that no program gets a
// variable of the shell outside the table there.
func TestChildrenHaveMadeEnvironments(t *testing.T) {
	t.Parallel()
	started := regexp.MustCompile(`exec\.Command|os\.Environ|os\.StartProcess|syscall\.Exec`)
	for _, s := range sources(t) {
		if found := started.FindString(s.text); found != "" && !s.test() &&
			s.room != "stack/process" {
			t.Errorf("%s uses %s: stack/process makes children and their environments", s.path,
				found)
		}
	}
}

// TestFilesAreOpenedByOneRoom: namedfile opens the files that a person names, and never waits. The
// other files are written by the lab itself or the kernel.
func TestFilesAreOpenedByOneRoom(t *testing.T) {
	t.Parallel()
	opened := regexp.MustCompile(`os\.(Open|ReadFile)\(|LoadX509KeyPair`)
	own := []string{"experiments/folder.go", "experiments/gating/builds.go",
		"experiments/observe/cgroup.go", "reports/wholefile/wholefile.go",
		"stack/postgres/owner.go", "stack/process/tool.go", "stack/process/tree_linux.go",
		"stack/servertest/skips/main.go"}
	for _, s := range sources(t) {
		found := opened.FindString(s.text)
		if found != "" && !s.test() && !slices.Contains(own, s.path) {
			t.Errorf("%s uses %s: namedfile opens what a person names", s.path, found)
		}
	}
}

// TestServersHaveLimits: every HTTP server is one of telemetry.ServePages, because http.Server has
// no limits by default.
func TestServersHaveLimits(t *testing.T) {
	t.Parallel()
	served := regexp.MustCompile(`http\.Server\{|http\.(ListenAnd)?Serve(TLS)?\(|new\(http\.Server`)
	for _, s := range sources(t) {
		if found := served.FindString(s.text); found != "" && !s.test() &&
			s.path != "consumer/telemetry/http.go" {
			t.Errorf("%s uses %s: telemetry.ServePages sets the limits", s.path, found)
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

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out))
	}
	return string(out)
}
