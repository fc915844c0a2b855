package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/experiments/gating"
	"github.com/cdclab/cdclab/reports/gate"
	"github.com/cdclab/cdclab/reports/wholefile"
)

// gateFile is the name of a stored gate.
const gateFile = "gate.json"

// gateBuilds compares the consumers of two revisions on one warm stack, or measures how often the
// comparison is wrong.
func gateBuilds(ctx context.Context, t terminal, args []string) (int, error) {
	c := gating.DefaultConfig()
	set := flags("gate", t)
	set.StringVar(&c.Base, "base", c.Base, "git `revision` to compare with")
	set.StringVar(&c.Head, "head", c.Head,
		"git `revision` on trial; . is the files as they are, committed or not")
	set.StringVar(&c.BaseConsumer, "base-consumer", "", "program that is the base's consumer, a "+
		"`file`, in place of the consumer of --base")
	set.StringVar(&c.HeadConsumer, "head-consumer", "", "program on trial, a `file`, in place of "+
		"the consumer of --head")
	set.IntVar(&c.Rule.Runs, "runs", c.Rule.Runs, "`N` runs a side at first")
	set.IntVar(&c.Rule.MoreRuns, "more-runs", c.Rule.MoreRuns,
		"`N` runs a side in all, where a metric is suspicious")
	set.DurationVar(&c.Budget, "budget", c.Budget, "`length` that the whole gate may take")
	set.StringVar(&c.Lab.Out, "out", "",
		"folder for gate.json, gate.md and the runs (default: runs/baseline-TIME)")
	set.StringVar(&c.Lab.Stack.Kind, "stack", c.Lab.Stack.Kind, "kind of stack: embedded or native")
	serverFlags(set, &c.Lab.Stack)
	optional(set, &c.Lab.Rate, "rate", strconv.Atoi,
		"operations per second of each run, `N` (default: the scenario's)")
	optional(set, &c.Lab.Duration, "duration", time.ParseDuration,
		"`length` of the measured load of each run (default 30s)")
	asJSON := set.Bool("json", false, "gate.json on standard output, instead of the text")
	calibrate := set.Int("calibrate", 0, "run `N` gates of the head against itself, then planted "+
		"slowdowns, and print the table of error rates; takes hours")
	from := set.String("from", "", "with --calibrate: go on from the `file` calibration.json of "+
		"an earlier part, such as one that Ctrl-C ended")
	save := set.Bool("save", false,
		"with --calibrate: store the table for this machine in baselines/gate, to be committed")
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	if err := checkSides(set); err != nil {
		return 0, err
	}
	if *calibrate < 0 || *calibrate == 0 && (*save || *from != "") {
		return 0, errors.New("--calibrate: want a number of gates; --save and --from belong to " +
			"--calibrate")
	}
	c.Lab.Say, c.Lab.Command = t.say, os.Args
	if *calibrate > 0 {
		before := gate.NewCalibration(c.Rule)
		if *from != "" {
			var err error
			if before, err = gate.ReadCalibration(*from); err != nil {
				return 0, err
			}
		}
		return calibrateGate(ctx, t, c, *calibrate, before, *save, *asJSON)
	}
	result, out, err := gating.Run(ctx, c)
	if result == nil {
		return 0, err
	}
	if err != nil {
		t.say("cdclab gate: warning: " + err.Error())
	}
	err = errors.Join(writeFile(filepath.Join(out, gateFile), result.WriteJSON),
		writeFile(filepath.Join(out, "gate.md"), result.WriteMarkdown))
	write := result.WriteText
	if *asJSON {
		write = result.WriteJSON
	}
	if err := errors.Join(err, write(t.out)); err != nil {
		return 0, err
	}
	t.say("stored " + fromHere(filepath.Join(out, "gate.md")))
	return verdictCode(result.Verdict.Status), nil
}

// checkSides refuses a revision beside a program of the same side: the revision would do nothing.
func checkSides(set *flag.FlagSet) (err error) {
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, side := range []string{"base", "head"} {
		if given[side] && given[side+"-consumer"] {
			err = errors.Join(err, fmt.Errorf("--%s and --%[1]s-consumer: want one of them", side))
		}
	}
	return err
}

func calibrateGate(ctx context.Context, t terminal, c gating.Config, gates int,
	before *gate.Calibration, save, asJSON bool) (int, error) {
	result, out, err := gating.Calibrate(ctx, c, gates, before)
	if result == nil {
		return 0, err
	}
	if err != nil {
		t.say("cdclab gate: warning: " + err.Error())
	}
	places, code := []string{filepath.Join(out, "calibration")}, exitPass
	if result.Missing != "" {
		t.say("cdclab gate: the table is not whole: " + result.Missing)
		code = exitUnknown
	}
	if save && code == exitPass {
		root, err := experiments.FindRoot()
		if err != nil {
			return 0, err
		}
		place := gating.RatesPath(root, result.Host.Fingerprint)
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			return 0, err
		}
		places = append(places, place)
	}
	for _, place := range places {
		if err := errors.Join(writeFile(place+".json", result.WriteJSON),
			writeFile(place+".md", result.WriteText)); err != nil {
			return 0, err
		}
		t.say("stored " + fromHere(place+".md"))
	}
	write := result.WriteText
	if asJSON {
		write = result.WriteJSON
	}
	return code, write(t.out)
}

// writeFile writes a whole file, or leaves the old one.
func writeFile(path string, write func(io.Writer) error) error {
	var text bytes.Buffer
	if err := write(&text); err != nil {
		return fmt.Errorf("store %s: %w", path, err)
	}
	return wholefile.Write(path, text.Bytes())
}
