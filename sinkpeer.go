package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/cdclab/cdclab/experiments"
)

// sinkPeer is what follows `bench` to compare the consumer with the MongoDB Kafka sink connector.
const sinkPeer = "sink-peer"

func peerFlags(set *flag.FlagSet, c *experiments.PeerConfig) {
	set.IntVar(&c.Events, "events", c.Events, "events of the topic that both drain")
	set.IntVar(&c.Rounds, "rounds", c.Rounds, "rounds of each sink, after one that warms up")
	set.IntVar(&c.Duplicates, "duplicates", c.Duplicates, "records at the end of the history that are produced again")
	set.BoolVar(&c.Schemas, "schemas", c.Schemas, "have Debezium put its schema into each record")
	set.IntVar(&c.Tasks, "tasks", c.Tasks, "tasks of the peer's connector (1: the least processor time an event; as many as partitions: the fastest)")
	set.Func("set", "`KEY=VALUE` of the peer's connector, beyond the lab's; may be given several times", func(text string) error {
		key, value, found := strings.Cut(text, "=")
		if !found || key == "" {
			return fmt.Errorf("%q: want KEY=VALUE", text)
		}
		c.Settings[key] = value
		return nil
	})
	set.Int64Var(&c.Seed, "seed", c.Seed, "seed of the load")
	set.IntVar(&c.Stack.Partitions, "partitions", c.Stack.Partitions, "partitions of each topic")
	set.StringVar(&c.Stack.MongoURI, "mongo-uri", os.Getenv("CDCLAB_MONGO_URI"), "use this MongoDB instead of starting one (env CDCLAB_MONGO_URI)")
	set.StringVar(&c.Stack.PostgresDir, "postgres-dir", os.Getenv("CDCLAB_POSTGRES_DIR"), "folder holding bin/postgres (env CDCLAB_POSTGRES_DIR; default: PATH, else fetched)")
	set.StringVar(&c.Consumer, "consumer", "", "consumer program (default: built from this tree)")
	set.StringVar(&c.Out, "out", "", "folder for sink-peer.json (default: runs/sink-peer-TIME)")
}

// benchPeer prints the comparison. It fails when the consumer's documents are not the rows, and is
// unknown when a sink did not take care of every event; the peer's own faults are its findings.
func benchPeer(ctx context.Context, t terminal, args []string) (int, error) {
	config := experiments.DefaultPeerConfig()
	set := flags("bench "+sinkPeer, t)
	peerFlags(set, &config)
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	config.Terminal, config.Say, config.Command = t.err, t.say, redact(os.Args)
	result, err := experiments.Peer(ctx, config)
	if err != nil {
		return 0, err
	}
	if err := experiments.WritePeer(t.out, result); err != nil {
		return 0, err
	}
	failures, faults := result.OwnFailures(), result.Faults()
	code, status := exitPass, "PASS"
	switch {
	case len(failures) > 0:
		code, status = exitFail, "FAIL"
	case len(faults) > 0:
		code, status = exitUnknown, "UNKNOWN"
	}
	for _, line := range append(failures, faults...) {
		fmt.Fprintln(t.out, line)
	}
	ratio, _ := result.Ratio(experiments.NullServer)
	fmt.Fprintf(t.out, "%s  %.1f times the peer's events/s per core, %.3f of its memory  |  %s\n", status, ratio.PerCore, ratio.PeakRSS, fromHere(result.Path))
	return code, nil
}
