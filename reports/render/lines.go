package render

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/cdclab/cdclab/reports"
)

// WriteBenchmarks writes a Run in the format of Go's benchmarks, which benchstat reads: a line for
// each stage, entity and operation, with the number of samples and the percentiles in seconds, and
// a line of the whole. Format: golang.org/design/14313-benchmark-format.
func WriteBenchmarks(w io.Writer, r *reports.Run) error {
	var b bytes.Buffer
	p := &r.Provenance
	for _, setting := range [][2]string{{"goos", p.Host.OS}, {"goarch", p.Host.Arch},
		{"cpu", p.Host.CPUModel}, {"pkg", "cdclab/" + benchmarkName(r.TestRun.Scenario)},
		{"stack", p.Stack}, {"mongo", p.MongoKind}, {"commit", p.Commit}, {"run", r.TestRun.ID}} {
		if value := strings.Join(strings.Fields(setting[1]), " "); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", setting[0], value)
		}
	}
	name := "Benchmark" + benchmarkName(r.TestRun.Scenario)
	for _, s := range r.Stages {
		if s.Count == 0 {
			continue
		}
		row := name + "/stage=" + benchmarkName(s.Stage)
		if s.Entity != "" {
			row += "/entity=" + benchmarkName(s.Entity)
		}
		if s.Operation != "" {
			row += "/op=" + benchmarkName(s.Operation)
		}
		fmt.Fprintf(&b, "%s %d", row, s.Count)
		for _, v := range []struct {
			ms   float64
			unit string
		}{{s.P50, "p50-sec"}, {s.P95, "p95-sec"}, {s.P99, "p99-sec"}, {s.Mean, "mean-sec"}} {
			fmt.Fprintf(&b, " %s %s", strconv.FormatFloat(v.ms/1e3, 'g', 6, 64), v.unit)
		}
		fmt.Fprintln(&b)
	}
	if n := r.Summary.TotalOperations; n > 0 {
		fmt.Fprintf(&b, "%s %d %g writes/s %g errors/op", name, n, r.Summary.Throughput.Mean,
			r.Summary.Errors.Rate)
		for _, c := range r.Resources {
			fmt.Fprintf(&b, " %g %s-cpu-sec/op", c.CPUSeconds/float64(n),
				benchmarkName(c.Component))
		}
		fmt.Fprintln(&b)
	}
	return deliver(w, &b, "benchmark lines")
}

// benchmarkName replaces what ends a word in a benchmark line.
func benchmarkName(text string) string {
	return strings.Map(func(c rune) rune {
		if c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
			c > 127 && strconv.IsPrint(c) {
			return c
		}
		return '_'
	}, text)
}

// WriteCSV writes the seconds of a Run with a line of names: the counts, the percentiles of e2e,
// and the mean of each recorded stage, in milliseconds. The means are as of their block, which is
// longer than a second in a long Run; a cell without samples is empty.
func WriteCSV(w io.Writer, r *reports.Run) error {
	names := []string{"second", "offered", "committed", "visible", "outstanding", "e2e_p50_ms",
		"e2e_p95_ms", "e2e_p99_ms", "e2e_max_ms"}
	stages := []string{reports.ScheduleDelay, reports.Commit, reports.Pipeline, reports.E2E}
	for _, stage := range stages {
		names = append(names, stage+"_mean_ms")
	}
	var b bytes.Buffer
	out := csv.NewWriter(&b)
	_ = out.Write(names) // into memory, as all that follow
	timelines, block := r.Histograms.Timelines(), max(1, r.Histograms.BlockSeconds)
	for _, s := range r.Series {
		row := []string{}
		for _, n := range []int64{int64(s.Second), s.Offered, s.Committed, s.Visible,
			s.Outstanding} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		for _, ms := range []float64{s.P50, s.P95, s.P99, s.Max} {
			row = append(row, csvNumber(ms, s.Max > 0))
		}
		for _, stage := range stages {
			at, mean := s.Second/block, 0.0
			known := at < len(timelines[stage]) && timelines[stage][at].Samples() > 0
			if known {
				mean = timelines[stage][at].TotalMs() / float64(timelines[stage][at].Samples())
			}
			row = append(row, csvNumber(mean, known))
		}
		_ = out.Write(row)
	}
	out.Flush()
	return deliver(w, &b, "CSV")
}

func csvNumber(v float64, known bool) string {
	if !known {
		return ""
	}
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64)
}
