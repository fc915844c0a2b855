package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer"
)

// replay takes recorded records through the consumer and prints the documents they end in.
func replay(ctx context.Context, t terminal, args []string) (int, error) {
	set := flags("replay", t)
	o := consumer.ReplayOptions{Config: consumer.DefaultConfig()}
	o.Config.Database, o.Config.Output = "cdc_replay", io.Discard
	mongo := set.String("mongo", "", "write to this MongoDB `uri` instead of memory; the database must be empty")
	verbose := set.Bool("verbose", false, "log what the consumer logs, to stderr: each dead letter with its reason")
	set.StringVar(&o.Config.Database, "database", o.Config.Database, "database for --mongo")
	set.StringVar(&o.Config.Specs, "specs", "", "`folder` of entity specs instead of the built-in ones")
	set.BoolVar(&o.Config.NoValidate, "no-validate", false, "store without rules")
	set.Uint64Var(&o.Shuffle, "shuffle", 0, "mix the partitions, each in its own order, by this `seed` (0: as recorded)")
	set.Float64Var(&o.Duplicate, "duplicate", 0, "`probability` after each batch that the partition begins anew some records before")
	set.BoolVar(&o.Tombstones, "tombstones", false, "print what readers do not see, too: tombstones and shells")
	files, err := parse(set, args, 0, 1<<20)
	if err != nil {
		return 0, err
	}
	if len(files) == 0 {
		return 0, errors.New("replay what? give a FILE.jsonl[.gz] that capture wrote")
	}
	if !(o.Duplicate >= 0 && o.Duplicate <= 1) {
		return 0, fmt.Errorf("--duplicate %g: want a probability of 0 to 1", o.Duplicate)
	}
	if *verbose {
		o.Config.Output = t.err
	}
	if o.Mongo = *mongo != ""; o.Mongo {
		o.Config.MongoURI = *mongo
	}
	var records []*kgo.Record
	for _, path := range files {
		if err := readRecords(path, &records); err != nil {
			return 0, err
		}
	}
	out := bufio.NewWriter(t.out)
	counts, err := consumer.Replay(ctx, records, o, out)
	if err != nil {
		return 0, err
	}
	if err := out.Flush(); err != nil {
		return 0, fmt.Errorf("print the documents: %w", err)
	}
	line, err := json.Marshal(counts)
	if err != nil {
		return 0, fmt.Errorf("print the counts: %w", err)
	}
	t.say(string(line))
	return exitPass, nil
}

func readRecords(path string, records *[]*kgo.Record) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the recording: %w", err)
	}
	defer file.Close()
	err = consumer.ReadRecording(file, func(r *kgo.Record) error {
		*records = append(*records, r)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
