package render

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"io"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"

	"github.com/cdclab/cdclab/reports"
)

// written is what write makes of a Run.
func written(t *testing.T, write func(io.Writer, *reports.Run) error, r *reports.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"good", "chaos", "unmeasured"} {
		run := example(t, name)
		var markdown bytes.Buffer
		if err := WriteMarkdown(&markdown, run,
			reports.Compare(example(t, "good"), run)); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".md", markdown.Bytes())
		golden(t, name+".junit.xml", []byte(written(t, WriteJUnit, run)))
		golden(t, name+".bench", []byte(written(t, WriteBenchmarks, run)))
	}
}

// TestMarkdownShowsTextAsWritten: names from elsewhere neither format nor call anybody.
func TestMarkdownShowsTextAsWritten(t *testing.T) {
	t.Parallel()
	run := example(t, "chaos")
	run.Verdict.Reasons = []string{"a|b <img src=x> @everyone [x](y) `z`\n# not a heading"}
	var b bytes.Buffer
	if err := WriteMarkdown(&b, run, nil); err != nil {
		t.Fatal(err)
	}
	for _, banned := range []string{"<img", "@everyone", "[x](y)", "\n# not", "a|b"} {
		if strings.Contains(b.String(), banned) {
			t.Errorf("the comment holds %q:\n%s", banned, b.String())
		}
	}
	if !strings.HasPrefix(b.String(), "### FAIL baseline\n") {
		t.Errorf("begins with %.40q", b.String())
	}
}

// TestJUnitCounts: a failed run has failures, an unknown one an error, and a pass neither.
func TestJUnitCounts(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]bool{"good": {false, false}, "chaos": {true, false},
		"unmeasured": {false, true}} {
		var suite junitSuite
		if err := xml.Unmarshal([]byte(written(t, WriteJUnit, example(t, name))),
			&suite); err != nil {
			t.Fatal(err)
		}
		var failures, errors int
		for _, one := range suite.Cases {
			if one.Failure != nil {
				failures++
			}
			if one.Error != nil {
				errors++
			}
		}
		if suite.Tests != len(suite.Cases) || suite.Failures != failures ||
			suite.Errors != errors ||
			[2]bool{failures > 0, errors > 0} != want {
			t.Errorf("%s: %+v, %d failures and %d errors", name, suite, failures, errors)
		}
	}
}

// TestBenchmarksAreRead: the reader of benchstat takes every line, with the numbers of the Run.
func TestBenchmarksAreRead(t *testing.T) {
	t.Parallel()
	run := example(t, "good")
	run.TestRun.Scenario = "my load / of 1"
	reader := benchfmt.NewReader(strings.NewReader(written(t, WriteBenchmarks, run)), "run")
	lines, p50 := 0, 0.0
	for reader.Scan() {
		switch line := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Error(line)
		case *benchfmt.Result:
			lines++
			if string(line.Name) == "My_load___of_1/stage=e2e" ||
				string(line.Name) == "my_load___of_1/stage=e2e" {
				p50, _ = line.Value("p50-sec")
			}
		}
	}
	if err := reader.Err(); err != nil {
		t.Error(err)
	}
	if lines != len(run.Stages)+1 || p50 != run.Summary.Latency.P50/1e3 {
		t.Errorf("%d lines of %d stages, e2e p50 %v s", lines, len(run.Stages), p50)
	}
}

// TestCSV: a line for each second, with the numbers of the series.
func TestCSV(t *testing.T) {
	t.Parallel()
	run := example(t, "good")
	rows, err := csv.NewReader(strings.NewReader(written(t, WriteCSV, run))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(run.Series)+1 {
		t.Fatalf("%d rows of %d seconds", len(rows), len(run.Series))
	}
	for i, s := range run.Series {
		row := rows[i+1]
		p99, _ := strconv.ParseFloat(row[7], 64)
		mean, _ := strconv.ParseFloat(row[12], 64)
		if row[0] != strconv.Itoa(s.Second) || p99 != s.P99 || mean <= 0 || mean > s.Max {
			t.Errorf("second %d: %q, want %+v", i, row, s)
		}
	}
	for _, cell := range strings.Split(written(t, WriteCSV, example(t, "extreme")), ",") {
		if cell == "NaN" || cell == "+Inf" {
			t.Errorf("a cell is %s", cell)
		}
	}
}
