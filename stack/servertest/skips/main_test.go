package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "skipped.jsonl")
	var out strings.Builder
	if err := run(path, false, &out); err != nil ||
		out.String() != "no test skipped for want of a server\n" {
		t.Errorf("without a file: %v, %s", err, out.String())
	}
	noted := `{"dir":"/a","test":"TestOne/x","lacks":"change streams"}
{"dir":"/a","test":"TestOne/y","lacks":"change streams"}
{"dir":"/b","test":"TestTwo","lacks":"a view with $lookup"}
`
	if err := os.WriteFile(path, []byte(noted), 0o600); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	want := "3 tests skipped: no server with a view with $lookup (1), change streams (2)\n"
	if err := run(path, false, &out); err != nil || out.String() != want {
		t.Errorf("%v, %q, want %q", err, out.String(), want)
	}
	skipped, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"/a": "^(TestOne)$", "/b": "^(TestTwo)$"},
		patterns(skipped)); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(path, []byte("{}\nno json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(path); err == nil || !strings.Contains(err.Error(), path+":2:") {
		t.Errorf("a broken line: %v", err)
	}
}

// TestAgainFailsWithoutServers: the tests run, and an error names the folder of a failing test.
func TestAgainFailsWithoutServers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module x\n\ngo 1.26\n",
		"x_test.go": "package x\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n" +
			"func TestNeeds(t *testing.T) {\n" +
			"\tif os.Getenv(\"CDCLAB_REQUIRE_SERVERS\") == \"1\" {\n" +
			"\t\tt.Fatal(\"no server\")\n\t}\n}\n",
		"skipped.jsonl": `{"dir":` + `"` + dir + `","test":"TestNeeds","lacks":"x"}` + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	err := run(filepath.Join(dir, "skipped.jsonl"), true, &out)
	if err == nil || !strings.Contains(err.Error(), "TestNeeds") ||
		!strings.Contains(out.String(), "no server") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
