package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/experiments/branch"
	"github.com/cdclab/cdclab/reports/archive"
	"github.com/cdclab/cdclab/reports/trend"
)

// kept says where runs are kept: in a folder, or in a branch of the checkout.
type kept struct {
	dir, branch string
	since       time.Time
}

func keptFlags(set *flag.FlagSet) *kept {
	var k kept
	set.StringVar(&k.branch, "branch", "", "git `branch` of the checkout that keeps the runs; "+
		"nothing is fetched or pushed")
	set.Func("since", "only runs since a `time`: 720h, or a day such as 2026-11-01",
		func(text string) error {
			day, err := time.Parse(time.DateOnly, text)
			if err == nil {
				k.since = day
				return nil
			}
			ago, err := time.ParseDuration(text)
			if err != nil || ago <= 0 {
				return errors.New("want a length such as 720h, or a day such as 2026-11-01")
			}
			k.since = time.Now().Add(-ago)
			return nil
		})
	return &k
}

// lend gives use the folder, and commits what changed in a branch.
func (k *kept) lend(ctx context.Context, message string, use func(dir string) error) error {
	switch {
	case k.branch != "" && k.dir != "":
		return fmt.Errorf("%s and --branch %s: want one of them", k.dir, k.branch)
	case k.branch == "" && k.dir != "":
		return use(k.dir)
	}
	root, err := experiments.FindRoot()
	if err != nil {
		return err
	}
	if k.branch == "" { // where bench puts runs
		runs := filepath.Join(root, "runs")
		if err := os.MkdirAll(runs, 0o755); err != nil {
			return err
		}
		return use(runs)
	}
	return branch.Lend(ctx, root, k.branch, message, use)
}

// history keeps runs for later, lists them, or forgets the old ones.
func history(ctx context.Context, t terminal, args []string) (int, error) {
	set := flags("history", t)
	k := keptFlags(set)
	set.StringVar(&k.dir, "dir", "", "`folder` that keeps the runs (default, for list: runs)")
	policy := archive.Policy{}
	set.IntVar(&policy.Days, "days", 90, "prune: every run of the last `N` days stays")
	set.IntVar(&policy.Weeks, "weeks", 104,
		"prune: of older runs the last of each week stays, for `N` weeks")
	positional, err := parse(set, args, 0, mostRuns)
	if err != nil {
		return 0, err
	}
	verb := "list"
	if len(positional) > 0 {
		verb = positional[0]
		positional = positional[1:]
	}
	if verb != "list" && k.dir == "" && k.branch == "" {
		return 0, fmt.Errorf("%s where? give --dir or --branch", verb)
	}
	switch {
	case verb == "add" && len(positional) > 0:
		runs, err := readRuns(positional)
		if err != nil {
			return 0, err
		}
		return exitPass, k.lend(ctx, fmt.Sprintf("%d runs", len(runs)), func(dir string) error {
			for _, run := range runs {
				path, err := archive.Add(dir, run)
				if err != nil {
					return err
				}
				fmt.Fprintln(t.out, "stored", path)
			}
			return nil
		})
	case verb == "list" && len(positional) == 0:
		return exitPass, k.lend(ctx, "", func(dir string) error {
			groups, err := archive.Read(dir, k.since)
			return errors.Join(trend.WriteHistory(t.out, groups), err)
		})
	case verb == "prune" && len(positional) == 0:
		return exitPass, k.lend(ctx, "prune", func(dir string) error {
			groups, err := archive.Read(dir, time.Time{})
			if err != nil {
				return err
			}
			removed, err := policy.Prune(groups, time.Now())
			fmt.Fprintf(t.out, "removed %d runs\n", len(removed))
			return err
		})
	}
	return 0, fmt.Errorf("want list, add RUN.json... or prune, got %q", verb)
}

// trends looks for the nights on which a metric changed for good. The exit code is 1 while the
// newest change of a metric is for the worse.
func trends(ctx context.Context, t terminal, args []string) (int, error) {
	set := flags("trend", t)
	k := keptFlags(set)
	page := set.String("page", "",
		"write an HTML page with the history of every metric to a `file`")
	asJSON := set.Bool("json", false, "the trends as JSON")
	g := grafanaFlags(set)
	positional, err := parse(set, args, 0, 1)
	if err != nil {
		return 0, err
	}
	if len(positional) == 1 {
		k.dir = positional[0]
	}
	if err := g.open(); err != nil {
		return 0, err
	}
	code := exitPass
	err = k.lend(ctx, "", func(dir string) error {
		groups, err := archive.Read(dir, k.since)
		if err != nil {
			t.say("cdclab trend: warning: " + err.Error())
		}
		if len(groups) == 0 {
			return fmt.Errorf("no run in %s", fromHere(dir))
		}
		var found []trend.Trend
		for _, group := range groups {
			one := trend.Find(group, trend.DefaultOptions)
			if found = append(found, one); one.IsWorse() {
				code = exitFail
			}
		}
		g.annotateTrends(ctx, t, found)
		if *page != "" {
			write := func(w io.Writer) error { return trend.WritePage(w, found) }
			if err := writeFile(*page, write); err != nil {
				return err
			}
		}
		if *asJSON {
			return json.NewEncoder(t.out).Encode(found)
		}
		return trend.WriteText(t.out, found)
	})
	return code, err
}
