package render

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/reports"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name, or writes the file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run go test -update to make it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// example loads one of the example runs written by the tests of package reports.
func example(t testing.TB, name string) *reports.Run {
	t.Helper()
	run, err := reports.Load(filepath.Join("..", "testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestRender(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"good", "chaos", "unmeasured"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := example(t, name)
			var comparison *reports.Comparison
			if name == "good" {
				base := example(t, name)
				base.TestRun.ID = "baseline-20261121-214113"
				comparison = reports.Compare(base, run)
			}
			var text, html bytes.Buffer
			if err := WriteText(&text, run, comparison, "runs/x/report.html"); err != nil {
				t.Fatal(err)
			}
			if err := WriteHTML(&html, run, comparison); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", text.Bytes())
			golden(t, name+".html", html.Bytes())
		})
	}
}

// TestHTMLStandsAlone: a report is read from a disk, perhaps years later, and holds others' text.
func TestHTMLStandsAlone(t *testing.T) {
	t.Parallel()
	var html bytes.Buffer
	if err := WriteHTML(&html, example(t, "chaos"), nil); err != nil {
		t.Fatal(err)
	}
	for _, banned := range []string{"http://", "https://", "<script", "<link", "url(", "@import",
		"ZgotmplZ", "NaN", "Inf"} {
		if strings.Contains(html.String(), banned) {
			t.Errorf("the report holds %q", banned)
		}
	}
	if !strings.Contains(html.String(), "&lt;script&gt;") {
		t.Error("the example's text is not in the report, or is not escaped")
	}
}

func TestTextEndsWithTheLine(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	run := example(t, "good")
	if err := WriteText(&text, run, nil, "runs/x/report.html"); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	last := lines[len(lines)-1]
	if last != LastLine(run, "runs/x/report.html") || !strings.HasPrefix(last, "PASS ") {
		t.Errorf("the last line is %q", last)
	}
}

// FuzzRender: every Run accepted by Decode becomes a report with no number that is not a number.
func FuzzRender(f *testing.F) {
	f.Add([]byte(`{"schemaVersion": 3}`))
	for _, name := range []string{"unmeasured", "extreme"} {
		var text bytes.Buffer
		if err := example(f, name).Encode(&text); err != nil {
			f.Fatal(err)
		}
		f.Add(text.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		run, err := reports.Decode(bytes.NewReader(text))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := errors.Join(WriteText(&out, run, nil, "x"),
			WriteHTML(&out, run, reports.Compare(run, run))); err != nil {
			t.Error(err)
		}
		for _, wrong := range []string{"NaN", "Inf"} {
			if strings.Contains(out.String(), wrong) && !bytes.Contains(text, []byte(wrong)) {
				t.Errorf("a report holds %s", wrong)
			}
		}
	})
}
