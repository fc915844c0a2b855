package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer"
	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/recording"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// capture writes topics to a recording.
func capture(ctx context.Context, t terminal, args []string) (int, error) {
	set := flags("capture", t)
	var o recording.CaptureOptions
	brokers := set.String("brokers", "", brokersUsage)
	out := set.String("out", "",
		"write to this new `file` instead of stdout; gzipped when it ends in .gz")
	set.DurationVar(&o.Follow, "follow", 0,
		"go on for so long after the end that the topics have now; Ctrl-C ends it earlier")
	set.IntVar(&o.Max, "max", 0, "end after so many records (0: no limit)")
	var err error
	if o.Topics, err = parse(set, args, 1, 1<<10); err != nil {
		return 0, err
	}
	if o.Follow < 0 || o.Max < 0 {
		return 0, fmt.Errorf("--follow %v, --max %d: must not be below 0", o.Follow, o.Max)
	}
	client, err := kafkaClient(ctx, *brokers)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	done, err := captureTo(ctx, t.out, *out, client, o)
	if err != nil && done.Records > 0 {
		err = fmt.Errorf("after %d records: %w", done.Records, err)
	}
	if err != nil {
		return 0, err
	}
	for _, note := range done.Notes {
		t.say(note)
	}
	t.say(fmt.Sprintf("captured %d records of %s", done.Records, strings.Join(done.Topics, ", ")))
	return exitPass, nil
}

// captureTo writes to the file at path, or to stdout.
func captureTo(ctx context.Context, stdout io.Writer, path string, client *kgo.Client,
	o recording.CaptureOptions) (recording.Captured, error) {
	if path != "" {
		done, err := recording.CaptureFile(ctx, client, o, path)
		if err != nil {
			err = fmt.Errorf("--out: %w", err)
		}
		return done, err
	}
	out := bufio.NewWriter(stdout)
	done, err := recording.Capture(ctx, client, o, out)
	return done, errors.Join(err, out.Flush())
}

// replay takes recorded records through the consumer and prints the resulting documents.
func replay(ctx context.Context, t terminal, args []string) (int, error) {
	set := flags("replay", t)
	o := recording.ReplayOptions{Apply: apply.DefaultConfig(),
		BatchMax: consumer.DefaultConfig().BatchMax}
	store := documents.DefaultConfig()
	mongo := set.String("mongo", "",
		"write to this MongoDB `uri` instead of memory; the database must be empty")
	verbose := set.Bool("verbose", false,
		"log what the consumer logs, to stderr: each dead letter with its reason")
	set.StringVar(&store.Database, "database", "cdc_replay", "database for --mongo")
	specs := set.String("specs", "", "`folder` of entity specs instead of the built-in ones")
	set.Var(&o.Apply.TopicTables, "topic-tables",
		"`pairs` TOPIC=SCHEMA.TABLE with commas, as for the consumer")
	set.BoolVar(&o.Apply.NoValidate, "no-validate", false, "store without rules")
	set.Uint64Var(&o.Shuffle, "shuffle", 0,
		"mix the partitions, each in its own order, by this `seed` (0: as recorded)")
	set.Float64Var(&o.Duplicate, "duplicate", 0,
		"`probability` after each batch that the partition begins anew some records before")
	set.BoolVar(&o.Tombstones, "tombstones", false,
		"print what readers do not see, too: tombstones and shells")
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
		if o.Log, err = telemetry.NewLog("info", t.err); err != nil {
			return 0, err
		}
	}
	if *mongo != "" {
		store.URI = *mongo
		o.Mongo = &store
	}
	if o.Registry, err = entity.Open(*specs); err != nil {
		return 0, fmt.Errorf("--specs %s: %w", *specs, err)
	}
	var records []*kgo.Record
	for _, path := range files {
		more, err := recording.ReadFile(path)
		if err != nil {
			return 0, err
		}
		records = append(records, more...)
	}
	out := bufio.NewWriter(t.out)
	counts, err := recording.Replay(ctx, records, o, out)
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
