package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
)

// merge puts the runs of a divided load together: those of `bench --segment 1/2`, `--segment 2/2`.
func merge(_ context.Context, t terminal, args []string) (int, error) {
	set := flags("merge", t)
	out := set.String("out", "", "folder for run.json and report.html (default: runs/merged-TIME)")
	paths, err := parse(set, args, 2, 64)
	if err != nil {
		return 0, err
	}
	var runs []*reports.Run
	for _, path := range paths {
		run, err := reports.Load(path)
		if err != nil {
			return 0, err
		}
		runs = append(runs, run)
	}
	merged, err := reports.Merge(runs...)
	if err != nil {
		return 0, err
	}
	if *out == "" {
		root, err := experiments.FindRoot()
		if err != nil {
			return 0, err
		}
		*out = filepath.Join(root, "runs", "merged-"+time.Now().UTC().Format("20060102-150405"))
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return 0, fmt.Errorf("make the out folder: %w", err)
	}
	page := filepath.Join(*out, "report.html")
	if err := experiments.WriteRun(filepath.Join(*out, "run.json"), merged); err != nil {
		return 0, err
	}
	if err := experiments.WriteReport(page, merged, nil); err != nil {
		return 0, err
	}
	if err := reports.WriteText(t.out, merged, nil, fromHere(page)); err != nil {
		return 0, fmt.Errorf("print the summary: %w", err)
	}
	return verdictCode(merged.Verdict.Status), nil
}
