package render

import (
	"bytes"
	"testing"

	"github.com/cdclab/cdclab/reports"
)

func TestWriteComparison(t *testing.T) {
	t.Parallel()
	base, head := example(t, "good"), example(t, "good")
	base.TestRun.ID = "baseline-20261121-214113"
	head.Provenance.StackVersions["postgres"] = "17.3"
	head.Provenance.ScenarioSHA256 = "changed"
	head.Provenance.GoVersion = "go1.27"
	for i := range head.Stages {
		if s := &head.Stages[i]; s.Stage == reports.E2E && s.Entity == "" {
			s.P50, s.P95, s.P99, s.Max = s.P50*1.2, s.P95*1.2, s.P99*1.2, s.Max*1.2
		}
	}
	head.Conclude()
	var text bytes.Buffer
	if err := WriteComparison(&text, reports.Compare(base, head)); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", text.Bytes())

	head.Provenance.Host.Fingerprint = "other"
	text.Reset()
	if err := WriteComparison(&text, reports.Compare(base, head)); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare-other-machine.txt", text.Bytes())
}
