package reports

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name, or writes it.
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

// unmeasuredRun has nothing in it but what Validate asks for.
func unmeasuredRun(*testing.T) *Run {
	d := describedRun()
	r := &Run{SchemaVersion: SchemaVersion, TestRun: d.TestRun}
	r.Provenance.Stack = "external"
	r.Tracker.AskedShare = 1
	r.Conclude()
	return r
}

func TestRender(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]*Run{
		"good": goodRun(t), "chaos": chaosRun(t), "unmeasured": unmeasuredRun(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var comparison *Comparison
			if name == "good" {
				comparison = Compare(goodRun(t), run)
			}
			var text, html, encoded bytes.Buffer
			if err := WriteText(&text, run, comparison, "runs/x/report.html"); err != nil {
				t.Fatal(err)
			}
			if err := WriteHTML(&html, run, comparison); err != nil {
				t.Fatal(err)
			}
			if err := run.Encode(&encoded); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", text.Bytes())
			golden(t, name+".html", html.Bytes())
			if name == "good" {
				golden(t, name+".json", encoded.Bytes())
			}
			again, err := Decode(&encoded)
			if err != nil {
				t.Fatal(err)
			}
			var same bytes.Buffer
			if err := WriteHTML(&same, again, comparison); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(same.Bytes(), html.Bytes()) {
				t.Error("the report of the decoded run is another one")
			}
		})
	}
}

// TestHTMLStandsAlone: a report is read from a disk, perhaps years later, and holds others' text.
func TestHTMLStandsAlone(t *testing.T) {
	t.Parallel()
	var html bytes.Buffer
	if err := WriteHTML(&html, chaosRun(t), nil); err != nil {
		t.Fatal(err)
	}
	for _, banned := range []string{"http://", "https://", "<script", "<link", "url(", "@import", "ZgotmplZ", "NaN", "Inf"} {
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
	run := goodRun(t)
	if err := WriteText(&text, run, nil, "runs/x/report.html"); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	last := lines[len(lines)-1]
	if last != LastLine(run, "runs/x/report.html") || !strings.HasPrefix(last, "PASS ") {
		t.Errorf("the last line is %q", last)
	}
}
