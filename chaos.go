package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/chaos/check"
	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/chaos/gameday"
	"github.com/cdclab/cdclab/chaos/matrix"
	"github.com/cdclab/cdclab/chaos/toolkit"
	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/render"
	"github.com/cdclab/cdclab/reports/wholefile"
	"github.com/cdclab/cdclab/shown"
	"github.com/cdclab/cdclab/stack"
)

// checkTables compares the rows and documents of any pipeline; the lab need not have started the
// pipeline.
func checkTables(ctx context.Context, t terminal, args []string) (int, error) {
	config := check.DefaultConfig()
	set := flags("check", t)
	set.StringVar(&config.PostgresDSN, "postgres", "",
		"PostgreSQL to read (env CDC_POSTGRES_DSN)")
	set.StringVar(&config.MongoURI, "mongo", "",
		"MongoDB to read (env CDC_MONGO_URI)")
	set.StringVar(&config.Database, "database", config.Database, "MongoDB database")
	set.StringVar(&config.LedgerPath, "ledger", "",
		"ledger of the run, to tell phantom from resurrected")
	set.DurationVar(&config.Settle, "settle", 5*time.Second,
		"how long a difference may take to go away")
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	result, err := check.Tables(ctx, config)
	if err != nil {
		return 0, err
	}
	return verdictCode(result.Status()), render.WriteConsistency(t.out, &result)
}

// chaosCommand tells about faults and draws plans; bench applies the faults of a plan.
func chaosCommand(ctx context.Context, t terminal, args []string) (int, error) {
	verbs := map[string]func(context.Context, terminal, []string) (int, error){
		"list": chaosList, "matrix": chaosMatrix, "random": chaosRandom, "export": chaosExport,
		"import": chaosImport,
	}
	if len(args) > 0 && verbs[args[0]] != nil {
		return verbs[args[0]](ctx, t, args[1:])
	}
	names := strings.Join(slices.Sorted(maps.Keys(verbs)), ", ")
	if _, err := parse(flags("chaos", t), args, 1, 1); err != nil {
		return 0, fmt.Errorf("want one of %s: %w", names, err)
	}
	return 0, fmt.Errorf("no verb %q, want one of %s", shown.Command(args[:1])[0], names)
}

// chaosList prints the table of faults.
func chaosList(_ context.Context, t terminal, args []string) (int, error) {
	set := flags("chaos list", t)
	asJSON := set.Bool("json", false, "print JSON")
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	if *asJSON {
		lines := json.NewEncoder(t.out)
		lines.SetIndent("", "  ")
		return exitPass, lines.Encode(faults.Table())
	}
	return exitPass, faults.Write(t.out)
}

// chaosExport writes a plan as an experiment of the Chaos Toolkit.
func chaosExport(_ context.Context, t terminal, args []string) (int, error) {
	set := flags("chaos export", t)
	file := set.String("out", "", "`file` of the experiment (default: NAME.json)")
	positional, err := parse(set, args, 1, 1)
	if err != nil {
		return 0, err
	}
	plan, err := chaos.Load(positional[0])
	if err != nil {
		return 0, err
	}
	if *file == "" {
		*file = reports.FileName(plan.Name) + ".json"
	}
	text, err := toolkit.Export(plan, *file, filepath.Join("runs", reports.FileName(plan.Name)))
	if err == nil {
		err = wholefile.Write(*file, text)
	}
	if err != nil {
		return 0, err
	}
	fmt.Fprintln(t.out, "experiment", *file)
	return exitPass, nil
}

// chaosImport prints the plan of an experiment that chaos export wrote.
func chaosImport(_ context.Context, t terminal, args []string) (int, error) {
	positional, err := parse(flags("chaos import", t), args, 1, 1)
	if err != nil {
		return 0, err
	}
	text, err := namedfile.Read(positional[0], namedfile.Small)
	if err != nil {
		return 0, err
	}
	plan, err := toolkit.Import(positional[0], text)
	if err != nil {
		return 0, err
	}
	if text, err = plan.Text(); err == nil {
		_, err = t.out.Write(text)
	}
	return exitPass, err
}

// randomRun is a drawn plan and the way to run one.
type randomRun struct {
	terminal
	config experiments.Config
	// base begins the names of the plans' files.
	base string
}

// chaosRandom draws a plan, runs the plan, and shrinks a plan that fails.
func chaosRandom(ctx context.Context, t terminal, args []string) (int, error) {
	r := randomRun{terminal: t, config: experiments.DefaultConfig()}
	draft := chaos.Draft{Stack: r.config.Stack.Kind}
	set := flags("chaos random", t)
	set.Uint64Var(&draft.Seed, "seed", 1, "`seed` of the draw: the same seed, the same plan")
	minutes := set.Int("minutes", 2, "`N` minutes of measured load")
	set.StringVar(&draft.Stack, "stack", draft.Stack, "kind of stack: embedded, native or compose")
	set.IntVar(&draft.Rate, "rate", 100, "operations per second, `N`")
	atLeastOne(set, &draft.Consumers, "consumers", "`N` consumers that share the group (default 1)")
	localImages(set, &r.config.Stack.LocalImages)
	dir := set.String("dir", "runs", "`folder` for the plans")
	only := set.Bool("draw", false, "only write the plan, without a run")
	shrink := set.Bool("shrink", true, "find and write the smallest plan that fails")
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	draft.Length = time.Duration(*minutes) * time.Minute
	draft.Consumers = max(1, draft.Consumers)
	plan, err := chaos.Draw(draft)
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return 0, err
	}
	r.base = filepath.Join(*dir, plan.Name)
	path, err := r.store(plan, "")
	if err != nil {
		return 0, err
	}
	fmt.Fprintln(t.out, "plan", path)
	if *only {
		return exitPass, nil
	}
	r.config.Scenario, r.config.Stack.Kind = "smoke", draft.Stack
	r.config.Terminal, r.config.Say, r.config.Command = t.err, t.say, os.Args
	result, err := r.run(ctx, path)
	if err != nil {
		return 0, err
	}
	if result.Run.Verdict.Status == reports.Fail && *shrink && ctx.Err() == nil {
		err = r.shrink(ctx, plan)
	}
	return verdictCode(result.Run.Verdict.Status), err
}

// store writes a plan beside the others of the draw.
func (r *randomRun) store(plan *chaos.Plan, suffix string) (string, error) {
	text, err := plan.Text()
	if err != nil {
		return "", err
	}
	path := r.base + suffix + ".yaml"
	return path, wholefile.Write(path, text)
}

// run runs the plan of a file, and prints the report.
func (r *randomRun) run(ctx context.Context, path string) (*experiments.Result, error) {
	config := r.config
	config.PlanPath = path
	result, err := experiments.Run(ctx, config)
	if result != nil {
		err = errors.Join(err, printResult(r.terminal, result, false))
	}
	return result, err
}

// shrink runs smaller and smaller plans, and writes the smallest that fails.
func (r *randomRun) shrink(ctx context.Context, plan *chaos.Plan) error {
	runs := 0
	var failed error
	smallest := chaos.Shrink(plan, func(smaller *chaos.Plan) bool {
		if failed != nil || ctx.Err() != nil {
			return false
		}
		runs++
		r.say(fmt.Sprintf("shrink: run %d, with %d of %d faults", runs, len(smaller.Method),
			len(plan.Method)))
		path, err := r.store(smaller, "-shrinking")
		var result *experiments.Result
		if err == nil {
			result, err = r.run(ctx, path)
		}
		failed = err
		return err == nil && result.Run.Verdict.Status == reports.Fail
	})
	if err := errors.Join(failed, ctx.Err()); err != nil {
		return fmt.Errorf("shrink the plan: %w", err)
	}
	path, err := r.store(smallest, "-smallest")
	if err == nil {
		fmt.Fprintf(r.out, "plan %s: the smallest that fails, %d of %d faults, after %d runs\n",
			path, len(smallest.Method), len(plan.Method), runs)
	}
	return err
}

// chaosMatrix runs every fault of the table, a run each, and writes one table of the results.
func chaosMatrix(ctx context.Context, t terminal, args []string) (int, error) {
	choice, rate, minutes := matrix.Choice{FirstSeed: 1, Seeds: 1}, 200, 0
	set := flags("chaos matrix", t)
	kinds := set.String("stack", stack.Embedded,
		"kinds of stack, with commas: "+strings.Join(stack.Started, ", "))
	set.Uint64Var(&choice.FirstSeed, "seed", choice.FirstSeed, "the first `seed`")
	atLeastOne(set, &choice.Seeds, "seeds", "`N` seeds, a run of each fault with each (default 1)")
	set.StringVar(&choice.Kinds, "kinds", "",
		"`pattern` of the faults' names, such as 'kill*' (default: every fault)")
	atLeastOne(set, &rate, "rate", "operations per second, `N` (default 200)")
	atLeastOne(set, &minutes, "minutes",
		"after `N` minutes begin no more runs, and say which are missing (default: no bound)")
	config := experiments.DefaultConfig()
	localImages(set, &config.Stack.LocalImages)
	dir := set.String("out", filepath.Join("runs", "matrix"), "`folder` of the table and of each "+
		"run; what was run there before is not run again")
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	choice.Stacks = strings.FieldsFunc(*kinds, func(r rune) bool { return r == ',' })
	for _, kind := range choice.Stacks {
		if !slices.Contains(stack.Started, kind) {
			return 0, fmt.Errorf("--stack %s: the lab breaks parts of %s", kind,
				strings.Join(stack.Started, ", "))
		}
	}
	chosen, err := matrix.Choose(choice)
	if err != nil {
		return 0, err
	}
	folder, err := experiments.PrepareOut(*dir, "matrix", time.Now())
	if err != nil {
		return 0, err
	}
	defer folder.Close()
	whole, err := matrix.Load(filepath.Join(folder.Path, matrix.FileName), rate)
	if err != nil {
		return 0, err
	}
	cells := whole.Add(chosen)
	walk := matrix.Walk{Matrix: whole, Folder: folder.Path, Run: cellRunner(config), Say: t.say,
		Limit: time.Duration(minutes) * time.Minute, Now: time.Now}
	err = walk.Do(ctx, cells)
	fmt.Fprintln(t.out, "table", fromHere(filepath.Join(folder.Path, matrix.PageName)))
	if err = errors.Join(err, matrix.WriteText(t.out, whole, cells)); err != nil {
		return 0, err
	}
	return verdictCode(matrix.Verdict(cells)), nil
}

// cellRunner runs each plan of the matrix on a stack of its own.
func cellRunner(common experiments.Config) matrix.Runner {
	return func(ctx context.Context, kind string, seed uint64, path, folder string) (*reports.Run,
		error) {
		config, whole := common, int64(seed)
		config.Scenario, config.Stack.Kind, config.Seed = "smoke", kind, &whole
		config.PlanPath, config.Out, config.Command = path, folder, os.Args
		config.FloorWrites = 50
		if kind == stack.Embedded { // without the warmup of a JVM
			short := 2 * time.Second
			config.Warmup = &short
		}
		result, err := experiments.Run(ctx, config)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		return result.Run, nil
	}
}

// gameDay holds the plans of a file before the people at the terminal, and writes the report.
func gameDay(ctx context.Context, t terminal, args []string) (int, error) {
	set := flags("gameday", t)
	dir := set.String("out", "", "`folder` of the report and the runs (default: runs/gameday-TIME)")
	unattended := set.Bool("unattended", false,
		"ask nobody: the votes are the file's, and each pause ends by itself")
	options := stack.Options{}
	externalFlags(set, &options.External)
	serverFlags(set, &options)
	localImages(set, &options.LocalImages)
	positional, err := parse(set, args, 1, 1)
	if err != nil {
		return 0, err
	}
	day, err := gameday.Load(positional[0])
	if err != nil {
		return 0, err
	}
	options.Kind = day.Stack
	if err := checkDay(day, set, &options); err != nil {
		return 0, err
	}
	folder, err := experiments.PrepareOut(*dir, "gameday", time.Now())
	if err != nil {
		return 0, err
	}
	defer folder.Close()
	host := gameday.Host{Say: t.say, Now: time.Now,
		Run: func(ctx context.Context, n int, s gameday.Step) (*reports.Run, string, error) {
			name := strings.TrimSuffix(filepath.Base(s.Plan), ".yaml")
			name = fmt.Sprintf("%d-%s", n, reports.FileName(name))
			config := experiments.DefaultConfig()
			config.Scenario, config.Stack, config.PlanPath = day.Scenario, options, s.Plan
			config.Stack.External.MayBreak = s.PlanName
			config.Out, config.Command = filepath.Join(folder.Path, name), os.Args
			config.Say = t.say
			result, err := experiments.Run(ctx, config)
			if result == nil {
				return nil, name, err
			}
			return result.Run, name, err
		}}
	if !*unattended {
		host.Lines = typed(os.Stdin)
	}
	record := host.Hold(ctx, day)
	path := filepath.Join(folder.Path, "gameday.md")
	if err := wholefile.Write(path, record.Markdown()); err != nil {
		return 0, err
	}
	fmt.Fprintln(t.out, "report", fromHere(path))
	return verdictCode(record.Status()), nil
}

// checkDay refuses flags that do nothing on the day, and a day on a pipeline that the lab did not
// start, unless the day was named again.
func checkDay(day *gameday.Day, set *flag.FlagSet, o *stack.Options) error {
	idle := idleFlags{}
	idle.ofStack(day.Stack, "it belongs to a day with stack: external")
	if err := idle.check("game day "+day.Name, set); err != nil {
		return err
	}
	if day.Stack != stack.External {
		return nil
	}
	if allowed := o.External.MayBreak; allowed != day.Name {
		return fmt.Errorf("game day %s: the lab breaks nothing that it did not start, unless told "+
			"so: --yes-break %q, and not %q", day.Name, day.Name, allowed)
	}
	return reachKafka(o)
}

// typed returns the lines of a terminal, and closes the channel at the terminal's end.
func typed(from io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(from); in.Scan(); {
			lines <- in.Text()
		}
	}()
	return lines
}
