package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/shown"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/compose"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// up holds a stack until the context ends.
func up(ctx context.Context, t terminal, args []string) (int, error) {
	config := experiments.DefaultConfig()
	set := flags("up", t)
	stackFlags(set, &config.Stack, &config.Programs)
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	holding, err := stack.Hold()
	if err != nil {
		return 0, err
	}
	err = upAndHold(ctx, t, config, holding)
	return exitPass, errors.Join(err, holding.Release())
}

func upAndHold(ctx context.Context, t terminal, config experiments.Config,
	holding *stack.Holding) error {
	root, err := experiments.FindRoot()
	if err != nil {
		return err
	}
	programs, err := experiments.Build(ctx, root, config.Programs)
	if err != nil {
		return err
	}
	config.Stack.ConsumerPath, config.Stack.Say = programs.Consumer, t.say
	config.Stack.Tree = root
	s, err := stack.Up(ctx, config.Stack)
	if err != nil {
		return err
	}
	if err = holding.Note(s.Endpoints()); err == nil {
		err = hold(ctx, t, s, programs)
	}
	downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(err, s.Down(downCtx))
}

func hold(ctx context.Context, t terminal, s *stack.Stack, programs experiments.Programs) error {
	for _, note := range s.Notes() {
		t.say(note)
	}
	e := s.Endpoints()
	for _, variable := range []struct{ name, value string }{
		{"CDC_POSTGRES_DSN", e.GeneratorDSN}, {"CDC_MONGO_URI", e.MongoURI},
		{"CDC_MONGO_DATABASE", e.MongoDatabase},
		{"CDC_KAFKA_BROKERS", strings.Join(e.KafkaBrokers, ",")},
	} {
		fmt.Fprintf(t.out, "export %s='%s'\n", variable.name, variable.value)
	}
	// The commands of the lab take the consumer's settings for Kafka.
	for _, setting := range e.KafkaLogin.ConsumerSettings() {
		name, value, _ := strings.Cut(setting, "=")
		fmt.Fprintf(t.out, "export %s='%s'\n", name, value)
	}
	fmt.Fprintf(t.out, "# data: %s\n# consumer: %s\n", s.Dir(),
		strings.Join(e.ConsumerMetricsURLs, " "))
	for _, page := range []struct{ of, url string }{
		{"kafka", e.KafkaMetricsURL}, {"connector", e.ConnectorMetricsURL},
		{"Kafka Connect", e.ConnectURL},
	} {
		if page.url != "" {
			fmt.Fprintf(t.out, "# %s: %s\n", page.of, page.url)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Observers().Pages())) {
		fmt.Fprintf(t.out, "# %s: %s\n", name, s.Observers().Pages()[name])
	}
	fmt.Fprintf(t.out, "# then: %s run experiments/scenarios/smoke.js\n", programs.K6)
	t.say("the stack is up; Ctrl-C ends it")
	select {
	case <-ctx.Done():
		return nil
	case sentence := <-s.Died():
		return errors.New(sentence)
	}
}

// status asks each part of the held stack; a silent part, and a connector not running, make the
// command fail.
func status(ctx context.Context, t terminal, args []string) (int, error) {
	if _, err := parse(flags("status", t), args, 0, 0); err != nil {
		return 0, err
	}
	held, err := stack.FindHeld()
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(t.out, "held by process %d\n", held.Holder.PID)
	code := exitPass
	held.Endpoints.Ask(ctx, func(name, address string, err error) {
		answer := "answers"
		if err != nil {
			answer, code = err.Error(), exitFail
		}
		fmt.Fprintf(t.out, "  %-10s %-22s %s\n", name, address, answer)
	})
	return code, nil
}

// down asks the holder to end and waits until the stack is gone. Leftovers of a holder that died go
// too.
func down(ctx context.Context, t terminal, args []string) (int, error) {
	if _, err := parse(flags("down", t), args, 0, 0); err != nil {
		return 0, err
	}
	if err := process.CleanUp(process.FolderBases(), t.say); err != nil {
		t.say(err.Error())
	}
	held, err := stack.FindHeld()
	if err != nil && !errors.Is(err, stack.ErrStarting) {
		return 0, err
	}
	if err := held.End(ctx); err != nil {
		return 0, err
	}
	t.say("ended")
	return exitPass, nil
}

// fetch installs programs that the lab otherwise does without, or the tests look for.
func fetch(ctx context.Context, t terminal, args []string) (int, error) {
	what, err := parse(flags("fetch", t), args, 0, 2)
	switch {
	case err != nil:
		return 0, err
	case len(what) == 0:
		return exitPass, programs.Fetch(ctx, "", t.say)
	case what[0] == programs.Mongod && len(what) == 1:
		return exitPass, programs.FetchMongod(ctx, "", t.say)
	case what[0] == "prometheus" && len(what) == 1:
		return exitPass, programs.FetchObservers(ctx, "", t.say, programs.Prometheus,
			programs.Promtool)
	case what[0] == "observers":
		err := programs.FetchObservers(ctx, "", t.say, programs.Prometheus, programs.Promtool,
			programs.Alertmanager, programs.Amtool, programs.Otelcol)
		if err == nil && len(what) == 2 {
			err = programs.CopyObservers("", what[1])
		}
		return exitPass, err
	case what[0] == "compose" && len(what) == 2:
		return exitPass, programs.FetchInto(ctx, "", what[1], t.say)
	}
	return 0, fmt.Errorf("got %q, want nothing, mongod, prometheus, observers (perhaps "+
		"with a folder for copies), or compose and a folder",
		shown.Command(what))
}

// composeFile runs a command of Compose on stack/compose/compose.yaml, after checking what Compose
// would only stumble over.
func composeFile(ctx context.Context, t terminal, args []string) (int, error) {
	command := compose.Command{In: os.Stdin, Out: t.out, Err: t.err}
	set := flags("compose", t)
	localImages(set, &command.Local)
	set.BoolVar(&command.Observe, "observe", false, "the profile observe as well: collector, "+
		"Prometheus, Alertmanager, exporters, Loki, Tempo, Grafana")
	if slices.Contains(args, "-h") {
		set.Usage()
		return 0, flag.ErrHelp
	}
	// Flags behind the first word are Compose's.
	usage := set.Usage
	set.Usage = func() {}
	err := parseFlags(set, args)
	if errors.Is(err, flag.ErrHelp) {
		usage()
	}
	if err != nil {
		return 0, hideValue(err)
	}
	command.Args = set.Args()
	if command.Tree, err = experiments.FindRoot(); err != nil {
		return 0, err
	}
	return exitPass, command.Run(ctx)
}

// localImages is the flag of images that are built on a machine without an image registry.
func localImages(set *flag.FlagSet, into *bool) {
	set.BoolVar(into, "local-images", false, "compose: the images that "+
		"stack/compose/local/build.sh built, for a machine that reaches no image registry")
}
