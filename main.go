// Command cdclab is the lab: cdclab brings a pipeline up, puts load on it, measures how long a
// write takes to become visible, checks that nothing was lost, and reports. Package main only reads
// arguments and prints; the work is in the rooms imported. Start reading at commands, then at
// bench.go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer"
	"github.com/cdclab/cdclab/consumer/kafka"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/shown"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/process"
)

// Exit codes of every command: a verdict, or no verdict because the lab could not run.
const (
	exitPass = iota
	exitFail
	exitUnknown
	exitCouldNotRun
)

// terminal is where a command prints: results to out, everything else to err.
type terminal struct {
	out, err io.Writer
}

// say prints a line. Further lines inside begin with blanks, so that no name with a line feed looks
// like a line of the lab's own.
func (t terminal) say(line string) { fmt.Fprintln(t.err, strings.ReplaceAll(line, "\n", "\n  ")) }

// sayJSON says line as one of several JSON lines.
func (t terminal) sayJSON(line string) {
	_ = json.NewEncoder(t.err).Encode(map[string]string{"say": line})
}

// command runs with its arguments and returns an exit code; an error means exitCouldNotRun.
type command struct {
	name, arguments, does string
	run                   func(ctx context.Context, t terminal, args []string) (int, error)
}

func commands() []command {
	return []command{
		{"bench", "[SCENARIO] [flags]",
			"bring a stack up, run a scenario, check every row, report (default: baseline)", bench},
		{"up", "[flags]", "bring a stack up and hold it until Ctrl-C; prints its endpoints", up},
		{"status", "", "say what `up` holds and whether each part is healthy", status},
		{"down", "", "end what `up` holds", down},
		{"check", "--postgres DSN --mongo URI", "compare every row of PostgreSQL with its document",
			checkTables},
		{"chaos", "list|matrix|random|export|import [PLAN] [flags]",
			"list the faults for plans; run every fault, a run each, into one table; draw a plan " +
				"of overlapping faults, run the plan and shrink a plan that fails; convert plans " +
				"to the Chaos Toolkit's experiments",
			chaosCommand},
		{"gameday", "FILE [--unattended] [flags]",
			"hold a game day: plans with narration, a vote, pauses, an abort key, notes, a report",
			gameDay},
		{"report", "RUN.json [--format F] [--against BASE.json]",
			"render a stored run again: text and a page, or html, markdown, junit, benchstat, csv",
			report},
		{"compare", "[BASE.json... vs] HEAD.json...",
			"compare two groups of runs, two runs, or runs with their stored baseline; a folder " +
				"means all runs below", compare},
		{"gate", "--base REV --head REV",
			"let the consumers of two revisions take turns on one stack, and decide with known " +
				"error rates", gateBuilds},
		{"history", "[list|add RUN.json...|prune] [--dir DIR|--branch NAME]",
			"keep runs in a folder or a git branch, list them, forget old ones", history},
		{"trend", "[DIR] [--branch NAME] [--since TIME]",
			"find the runs with which a metric changed for good, and the commits between", trends},
		{"merge", "RUN.json RUN.json... [--out DIR]",
			"put the segments of a divided load together (bench --segment 1/2, 2/2)", merge},
		{"annotate", "RUN.json --grafana URL",
			"write a stored run, its faults and its verdict into a Grafana, each once",
			annotateRun},
		{"comment", "gate.json|RUN.json... [--repository R --head H --commit C]",
			"print a gate and runs as the comment on a pull request, or keep the comment there",
			commentRuns},
		{"baseline", "save|accept|show|list [RUN.json...]",
			"keep passed runs as samples of their machine, stack and scenario; accept begins anew",
			baseline},
		{"replay", "FILE.jsonl[.gz]... [flags]",
			"take recorded records through the consumer and print the documents they end in",
			replay},
		{"capture", "TOPIC... [flags]",
			"write what topics hold to a file that replay reads; a TOPIC is a name or a " +
				"regular expression", capture},
		{"dlq", "list|show|replay|drop [ID...] [flags]",
			"read the dead letters, put them back where they came from, or set them aside", dlq},
		{"compose", "[--local-images] [--observe] [COMMAND...]",
			"run a command of Docker Compose on the pipeline in containers (default: up --detach " +
				"--wait); secrets are made before", composeFile},
		{"fetch", "[mongod|prometheus|observers]", "install the fast MongoDB stand-in and " +
			"PostgreSQL, or MongoDB itself, or a Prometheus for the tests, or the programs of " +
			"--observe, into the user's cache",
			fetch},
	}
}

func main() {
	t := terminal{&shown.Writer{To: pipe{os.Stdout}}, &shown.Writer{To: os.Stderr}}
	err := process.Restart(func(dropped []string) {
		t.say(fmt.Sprintf("cdclab: not passed on from the shell: %s "+
			"(experiments/README.md, \"The environment\")", strings.Join(dropped, ", ")))
	})
	if err != nil {
		t.say("cdclab: " + err.Error())
		os.Exit(exitCouldNotRun)
	}
	os.Exit(run(untilEnded(t.say), os.Args[1:], t))
}

func run(ctx context.Context, args []string, t terminal) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(t.out)
		return exitPass
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		code, err := c.run(ctx, t, args[1:])
		switch {
		case errors.Is(err, flag.ErrHelp):
			return exitPass
		case err != nil:
			t.say(fmt.Sprintf("cdclab %s: %s", c.name, shown.Hide(err.Error(), args)))
			return exitCouldNotRun
		}
		return code
	}
	t.say(fmt.Sprintf("cdclab: no command %q", shown.Command(args[:1])[0]))
	usage(t.err)
	return exitCouldNotRun
}

// explain prints the command's arguments, and what the command does.
func (c command) explain(w io.Writer) {
	fmt.Fprintf(w, "  cdclab %s %s\n        %s\n", c.name, c.arguments, c.does)
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "cdclab measures PostgreSQL -> Debezium -> Kafka -> consumer -> MongoDB.")
	fmt.Fprintln(w)
	for _, c := range commands() {
		c.explain(w)
	}
	fmt.Fprintln(w, "\nExit codes: 0 pass, 1 fail, 2 unknown, 3 could not run. "+
		"`cdclab COMMAND -h` lists the flags.")
}

// verdictCode is the exit code of a verdict.
func verdictCode(status reports.Status) int {
	switch status {
	case reports.Pass:
		return exitPass
	case reports.Fail:
		return exitFail
	}
	return exitUnknown
}

const brokersUsage = "Kafka, `host:port`, several with commas (env CDC_KAFKA_BROKERS; default: " +
	"the stack that `cdclab up` holds); TLS and SASL as the consumer's, from CDC_CONSUMER_KAFKA_..."

// kafkaConfig says how brokers are reached: TLS and SASL are the consumer's,
// CDC_CONSUMER_KAFKA_TLS, CDC_CONSUMER_KAFKA_SASL, ...
func kafkaConfig(brokers string) (*kafka.Config, error) {
	config, err := consumer.ParseConfig(nil, os.Getenv, io.Discard)
	if err != nil {
		return nil, err
	}
	config.Kafka.Brokers = brokers
	return &config.Kafka, nil
}

// kafkaClient reaches the brokers given, or the brokers of the held stack.
func kafkaClient(ctx context.Context, brokers string) (*kgo.Client, error) {
	if brokers == "" {
		return heldKafkaClient(ctx)
	}
	config, err := kafkaConfig(brokers)
	if err != nil {
		return nil, err
	}
	return config.Connect(ctx, kgo.ClientID("cdclab"))
}

func heldKafkaClient(ctx context.Context) (*kgo.Client, error) {
	held, err := stack.FindHeld()
	if errors.Is(err, stack.ErrNothingHeld) {
		return nil, errors.New("which Kafka? give --brokers or CDC_KAFKA_BROKERS, " +
			"or hold a stack with `cdclab up`")
	}
	if err != nil {
		return nil, err
	}
	config := kafka.Config{Brokers: strings.Join(held.Endpoints.KafkaBrokers, ",")}
	return config.Connect(ctx, append(held.Endpoints.KafkaLogin.Options(),
		kgo.ClientID("cdclab"))...)
}
