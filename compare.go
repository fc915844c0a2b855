package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/archive"
	"github.com/cdclab/cdclab/reports/gate"
	"github.com/cdclab/cdclab/reports/render"
	"github.com/cdclab/cdclab/reports/trend"
)

// versus stands between the runs of two sides.
const versus = "vs"

// mostRuns bounds the arguments that are runs or folders of runs.
const mostRuns = 1000

// compare compares two runs, two groups of runs, or runs with the stored baseline of their stack,
// scenario and machine.
func compare(_ context.Context, t terminal, args []string) (int, error) {
	set := flags("compare", t)
	asJSON := set.Bool("json", false, "the comparison of two groups as JSON")
	positional, err := parse(set, args, 1, mostRuns)
	if err != nil {
		return 0, err
	}
	base, head, err := readSides(positional)
	if err != nil {
		return 0, err
	}
	if len(base) == 0 {
		var why string
		if base, why, err = baselineOf(head[0]); err != nil {
			return 0, err
		}
		if why != "" {
			fmt.Fprintln(t.out, why)
			return exitUnknown, nil
		}
		if len(base) == 0 {
			return 0, fmt.Errorf("no baseline is stored for %s on %s", head[0].TestRun.Scenario,
				head[0].Provenance.Stack)
		}
	}
	if len(head) == 1 && !slices.Contains(positional, versus) {
		return compareSingle(t, archive.Typical(base), head[0])
	}
	comparison := gate.Compare(base, head)
	write := comparison.WriteText
	if *asJSON {
		write = comparison.WriteJSON
	}
	return verdictCode(comparison.Verdict.Status), write(t.out)
}

// compareSingle compares single runs, which tell gross changes alone.
func compareSingle(t terminal, base, head *reports.Run) (int, error) {
	comparison := reports.Compare(base, head)
	err := render.WriteComparison(t.out, comparison)
	if comparison.Comparable {
		fmt.Fprintf(t.out, "  at least %d runs a side tell smaller changes: "+
			"cdclab compare BASE.json... %s HEAD.json...\n",
			gate.LeastRuns(0.05, len(gate.Primary)), versus)
	}
	return verdictCode(comparison.Verdict.Status), err
}

// readSides reads the runs of both sides: BASE... vs HEAD..., BASE HEAD, or the head alone. A side
// may be a folder, which means all runs below.
func readSides(args []string) (base, head []*reports.Run, err error) {
	first, second := args[:len(args)-1], args[len(args)-1:]
	if i := slices.Index(args, versus); i >= 0 {
		first, second = args[:i], args[i+1:]
	} else if len(args) > 2 {
		return nil, nil, fmt.Errorf("%d runs: put %s between the base's and the head's", len(args),
			versus)
	}
	if base, err = readRuns(first); err == nil {
		head, err = readRuns(second)
	}
	if err == nil && len(head) == 0 {
		err = errors.New("no run of the head is named")
	}
	return base, head, err
}

// readRuns reads runs, each a file or a folder of files.
func readRuns(paths []string) (runs []*reports.Run, err error) {
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			run, err := experiments.LoadRun(path)
			if err != nil {
				return nil, err
			}
			runs = append(runs, run)
			continue
		}
		groups, err := archive.Read(path, time.Time{})
		if err != nil {
			return nil, err
		}
		if len(groups) == 0 {
			return nil, fmt.Errorf("no run in the folder %s", path)
		}
		for _, group := range groups {
			runs = append(runs, group.Runs()...)
		}
	}
	return runs, nil
}

// baselineOf returns the samples of the stored baseline for a run, or why there are none.
func baselineOf(run *reports.Run) (samples []*reports.Run, why string, err error) {
	root, err := experiments.FindRoot()
	if err != nil {
		return nil, "", err
	}
	return archive.Baseline(experiments.BaselineDir(root), run)
}

// againstBaseline is nil where no baseline is stored, and outside a checkout, which has none.
func againstBaseline(run *reports.Run) (*reports.Comparison, error) {
	if _, err := experiments.FindRoot(); err != nil {
		return nil, nil
	}
	samples, _, err := baselineOf(run)
	if err != nil || len(samples) == 0 {
		return nil, err
	}
	return reports.Compare(archive.Typical(samples), run), nil
}

// baseline keeps the samples that later runs are compared with.
func baseline(_ context.Context, t terminal, args []string) (int, error) {
	positional, err := parse(flags("baseline", t), args, 1, mostRuns)
	if err != nil {
		return 0, err
	}
	root, err := experiments.FindRoot()
	if err != nil {
		return 0, err
	}
	dir, verb := experiments.BaselineDir(root), positional[0]
	var paths []string
	switch verb {
	case "list":
		groups, err := archive.Read(dir, time.Time{})
		return exitPass, errors.Join(trend.WriteHistory(t.out, groups), err)
	case "save", "accept", "show":
	default:
		return 0, fmt.Errorf("unknown verb %q, want save, accept, list or show", verb)
	}
	runs, err := readRuns(positional[1:])
	if err != nil {
		return 0, err
	}
	if len(runs) == 0 {
		return 0, fmt.Errorf("%s which run? name a run.json or a folder of runs", verb)
	}
	switch verb {
	case "save":
		paths, err = archive.SaveBaseline(dir, runs...)
	case "accept":
		paths, err = archive.AcceptBaseline(dir, runs...)
	case "show":
		return showBaseline(t, runs[0])
	}
	for _, path := range paths {
		fmt.Fprintln(t.out, "stored", path)
	}
	return exitPass, err
}

// showBaseline prints the samples that a run would be compared with.
func showBaseline(t terminal, run *reports.Run) (int, error) {
	samples, why, err := baselineOf(run)
	if err != nil {
		return 0, err
	}
	if len(samples) == 0 {
		fmt.Fprintln(t.out, cmp.Or(why, "No baseline is stored for this run."))
		return exitUnknown, nil
	}
	group := archive.Group{Key: archive.KeyOf(run)}
	for _, sample := range samples {
		group.Entries = append(group.Entries, archive.Entry{Run: sample})
	}
	return exitPass, trend.WriteHistory(t.out, []archive.Group{group})
}
