package experiments

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// TestSegmentsOfOnePipeline: two generators at once, each with half of the load on the same
// pipeline. Merged, their counts add up exactly, and the percentiles are a single histogram's of
// both ledgers.
func TestSegmentsOfOnePipeline(t *testing.T) {
	held := begin(t, smoke(t, 0, 0))
	rate, e := 60, held.stack.Endpoints()
	if held.stack.MongoKind() == stack.SecantusPy {
		rate = 20
	}
	var configs []Config
	for n := range 2 {
		c := smoke(t, rate, 6*time.Second)
		c.Segment, c.Programs = fmt.Sprintf("%d/2", n+1), held.config.Programs
		c.Stack = stack.Options{Kind: stack.External, MongoURI: e.MongoURI,
			External: externalOf(e)}
		c.Stack.External.ConsumerMetricsURLs = e.ConsumerMetricsURLs
		configs = append(configs, c)
	}
	runs, failed := make([]*reports.Run, len(configs)), make(chan error, len(configs))
	for n, c := range configs {
		go func() {
			result, err := Run(t.Context(), c)
			if err == nil {
				runs[n] = result.Run
			}
			failed <- err
		}()
	}
	if err := errors.Join(<-failed, <-failed); err != nil {
		t.Fatal(err)
	}
	merged, err := reports.Merge(runs...)
	if err != nil {
		t.Fatal(err)
	}
	if c := merged.Clock; !strings.HasPrefix(c.NotMeasured, "connector and kafka") ||
		len(c.Offsets) == 0 {
		t.Errorf("clocks %+v, want that it says which are not measured", c)
	}
	whole, writes := recordedOf(t, configs)
	// k6 may begin an iteration at the very end of the load.
	if n := int64(6 * rate); merged.Summary.TotalOperations != writes || writes < n ||
		writes > n+2 {
		t.Errorf("%d operations, %d writes in both ledgers, want %d",
			merged.Summary.TotalOperations, writes, n)
	}
	ok := runs[0].Consistency.Counts[reports.OK] + runs[1].Consistency.Counts[reports.OK]
	if c := merged.Consistency; !c.Checked || ok == 0 || c.Counts[reports.OK] != ok ||
		c.Rows != ok {
		t.Errorf("%s; the parts had %d ok", c.Sentence(), ok)
	}
	for _, want := range whole.Stages() {
		got, found := merged.StageOf(want.Stage, want.Entity, want.Operation)
		if !found || got.Count != want.Count {
			t.Errorf("%s %s %s: %d samples, want %d", want.Stage, want.Entity, want.Operation,
				got.Count, want.Count)
		}
		for _, p := range [][2]float64{{got.P50, want.P50}, {got.P95, want.P95},
			{got.P99, want.P99}, {got.Max, want.Max}} {
			if math.Abs(p[0]-p[1]) > 0.001*p[1] { // the histogram keeps three digits
				t.Errorf("%s %s: %+v, want %+v", want.Entity, want.Operation, got.Latency,
					want.Latency)
			}
		}
	}
	t.Logf("%d + %d = %d operations; merged p50 %.3f p95 %.3f p99 %.3f ms",
		runs[0].Summary.TotalOperations,
		runs[1].Summary.TotalOperations, merged.Summary.TotalOperations, merged.Summary.Latency.P50,
		merged.Summary.Latency.P95, merged.Summary.Latency.P99)
}

// recordedOf returns the writes in the ledgers of all segments.
func recordedOf(t *testing.T, configs []Config) (whole *reports.Recorder, writes int64) {
	t.Helper()
	whole = reports.NewRecorder()
	for _, c := range configs {
		if _, _, err := ledger.Read(filepath.Join(c.Out, "ledger.jsonl"),
			func(w ledger.Write) error {
				if !w.Measured() {
					return nil
				}
				if writes++; w.VisibleNs > 0 {
					whole.Add(reports.E2E, w.Entity, string(w.Op), 0,
						time.Duration(w.VisibleNs-w.IntendedNs))
				}
				return nil
			}); err != nil {
			t.Fatal(err)
		}
	}
	return whole, writes
}
