// Command cdclab is the lab: it brings a pipeline up, puts load on it, measures how long a write
// takes to become visible, checks that nothing was lost, and reports. It only reads arguments and
// prints; the work is in the rooms it imports. Start reading at commands, then at bench.go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes of every command: a verdict, or that there is none because the lab could not run.
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

func (t terminal) say(line string) { fmt.Fprintln(t.err, line) }

// sayJSON says it as one of several JSON lines.
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
		{"bench", "[SCENARIO] [flags]", "bring a stack up, run a scenario, check every row, report (default: baseline)", bench},
		{"up", "[flags]", "bring a stack up and hold it until Ctrl-C; prints its endpoints", up},
		{"status", "", "say what `up` holds and whether each part is healthy", status},
		{"down", "", "end what `up` holds", down},
		{"check", "--postgres DSN --mongo URI", "compare every row of PostgreSQL with its document", check},
		{"report", "RUN.json", "render the text and the HTML report of a stored run again", report},
		{"compare", "BASE.json [HEAD.json]", "compare two runs; with one, compare it with its stored baseline", compare},
		{"merge", "RUN.json RUN.json... [--out DIR]", "put the segments of a divided load together (bench --segment 1/2, 2/2)", merge},
		{"baseline", "save RUN.json", "store a passed run as the baseline of its stack and scenario", baseline},
		{"replay", "FILE.jsonl[.gz]... [flags]", "take recorded records through the consumer and print the documents they end in", replay},
		{"capture", "TOPIC... [flags]", "write what topics hold to a file that replay reads; a TOPIC is a name or a regular expression", capture},
		{"dlq", "list|show|replay|drop [ID...] [flags]", "read the dead letters, put them back where they came from, or set them aside", dlq},
		{"fetch", "[prometheus]", "install the fast MongoDB stand-in and PostgreSQL, or a Prometheus for the tests, into the user's cache", fetch},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], terminal{os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
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
			fmt.Fprintf(t.err, "cdclab %s: %v\n", c.name, err)
			return exitCouldNotRun
		}
		return code
	}
	fmt.Fprintf(t.err, "cdclab: no command %q\n", args[0])
	usage(t.err)
	return exitCouldNotRun
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "cdclab measures PostgreSQL -> Debezium -> Kafka -> consumer -> MongoDB.")
	fmt.Fprintln(w)
	for _, c := range commands() {
		fmt.Fprintf(w, "  cdclab %s %s\n        %s\n", c.name, c.arguments, c.does)
	}
	fmt.Fprintln(w, "\nExit codes: 0 pass, 1 fail, 2 unknown, 3 could not run. `cdclab COMMAND -h` lists the flags.")
}

// flags is a flag set that reports its errors instead of printing and exiting.
func flags(name string, t terminal) *flag.FlagSet {
	set := flag.NewFlagSet("cdclab "+name, flag.ContinueOnError)
	set.SetOutput(t.err)
	return set
}

// parse reads flags and positional arguments in any order and wants between least and most of the
// latter.
func parse(set *flag.FlagSet, args []string, least, most int) ([]string, error) {
	var positional []string
	for {
		if err := set.Parse(args); err != nil {
			return nil, err
		}
		if set.NArg() == 0 {
			break
		}
		positional = append(positional, set.Arg(0))
		args = set.Args()[1:]
	}
	if len(positional) < least || len(positional) > most {
		return nil, fmt.Errorf("got %d arguments %q, want %d to %d", len(positional), positional, least, most)
	}
	return positional, nil
}
