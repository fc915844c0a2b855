package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer"
)

// capture writes topics to a recording.
func capture(ctx context.Context, t terminal, args []string) (int, error) {
	set := flags("capture", t)
	var o consumer.CaptureOptions
	brokers := set.String("brokers", os.Getenv("CDC_KAFKA_BROKERS"), brokersUsage)
	out := set.String("out", "", "write to this new `file` instead of stdout; gzipped when it ends in .gz")
	set.DurationVar(&o.Follow, "follow", 0, "go on for so long after the end that the topics have now; Ctrl-C ends it earlier")
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

// captureTo makes the file only when all of it is there.
func captureTo(ctx context.Context, stdout io.Writer, path string, client *kgo.Client, o consumer.CaptureOptions) (
	done consumer.Captured, err error) {
	if path == "" {
		out := bufio.NewWriter(stdout)
		done, err = consumer.Capture(ctx, client, o, out)
		return done, errors.Join(err, out.Flush())
	}
	if _, err := os.Lstat(path); err == nil {
		return done, fmt.Errorf("--out %s: is there already", path)
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return done, fmt.Errorf("--out: %w", err)
	}
	defer os.Remove(file.Name())
	out := bufio.NewWriterSize(file, 1<<20)
	var to io.Writer = out
	var packed *gzip.Writer
	if strings.HasSuffix(path, ".gz") {
		packed = gzip.NewWriter(out)
		to = packed
	}
	done, err = consumer.Capture(ctx, client, o, to)
	if packed != nil {
		err = errors.Join(err, packed.Close())
	}
	if err = errors.Join(err, out.Flush(), file.Close()); err != nil {
		return done, err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return done, fmt.Errorf("--out: %w", err)
	}
	return done, nil
}
