package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
)

// report renders a stored run again, beside its run.json.
func report(_ context.Context, t terminal, args []string) (int, error) {
	positional, err := parse(flags("report", t), args, 1, 1)
	if err != nil {
		return 0, err
	}
	run, err := reports.Load(positional[0])
	if err != nil {
		return 0, err
	}
	comparison, err := againstBaseline(run)
	if err != nil {
		return 0, err
	}
	path := filepath.Join(filepath.Dir(positional[0]), "report.html")
	if err := experiments.WriteReport(path, run, comparison); err != nil {
		return 0, err
	}
	return verdictCode(run.Verdict.Status), reports.WriteText(t.out, run, comparison, path)
}

// compare compares two runs, or one with the stored baseline of its stack and scenario.
func compare(_ context.Context, t terminal, args []string) (int, error) {
	positional, err := parse(flags("compare", t), args, 1, 2)
	if err != nil {
		return 0, err
	}
	first, err := reports.Load(positional[0])
	if err != nil {
		return 0, err
	}
	var comparison *reports.Comparison
	if len(positional) == 2 {
		head, err := reports.Load(positional[1])
		if err != nil {
			return 0, err
		}
		comparison = reports.Compare(first, head)
	} else if comparison, err = againstBaseline(first); err != nil {
		return 0, err
	} else if comparison == nil {
		return 0, fmt.Errorf("no baseline is stored for %s on %s", first.TestRun.Scenario, first.Provenance.Stack)
	}
	return verdictCode(comparison.Verdict.Status), comparison.WriteText(t.out)
}

// againstBaseline is nil where no baseline is stored.
func againstBaseline(run *reports.Run) (*reports.Comparison, error) {
	dir, err := baselineDir()
	if err != nil {
		return nil, err
	}
	base, err := reports.LoadBaseline(dir, run.Provenance.Stack, run.TestRun.Scenario)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return reports.Compare(base, run), nil
}

func baseline(_ context.Context, t terminal, args []string) (int, error) {
	positional, err := parse(flags("baseline", t), args, 2, 2)
	if err != nil {
		return 0, err
	}
	if positional[0] != "save" {
		return 0, fmt.Errorf("unknown verb %q, want save", positional[0])
	}
	run, err := reports.Load(positional[1])
	if err != nil {
		return 0, err
	}
	dir, err := baselineDir()
	if err != nil {
		return 0, err
	}
	path, err := reports.SaveBaseline(dir, run)
	if err != nil {
		return 0, err
	}
	fmt.Fprintln(t.out, "stored", path)
	return exitPass, nil
}

// check compares the rows and documents of any pipeline; the lab need not have brought it up.
func check(ctx context.Context, t terminal, args []string) (int, error) {
	config := chaos.DefaultCheckConfig()
	set := flags("check", t)
	set.StringVar(&config.PostgresDSN, "postgres", os.Getenv("CDC_POSTGRES_DSN"), "PostgreSQL to read (env CDC_POSTGRES_DSN)")
	set.StringVar(&config.MongoURI, "mongo", os.Getenv("CDC_MONGO_URI"), "MongoDB to read (env CDC_MONGO_URI)")
	set.StringVar(&config.Database, "database", config.Database, "MongoDB database")
	set.StringVar(&config.LedgerPath, "ledger", "", "ledger of the run, to tell phantom from resurrected")
	set.DurationVar(&config.Settle, "settle", 5*time.Second, "how long a difference may take to go away")
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	found, err := chaos.Check(ctx, config)
	if err != nil {
		return 0, err
	}
	result := experiments.ReportConsistency(found)
	fmt.Fprintln(t.out, result.Sentence())
	for _, example := range result.Examples {
		fmt.Fprintf(t.out, "  %s %s %s: %s\n", example.Status, example.Entity, example.Key, example.Detail)
	}
	return verdictCode(result.Status()), nil
}
