package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports/render"
	"github.com/cdclab/cdclab/shown"
	"github.com/cdclab/cdclab/stack"
)

// stackFlags are the flags to choose a stack, for every command that brings a stack up.
func stackFlags(set *flag.FlagSet, o *stack.Options, p *experiments.Programs) {
	set.StringVar(&o.Kind, "stack", o.Kind, "kind of stack: embedded, native (real Kafka and "+
		"Debezium; needs Java 17 and mvn), compose (containers; needs Docker), or external (a "+
		"pipeline of yours)")
	localImages(set, &o.LocalImages)
	set.StringVar(&o.Profile, "profile", "",
		"Debezium's configuration in the native and compose stacks: "+
			strings.Join(stack.Profiles(), ", ")+" (default "+stack.TunedProfile+")")
	externalFlags(set, &o.External)
	serverFlags(set, o)
	set.IntVar(&o.PostgresPort, "postgres-port", 0, "port for PostgreSQL (default: a free one)")
	atLeastOne(set, &o.Partitions, "partitions",
		"`N` partitions of each topic (default: 4, or 1 with the slow stand-in for MongoDB)")
	atLeastOne(set, &o.Consumers, "consumers",
		"`N` consumers that share the group (default: the chaos plan's, else 1)")
	set.BoolVar(&o.Observe, "observe", false, "run a Prometheus with the rules of every alert, an "+
		"Alertmanager and a collector beside the embedded or native stack (programs: "+
		"`cdclab fetch observers`)")
	atLeastOne(set, &o.Pace.Faster, "alerts-faster", "observe: divide the times of all alerts by "+
		"`N`, so that an alert of minutes fires in a short run (default 1)")
	set.BoolVar(&o.Pace.ZeroTolerance, "zero-tolerance", false,
		"observe: any error at all is an alert")
	set.BoolVar(&o.Keep, "keep", false,
		"leave the stack's data folder after the run, and say where")
	set.StringVar(&p.Consumer, "consumer", "", "consumer program (default: built from this tree)")
	set.StringVar(&p.K6, "k6", "", "k6 program with k6/x/cdc (default: built from this tree)")
}

// serverFlags are the flags that name the servers to start, and the servers already there.
func serverFlags(set *flag.FlagSet, o *stack.Options) {
	set.StringVar(&o.MongoURI, "mongo-uri", "",
		"use this MongoDB instead of starting one (env CDCLAB_MONGO_URI)")
	set.StringVar(&o.PostgresDir, "postgres-dir", "",
		"folder holding bin/postgres (env CDCLAB_POSTGRES_DIR; default: PATH, else fetched)")
}

// externalFlags say where an external pipeline is. A flag that may hold a password is a variable,
// too.
func externalFlags(set *flag.FlagSet, e *stack.Endpoint) {
	list := func(into *[]string, name, usage string) {
		set.Func(name, usage, func(text string) error {
			*into = strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
			return nil
		})
	}
	set.StringVar(&e.PostgresDSN, "postgres", "",
		"external: `dsn` of PostgreSQL (env CDC_POSTGRES_DSN)")
	set.StringVar(&e.WriteTo, "yes-write-to", "",
		"external: `HOST/DB` of that database again, to say that the lab may write its rows there")
	set.StringVar(&e.WriteToMongo, "yes-write-to-mongo", "",
		"external: `HOST/DB` of MongoDB again, to say that the lab may measure its floor there")
	set.StringVar(&e.Slot, "slot", "",
		"external: the connector's replication slot (default: the only active one)")
	list(&e.KafkaBrokers, "kafka", "external: `host:port` of Kafka, several with commas (env "+
		"CDC_KAFKA_BROKERS); TLS and SASL as the consumer's, from CDC_CONSUMER_KAFKA_...")
	set.StringVar(&e.TopicPrefix, "topic-prefix", "",
		"external: Debezium's topic.prefix (default cdc)")
	set.StringVar(&e.Group, "group", "", "external: the consumer's group (default cdclab)")
	set.StringVar(&e.MongoDatabase, "mongo-database", "",
		"external: database of the documents (env CDC_MONGO_DATABASE; default cdc)")
	list(&e.ConsumerMetricsURLs, "consumer-metrics",
		"external: `url` of the consumer's metrics, several with commas")
	set.StringVar(&e.Toxiproxy, "toxiproxy", "", "external: `host:port` of the API of the "+
		"pipeline's Toxiproxy, for a plan's faults on proxies")
	set.StringVar(&e.MayBreak, "yes-break", "", "external: the `NAME` of the chaos plan, or of "+
		"the game day, again, to say that it may break parts of the pipeline")
}

// reachKafka reads how to reach the Kafka of an external stack.
func reachKafka(o *stack.Options) error {
	if o.Kind != stack.External {
		return nil
	}
	reach, err := kafkaConfig(strings.Join(o.External.KafkaBrokers, ","))
	if err == nil {
		o.External.KafkaOptions, err = reach.Options()
	}
	return err
}

// optional is a flag of its own kind of "not given": nil, so that 0 is a value like any other.
func optional[T any](set *flag.FlagSet, into **T, name string, read func(string) (T, error),
	usage string) {
	set.Func(name, usage, func(text string) error {
		value, err := read(text)
		if err == nil {
			*into = &value
		}
		return err
	})
}

func readInt64(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }

// atLeastOne is a flag of a number that is never 0; not given, the number stays.
func atLeastOne(set *flag.FlagSet, into *int, name, usage string) {
	set.Func(name, usage, func(text string) error {
		value, err := strconv.Atoi(text)
		if err == nil && value < 1 {
			err = fmt.Errorf("want at least 1")
		}
		if err == nil {
			*into = value
		}
		return err
	})
}

// runFlags are the flags that say what is measured and how.
func runFlags(set *flag.FlagSet, c *experiments.Config) {
	optional(set, &c.Rate, "rate", strconv.Atoi,
		"operations per second, `N` (default: the chaos plan's, else the scenario's)")
	optional(set, &c.Duration, "duration", time.ParseDuration,
		"`length` of the measured load (default: the chaos plan's, else the scenario's)")
	optional(set, &c.Warmup, "warmup", time.ParseDuration, "`length` of the load before it, not "+
		"measured; 0s for none (default: the scenario's; 30s for the JVMs of native)")
	set.StringVar(&c.Mix, "mix", "",
		"insert/update/delete in per cent (default: the scenario's 70/20/10)")
	set.StringVar(&c.Options, "options", "",
		"more of the generator's options as a `JSON` object, such as "+
			"{\"tracker\": \"poll\", \"rowBytes\": 2048}; xk6-cdc/index.d.ts lists them "+
			"(env CDC_OPTIONS)")
	set.Func("env", "`NAME=value` for a script of one's own, as __ENV.NAME; more than once for "+
		"several; nothing of the shell's environment gets there", c.SetScript)
	optional(set, &c.Seed, "seed", readInt64, "seed of every random choice, `N` (default 1)")
	set.StringVar(&c.PlanPath, "chaos", "",
		"chaos plan to run under the load, such as chaos/plans/consumer-kill.yaml")
	set.StringVar(&c.Out, "out", "",
		"folder for run.json, report.html and the raw ledger (default: runs/SCENARIO-TIME)")
	set.DurationVar(&c.DrainTimeout, "drain-timeout", c.DrainTimeout,
		"longest wait for everything to arrive after the load")
	set.StringVar(&c.Prometheus, "prometheus", "",
		"`url` of a Prometheus that watches the pipeline, for the lag as it sees it "+
			"(env CDC_PROMETHEUS_URL)")
	set.StringVar(&c.LagQuery, "prometheus-lag", c.LagQuery,
		"`query` for the consumer's lag there (default: the consumer's own metric, "+
			"else kafka_exporter's)")
	set.BoolVar(&c.JSON, "json", false, "progress as JSON lines, and run.json instead of the "+
		"report on standard output; the floors of a selftest")
	set.StringVar(&c.Segment, "segment", "", "external: which part of the load this generates, "+
		"such as `1/2`, while others generate the rest; merge puts the runs together")
}

// idleFlags says by the name of a flag why the flag would do nothing.
type idleFlags map[string]string

// add adds the flags that define defines, but some.
func (idle idleFlags) add(why string, define func(*flag.FlagSet), but ...string) {
	defined := flag.NewFlagSet("", flag.ContinueOnError)
	define(defined)
	defined.VisitAll(func(f *flag.Flag) {
		if !slices.Contains(but, f.Name) {
			idle[f.Name] = why
		}
	})
}

// ofStack adds the flags that do nothing for a kind of stack. where says where the flags of an
// external stack belong.
func (idle idleFlags) ofStack(kind, where string) {
	if kind == stack.External {
		for _, name := range []string{"alerts-faster", "consumer", "consumers", "keep", "observe",
			"partitions", "postgres-dir", "postgres-port", "profile", "zero-tolerance"} {
			idle[name] = "the pipeline is there already"
		}
		return
	}
	idle.add(where, func(set *flag.FlagSet) {
		externalFlags(set, &stack.Endpoint{})
	})
}

// check refuses the flags that were given to the command.
func (idle idleFlags) check(command string, set *flag.FlagSet) error {
	var given []string
	set.Visit(func(f *flag.Flag) {
		if why := idle[f.Name]; why != "" {
			given = append(given, fmt.Sprintf("--%s does nothing: %s", f.Name, why))
		}
	})
	if len(given) > 0 {
		return fmt.Errorf("%s: %s", command, strings.Join(given, "; "))
	}
	return nil
}

// checkIdle refuses flags that would do nothing.
func checkIdle(set *flag.FlagSet, c experiments.Config) error {
	idle := idleFlags{}
	if c.Scenario == experiments.Selftest {
		idle.add("the selftest has a load of its own", func(set *flag.FlagSet) {
			runFlags(set, &experiments.Config{})
		}, "options", "out", "json")
	}
	idle.ofStack(c.Stack.Kind, "it belongs to --stack external")
	return idle.check("bench "+c.Scenario, set)
}

func bench(ctx context.Context, t terminal, args []string) (int, error) {
	if len(args) > 0 && args[0] == sinkPeer {
		return benchPeer(ctx, t, args[1:])
	}
	config := experiments.DefaultConfig()
	set := flags("bench", t)
	stackFlags(set, &config.Stack, &config.Programs)
	runFlags(set, &config)
	g := grafanaFlags(set)
	quiet := set.Bool("quiet", false, "no progress, only the report")
	scenarios := set.String("scenarios", "",
		"bench suite: these scenarios in sequence, with commas")
	suitePath := set.String("suite", "",
		"bench suite: the scenarios of this `file`, such as experiments/suites/short.yaml")
	positional, err := parse(set, args, 0, 1)
	if err != nil {
		return 0, err
	}
	if len(positional) == 1 {
		config.Scenario = positional[0]
	}
	if err := checkIdle(set, config); err != nil {
		return 0, err
	}
	if err := reachKafka(&config.Stack); err != nil {
		return 0, err
	}
	config.Terminal, config.Say, config.Command = t.err, t.say, os.Args
	if config.JSON {
		config.Say = t.sayJSON
	}
	if *quiet {
		config.Terminal, config.Say = nil, func(string) {}
	}
	if err := g.open(); err != nil {
		return 0, err
	}
	code, err := measure(ctx, t, g, config, *scenarios, *suitePath)
	if err == nil || !config.JSON {
		return code, err
	}
	for line := range strings.Lines(shown.Hide(err.Error(), args)) {
		t.sayJSON(strings.TrimRight(line, "\n"))
	}
	return exitCouldNotRun, nil
}

// measure runs what the scenario names: a suite, the selftest, or an experiment.
func measure(ctx context.Context, t terminal, g *grafana, config experiments.Config,
	scenarios, suitePath string) (int, error) {
	switch {
	case config.Scenario == suiteName:
		return benchSuite(ctx, t, g, config, scenarios, suitePath)
	case scenarios+suitePath != "":
		return 0, fmt.Errorf("--scenarios and --suite belong to `bench %s`, not to `bench %s`",
			suiteName, config.Scenario)
	case config.Scenario == experiments.Selftest:
		return selftest(ctx, t, config)
	}
	result, err := experiments.Run(ctx, config)
	if result != nil {
		g.annotateResult(ctx, t, result)
		err = errors.Join(err, printResult(t, result, config.JSON))
	}
	if err != nil {
		return 0, err
	}
	return verdictCode(result.Run.Verdict.Status), nil
}

// printResult prints the report, or the run as JSON.
func printResult(t terminal, result *experiments.Result, asJSON bool) error {
	write := func() error {
		return render.WriteText(t.out, result.Run, result.Comparison, fromHere(result.ReportPath))
	}
	if asJSON {
		write = func() error { return result.Run.Encode(t.out) }
	}
	if err := write(); err != nil {
		return fmt.Errorf("print the summary: %w", err)
	}
	return nil
}

// fromHere is a path as a person would type the path: relative, where relative is shorter.
func fromHere(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	if relative, err := filepath.Rel(dir, path); err == nil && len(relative) < len(path) {
		return relative
	}
	return path
}

// selftest measures the floor of a stack and prints the result.
func selftest(ctx context.Context, t terminal, config experiments.Config) (int, error) {
	floors, err := experiments.Floor(ctx, config)
	if err != nil {
		return 0, err
	}
	write := floors.WriteText
	if config.JSON {
		write = floors.WriteJSON
	}
	return verdictCode(floors.Status()), write(t.out)
}
