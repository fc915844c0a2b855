package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/cdclab/cdclab/experiments/peer"
)

// sinkPeer follows `bench` to compare the consumer with the MongoDB Kafka sink connector.
const sinkPeer = "sink-peer"

func peerFlags(set *flag.FlagSet, c *peer.Config) {
	set.IntVar(&c.Events, "events", c.Events, "events of the topic that both drain")
	set.IntVar(&c.Rounds, "rounds", c.Rounds, "rounds of each sink, after one that warms up")
	set.IntVar(&c.Duplicates, "duplicates", c.Duplicates,
		"records at the end of the history that are produced again")
	set.BoolVar(&c.Schemas, "schemas", c.Schemas, "have Debezium put its schema into each record")
	set.IntVar(&c.Tasks, "tasks", c.Tasks, "tasks of the peer's connector (1: the least processor "+
		"time an event; as many as partitions: the fastest)")
	set.Func("set", "`KEY=VALUE` of the peer's connector, beyond the lab's; may be repeated",
		func(text string) error {
			key, value, found := strings.Cut(text, "=")
			if !found || key == "" {
				return errors.New("want KEY=VALUE")
			}
			c.Settings[key] = value
			return nil
		})
	set.Int64Var(&c.Seed, "seed", c.Seed, "seed of the load")
	set.IntVar(&c.Stack.Partitions, "partitions", c.Stack.Partitions, "partitions of each topic")
	serverFlags(set, &c.Stack)
	set.StringVar(&c.Consumer, "consumer", "", "consumer program (default: built from this tree)")
	set.StringVar(&c.Out, "out", "", "folder for sink-peer.json (default: runs/sink-peer-TIME)")
}

// benchPeer runs the comparison and prints the tables, the reasons of the verdict and a last line.
func benchPeer(ctx context.Context, t terminal, args []string) (int, error) {
	config := peer.DefaultConfig()
	set := flags("bench "+sinkPeer, t)
	peerFlags(set, &config)
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	config.Terminal, config.Say, config.Command = t.err, t.say, os.Args
	result, err := peer.Run(ctx, config)
	if err != nil {
		return 0, err
	}
	if err := peer.Write(t.out, result); err != nil {
		return 0, err
	}
	verdict := result.Verdict()
	for _, reason := range verdict.Reasons {
		fmt.Fprintln(t.out, reason)
	}
	fmt.Fprintln(t.out, result.LastLine(fromHere(result.Path)))
	return verdictCode(verdict.Status), nil
}
