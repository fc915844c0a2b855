package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/render"
)

// formats write a stored run for other programs, by the values of --format beside text.
var formats = map[string]func(io.Writer, *reports.Run, *reports.Comparison) error{
	"html": render.WriteHTML, "markdown": render.WriteMarkdown,
	"junit":     withoutComparison(render.WriteJUnit),
	"benchstat": withoutComparison(render.WriteBenchmarks),
	"csv":       withoutComparison(render.WriteCSV),
}

func withoutComparison(write func(io.Writer, *reports.Run) error) func(io.Writer, *reports.Run,
	*reports.Comparison) error {
	return func(w io.Writer, r *reports.Run, _ *reports.Comparison) error { return write(w, r) }
}

// report renders a stored run again: as text and as a page beside the file of the run, or in the
// format asked for.
func report(_ context.Context, t terminal, args []string) (int, error) {
	set := flags("report", t)
	format := set.String("format", "text", "`text` (and a page beside RUN.json), html, markdown "+
		"(a comment on a pull request), junit, benchstat, csv (the seconds)")
	against := set.String("against", "", "`BASE.json`, the run to compare with (default: the "+
		"stored baseline)")
	positional, err := parse(set, args, 1, 1)
	if err != nil {
		return 0, err
	}
	write := formats[*format]
	if write == nil && *format != "text" {
		return 0, fmt.Errorf("--format %q: want text, html, markdown, junit, benchstat or csv",
			*format)
	}
	run, err := experiments.LoadRun(positional[0])
	if err != nil {
		return 0, err
	}
	comparison, err := t.compareWith(*against, run)
	if err != nil {
		return 0, err
	}
	if write != nil {
		return verdictCode(run.Verdict.Status), write(t.out, run, comparison)
	}
	path := pagePath(positional[0])
	saved := render.SaveHTML(path, run, comparison)
	if saved != nil {
		path = ""
	}
	if err := render.WriteText(t.out, run, comparison, path); err != nil || saved != nil {
		return 0, errors.Join(err, saved)
	}
	return verdictCode(run.Verdict.Status), nil
}

// compareWith compares a run with the base at a path, or with the stored baseline, where there is
// one.
func (t terminal) compareWith(path string, run *reports.Run) (*reports.Comparison, error) {
	if path != "" {
		base, err := experiments.LoadRun(path)
		if err != nil {
			return nil, err
		}
		return reports.Compare(base, run), nil
	}
	comparison, err := againstBaseline(run)
	if err != nil { // the run is there all the same
		t.say("cdclab report: without a baseline: " + err.Error())
	}
	return comparison, nil
}

// pagePath is the place of the HTML report of a stored run: report.html beside run.json, and
// first.report.html beside first.json, so that runs in one folder have pages of their own.
func pagePath(run string) string {
	folder, name := filepath.Split(run)
	if name == "run.json" {
		return filepath.Join(folder, "report.html")
	}
	return filepath.Join(folder, strings.TrimSuffix(name, ".json")+".report.html")
}

// merge puts the runs of a divided load together: `bench --segment 1/2`, `--segment 2/2`.
func merge(_ context.Context, t terminal, args []string) (int, error) {
	set := flags("merge", t)
	out := set.String("out", "", "folder for run.json and report.html (default: runs/merged-TIME)")
	paths, err := parse(set, args, 2, 64)
	if err != nil {
		return 0, err
	}
	var runs []*reports.Run
	for _, path := range paths {
		run, err := experiments.LoadRun(path)
		if err != nil {
			return 0, err
		}
		runs = append(runs, run)
	}
	merged, err := reports.Merge(runs...)
	if err != nil {
		return 0, err
	}
	folder, err := experiments.PrepareOut(*out, "merged", time.Now())
	if err != nil {
		return 0, err
	}
	defer folder.Close()
	result, err := folder.WriteResult(merged, nil)
	if err != nil {
		return 0, err
	}
	if err := printResult(t, result, false); err != nil {
		return 0, err
	}
	return verdictCode(merged.Verdict.Status), nil
}
