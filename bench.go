package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// stackFlags are the flags that say which stack, for every command that brings one up.
func stackFlags(set *flag.FlagSet, o *stack.Options, p *experiments.Programs) {
	set.StringVar(&o.Kind, "stack", o.Kind, "kind of stack: embedded, native (real Kafka and Debezium; needs Java 17 and mvn), or external (a pipeline of yours)")
	set.StringVar(&o.Profile, "profile", "", "Debezium's configuration in the native stack: "+strings.Join(stack.Profiles(), ", ")+" (default "+stack.TunedProfile+")")
	externalFlags(set, &o.External)
	set.StringVar(&o.MongoURI, "mongo-uri", os.Getenv("CDCLAB_MONGO_URI"), "use this MongoDB instead of starting one (env CDCLAB_MONGO_URI)")
	set.StringVar(&o.PostgresDir, "postgres-dir", os.Getenv("CDCLAB_POSTGRES_DIR"), "folder holding bin/postgres (env CDCLAB_POSTGRES_DIR; default: PATH, else fetched)")
	set.IntVar(&o.PostgresPort, "postgres-port", 0, "port for PostgreSQL (default: a free one)")
	set.IntVar(&o.Partitions, "partitions", o.Partitions, "partitions of each topic (default: 4, or 1 with the slow stand-in for MongoDB)")
	set.IntVar(&o.Consumers, "consumers", 0, "consumers that share the group (default: the chaos plan's, else 1)")
	set.BoolVar(&o.Keep, "keep", false, "leave the stack's data folder after the run, and say where")
	set.StringVar(&p.Consumer, "consumer", "", "consumer program (default: built from this tree)")
	set.StringVar(&p.K6, "k6", "", "k6 program with k6/x/cdc (default: built from this tree)")
}

// externalFlags say where an external pipeline is. What may hold a password is a variable, too.
func externalFlags(set *flag.FlagSet, e *stack.Endpoint) {
	list := func(into *[]string, name, usage, fallback string) {
		split := func(text string) error {
			*into = strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
			return nil
		}
		split(fallback)
		set.Func(name, usage, split)
	}
	set.StringVar(&e.PostgresDSN, "postgres", os.Getenv("CDC_POSTGRES_DSN"), "external: `dsn` of PostgreSQL (env CDC_POSTGRES_DSN)")
	set.StringVar(&e.WriteTo, "yes-write-to", "", "external: `HOST/DB` of that database again, to say that the lab may write its rows there")
	set.StringVar(&e.Slot, "slot", "", "external: the connector's replication slot (default: the only active one)")
	list(&e.KafkaBrokers, "kafka", "external: `host:port` of Kafka, several with commas (env CDC_KAFKA_BROKERS); TLS and SASL as the consumer's, from CDC_CONSUMER_KAFKA_...", os.Getenv("CDC_KAFKA_BROKERS"))
	set.StringVar(&e.TopicPrefix, "topic-prefix", "", "external: Debezium's topic.prefix (default cdc)")
	set.StringVar(&e.Group, "group", "", "external: the consumer's group (default cdclab)")
	set.StringVar(&e.MongoDatabase, "mongo-database", os.Getenv("CDC_MONGO_DATABASE"), "external: database of the documents (env CDC_MONGO_DATABASE; default cdc)")
	list(&e.ConsumerMetricsURLs, "consumer-metrics", "external: `url` of the consumer's metrics, several with commas", "")
}

func bench(ctx context.Context, t terminal, args []string) (int, error) {
	if len(args) > 0 && args[0] == sinkPeer {
		return benchPeer(ctx, t, args[1:])
	}
	config := experiments.DefaultConfig()
	set := flags("bench", t)
	stackFlags(set, &config.Stack, &config.Programs)
	set.IntVar(&config.Rate, "rate", 0, "operations per second (default: the chaos plan's, else the scenario's)")
	set.DurationVar(&config.Duration, "duration", 0, "length of the measured load (default: the chaos plan's, else the scenario's)")
	set.DurationVar(&config.Warmup, "warmup", 0, "length of the load before it, not measured (default: the scenario's; 30s for the JVMs of native)")
	set.StringVar(&config.Mix, "mix", "", "insert/update/delete in per cent (default: the scenario's 70/20/10)")
	set.StringVar(&config.Options, "options", os.Getenv("CDC_OPTIONS"), "more of the generator's options as a `JSON` object, such as {\"tracker\": \"poll\", \"rowBytes\": 2048}; xk6-cdc/index.d.ts lists them (env CDC_OPTIONS)")
	set.Int64Var(&config.Seed, "seed", config.Seed, "seed of every random choice")
	set.StringVar(&config.PlanPath, "chaos", "", "chaos plan to run under the load, such as chaos/plans/consumer-kill.yaml")
	set.StringVar(&config.Out, "out", "", "folder for run.json, report.html and the raw ledger (default: runs/SCENARIO-TIME)")
	set.DurationVar(&config.DrainTimeout, "drain-timeout", config.DrainTimeout, "longest wait for everything to arrive after the load")
	set.StringVar(&config.Prometheus, "prometheus", os.Getenv("CDC_PROMETHEUS_URL"), "`url` of a Prometheus that watches the pipeline, for the lag as it sees it (env CDC_PROMETHEUS_URL)")
	set.StringVar(&config.LagQuery, "prometheus-lag", config.LagQuery, "`query` for the consumer's lag there (default: the consumer's own metric, else kafka_exporter's)")
	quiet := set.Bool("quiet", false, "no progress, only the report")
	set.BoolVar(&config.JSON, "json", false, "progress as JSON lines, and run.json instead of the report on standard output; the floors of a selftest")
	set.StringVar(&config.Segment, "segment", "", "external: which part of the load this generates, such as `1/2`, while others generate the rest; merge puts the runs together")
	scenarios := set.String("scenarios", "", "bench suite: these scenarios in sequence, with commas")
	suitePath := set.String("suite", "", "bench suite: the scenarios of this `file`, such as experiments/suites/short.yaml")
	positional, err := parse(set, args, 0, 1)
	if err != nil {
		return 0, err
	}
	if len(positional) == 1 {
		config.Scenario = positional[0]
	}
	if e := &config.Stack.External; config.Stack.Kind == stack.External {
		if e.KafkaOptions, err = kafkaOptions(strings.Join(e.KafkaBrokers, ",")); err != nil {
			return 0, err
		}
	}
	config.Terminal, config.Say, config.Command = t.err, t.say, redact(os.Args)
	if config.JSON {
		config.Say = t.sayJSON
	}
	if *quiet {
		config.Terminal, config.Say = nil, func(string) {}
	}
	switch {
	case config.Scenario == suiteName:
		return benchSuite(ctx, t, config, *scenarios, *suitePath)
	case *scenarios+*suitePath != "":
		return 0, fmt.Errorf("--scenarios and --suite belong to `bench %s`, not to `bench %s`", suiteName, config.Scenario)
	case config.Scenario == experiments.Selftest:
		return selftest(ctx, t, config)
	}
	result, err := experiments.Run(ctx, config)
	if err != nil {
		return 0, err
	}
	if err := printResult(t, result, config.JSON); err != nil {
		return 0, err
	}
	return verdictCode(result.Run.Verdict.Status), nil
}

// printResult prints the report, or the run as JSON.
func printResult(t terminal, result *experiments.Result, asJSON bool) error {
	write := func() error {
		return reports.WriteText(t.out, result.Run, result.Comparison, fromHere(result.ReportPath))
	}
	if asJSON {
		write = func() error { return result.Run.Encode(t.out) }
	}
	if err := write(); err != nil {
		return fmt.Errorf("print the summary: %w", err)
	}
	return nil
}

// fromHere is a path as a person would type it: relative, where that is shorter.
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

// maxFloorMs is what the median floor may be with each tracker; above it the tracker's own time would be
// a large part of what it measures.
var maxFloorMs = map[string]float64{"changestream": 1, "poll": 2}

func selftest(ctx context.Context, t terminal, config experiments.Config) (int, error) {
	floors, err := experiments.Floor(ctx, config)
	if err != nil {
		return 0, err
	}
	return printFloors(t.out, floors, config.JSON)
}

// printFloors prints what the selftest measured, and judges the floor by its tracker's limit. What comes
// at a rate has no limit: how much a server takes is its own affair.
func printFloors(out io.Writer, floors experiments.Floors, asJSON bool) (int, error) {
	code, status, limit := exitPass, reports.Pass, maxFloorMs[floors.Tracker]
	if floors.P50 > limit {
		code, status = exitFail, reports.Fail
	}
	if asJSON {
		return code, json.NewEncoder(out).Encode(floorsJSON(floors, status, limit))
	}
	for _, note := range floors.Notes {
		fmt.Fprintln(out, note)
	}
	percentiles := func(f reports.Floor) string {
		return fmt.Sprintf("p50 %.3f ms  p95 %.3f ms  p99 %.3f ms  |  %d direct writes", f.P50, f.P95, f.P99, f.Writes)
	}
	fmt.Fprintf(out, "%s  floor  %s one after another, tracker %s  |  limit p50 %g ms\n",
		strings.ToUpper(string(status)), percentiles(floors.Floor), floors.Tracker, limit)
	for _, at := range floors.AtRates {
		text := at.Problem
		if text == "" {
			text = percentiles(at.Floor) + ", from the time each was due"
		}
		fmt.Fprintf(out, "      error at %d/s  %s\n", at.Rate, text)
	}
	return code, nil
}

// floorsJSON is what the selftest measured for programs.
func floorsJSON(floors experiments.Floors, status reports.Status, limit float64) any {
	type at struct {
		Rate int `json:"rate"`
		*reports.Floor
		Problem string `json:"problem,omitempty"`
	}
	all := struct {
		Status     reports.Status `json:"status"`
		LimitP50Ms float64        `json:"limitP50"`
		reports.Floor
		AtRates []at     `json:"atRates"`
		Notes   []string `json:"notes"`
	}{status, limit, floors.Floor, []at{}, floors.Notes}
	for _, one := range floors.AtRates {
		shown := at{one.Rate, &one.Floor, one.Problem}
		if one.Problem != "" {
			shown.Floor = nil
		}
		all.AtRates = append(all.AtRates, shown)
	}
	return all
}

func verdictCode(status reports.Status) int {
	switch status {
	case reports.Pass:
		return exitPass
	case reports.Fail:
		return exitFail
	}
	return exitUnknown
}

// baselineDir is where baselines are stored: in the checkout, so that they are reviewed.
func baselineDir() (string, error) {
	root, err := experiments.FindRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "baselines"), nil
}

func fetch(ctx context.Context, t terminal, args []string) (int, error) {
	what, err := parse(flags("fetch", t), args, 0, 1)
	switch {
	case err != nil:
		return 0, err
	case len(what) == 0:
		return exitPass, stack.Fetch(ctx, "", t.say)
	case what[0] == "prometheus":
		return exitPass, stack.FetchPrometheus(ctx, "", t.say)
	}
	return 0, fmt.Errorf("got %q, want nothing or prometheus", what[0])
}
