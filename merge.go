package main

import (
	"context"
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
	folder, err := experiments.PrepareOut(*out, "merged", time.Now())
	if err != nil {
		return 0, err
	}
	result, err := experiments.WriteResult(folder, merged, nil)
	if err != nil {
		return 0, err
	}
	if err := printResult(t, result, false); err != nil {
		return 0, err
	}
	return verdictCode(merged.Verdict.Status), nil
}
