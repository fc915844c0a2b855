package render

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/reports"
)

// TestAskedAndHappened: the text and the page show the plan of each scenario beside the iterations
// that happened, and the requests for the load; the Run of an older lab has neither.
func TestAskedAndHappened(t *testing.T) {
	t.Parallel()
	run := example(t, "good")
	run.Load.Model = "closed"
	run.Load.Asked = map[string]string{"rate": "40", "seed": "7"}
	run.Load.Scenarios = []reports.ScenarioLoad{
		{Name: "load", Schedule: "constant-arrival-rate 40/s 1m0s", Measured: true, Open: true,
			Planned: 2400, Iterations: 1200, Writes: 3600},
		{Name: "own", Schedule: "constant-vus 1 VU 5s", Measured: true, Planned: -1, Writes: 9},
	}
	run.Load.Operations = reports.Operations{Insert: 1}
	run.Load.SilentIterations = -1
	for _, c := range []struct {
		write func(*bytes.Buffer) error
		says  []string
	}{
		{func(b *bytes.Buffer) error { return WriteText(b, run, nil, "") }, []string{
			" load: constant-arrival-rate 40/s 1m0s 2400 1200 3600\n",
			" own: constant-vus 1 VU 5s ? 0 9\n", " asked: rate 40, seed 7\n",
			" happened: closed model, 100/s for 60 s of 60 s planned, seed 1\n",
			" chosen 70/20/10, written 100/0/0\n", " iterations without a write: ?\n"}},
		{func(b *bytes.Buffer) error { return WriteHTML(b, run, nil) }, []string{
			`<td>2400</td><td class="bad">1200</td><td>3600</td>`,
			`<td>?</td><td>0</td><td>9</td>`, "<li>asked: rate 40, seed 7</li>",
			"<li>happened: closed model, 100/s for 60 s of 60 s planned, seed 1</li>"}},
	} {
		var page bytes.Buffer
		if err := c.write(&page); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(strings.Join(strings.FieldsFunc(page.String(),
			func(r rune) bool { return r == ' ' }), " "), "\n ", "\n") // the columns' blanks
		for _, want := range c.says {
			if !strings.Contains(text, strings.TrimPrefix(want, " ")) {
				t.Errorf("want %q in\n%s", want, text)
			}
		}
	}
	run.Load = reports.Workload{}
	var text, html bytes.Buffer
	if err := WriteText(&text, run, nil, ""); err != nil {
		t.Fatal(err)
	}
	if err := WriteHTML(&html, run, nil); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "happened") || strings.Contains(html.String(), "<h2>Load<") {
		t.Error("a run without its load shows a load")
	}
}
