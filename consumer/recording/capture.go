package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/kafka"
)

// CaptureOptions says which records to capture.
type CaptureOptions struct {
	// Topics are names, or regular expressions matching a whole name.
	Topics []string
	// Follow is how long to go on after the topics' ends at the call; 0 is not at all.
	Follow time.Duration
	// Max ends the capture after so many records; 0 is no limit.
	Max int
}

// Captured counts the records written by Capture. Notes are sentences on unreadable parts.
type Captured struct {
	Topics  []string
	Records int
	Notes   []string
}

var errEnough = errors.New("enough")

// Capture writes the topics' committed records to w as a recording: from the beginnings to the ends
// at the time of the call, in the order of the log within a partition. Topics made later are not in
// the recording. client tells how to reach Kafka, and needs no other options. When ctx ends during
// Follow, Capture ends without an error.
func Capture(ctx context.Context, client *kgo.Client, o CaptureOptions,
	w io.Writer) (Captured, error) {
	var done Captured
	var err error
	if done.Topics, err = matchTopics(ctx, client, o.Topics); err != nil {
		return done, err
	}
	whole, err := kafka.Whole(ctx, client, done.Topics...)
	if err != nil {
		return done, err
	}
	visit := func(r *kgo.Record) error {
		if err := Write(w, r); err != nil {
			return err
		}
		if done.Records++; done.Records == o.Max {
			return errEnough
		}
		return nil
	}
	done.Notes, err = kafka.Read(ctx, client, whole, visit)
	if err == nil && o.Follow > 0 {
		following, cancel := context.WithTimeout(ctx, o.Follow)
		defer cancel()
		_, err = kafka.Read(following, client, whole.After(), visit)
		if ended := following.Err(); ended != nil && errors.Is(err, ended) {
			err = nil
		}
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return done, err
}

// matchTopics is an error where a pattern matches nothing.
func matchTopics(ctx context.Context, client *kgo.Client, patterns []string) ([]string, error) {
	all, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the topics: %w", err)
	}
	found := map[string]bool{}
	for _, pattern := range patterns {
		if all.Has(pattern) {
			found[pattern] = true
			continue
		}
		whole, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			return nil, fmt.Errorf("read the topic %q: %w", pattern, err)
		}
		matched := slices.DeleteFunc(all.Names(), func(topic string) bool {
			return !whole.MatchString(topic)
		})
		for _, topic := range matched {
			found[topic] = true
		}
		if len(matched) == 0 {
			return nil, fmt.Errorf("no topic %q; there are %q", pattern, all.Names())
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}
