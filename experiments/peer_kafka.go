package experiments

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// peerLook is the time between two looks at what is waited for.
const peerLook = 50 * time.Millisecond

// waitFor returns when holds says so. Its error names what was waited for and what was seen last, when
// the time is over, or holds itself fails.
func waitFor(ctx context.Context, what string, limit time.Duration, holds func(context.Context) (done bool, seen string, err error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: %v passed", context.DeadlineExceeded, limit))
	defer cancel()
	tick := time.NewTicker(peerLook)
	defer tick.Stop()
	last := "nothing"
	for {
		done, seen, err := holds(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("wait for %s: %w; seen last: %s", what, context.Cause(ctx), last)
		case err != nil:
			return fmt.Errorf("wait for %s: %w", what, err)
		case done:
			return nil
		}
		last = seen
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// peerTopic is a topic and the means to look at it.
type peerTopic struct {
	name   string
	client *kgo.Client
	admin  *kadm.Client
}

// ends are the ends of its partitions, and how many records it has: nothing of it is ever deleted.
func (t *peerTopic) ends(ctx context.Context) (ends map[int32]int64, records int64, err error) {
	listed, err := t.admin.ListEndOffsets(ctx, t.name)
	if err != nil {
		return nil, 0, fmt.Errorf("list the ends of %s: %w", t.name, err)
	}
	ends = map[int32]int64{}
	for _, end := range listed[t.name] {
		if errors.Is(end.Err, kerr.UnknownTopicOrPartition) || errors.Is(end.Err, kerr.LeaderNotAvailable) {
			return map[int32]int64{}, 0, nil
		}
		if end.Err != nil {
			return nil, 0, fmt.Errorf("the end of %s %d: %w", t.name, end.Partition, end.Err)
		}
		ends[end.Partition], records = end.Offset, records+end.Offset
	}
	return ends, records, nil
}

// filled waits until the topic has exactly so many records.
func (t *peerTopic) filled(ctx context.Context, want int64, limit time.Duration) error {
	return waitFor(ctx, fmt.Sprintf("%d records in %s", want, t.name), limit, func(ctx context.Context) (bool, string, error) {
		_, have, err := t.ends(ctx)
		if err == nil && have > want {
			err = fmt.Errorf("there are %d: somebody else writes, or Debezium was interrupted", have)
		}
		return have == want, fmt.Sprintf("%d records", have), err
	})
}

// behind is how many records of the topic a group has not committed.
func (t *peerTopic) behind(ctx context.Context, group string) (lag int64, err error) {
	ends, _, err := t.ends(ctx)
	if err != nil {
		return 0, err
	}
	committed, err := t.admin.FetchOffsets(ctx, group)
	// A group is there only once it has committed something.
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return 0, fmt.Errorf("read what group %s has committed: %w", group, err)
	}
	for partition, end := range ends {
		at, _ := committed.Lookup(t.name, partition)
		lag += end - max(0, at.At)
	}
	return lag, nil
}

// drained waits until the sink's group has committed all of the topic.
func (t *peerTopic) drained(ctx context.Context, s peerSink, limit time.Duration) error {
	what := fmt.Sprintf("%s to commit the end of %s", s.name(), t.name)
	looked := time.Now()
	return waitFor(ctx, what, limit, func(ctx context.Context) (bool, string, error) {
		// Not at each look: a question costs the worker processor time.
		if time.Since(looked) > time.Second {
			looked = time.Now()
			if err := s.health(ctx); err != nil {
				return false, "", err
			}
		}
		lag, err := t.behind(ctx, s.group())
		return lag == 0, fmt.Sprintf("%d records behind", lag), err
	})
}

// each reads all of the topic, each partition in the order of its offsets.
func (t *peerTopic) each(ctx context.Context, options []kgo.Opt, visit func(*kgo.Record)) error {
	return eachRecord(ctx, "^"+regexp.QuoteMeta(t.name)+"$", options, visit)
}

// meanBytes is the mean size of key and value of its events.
func (t *peerTopic) meanBytes(ctx context.Context, options []kgo.Opt, events int64) (int, error) {
	var bytes int64
	err := t.each(ctx, options, func(r *kgo.Record) { bytes += int64(len(r.Key) + len(r.Value)) })
	return int(bytes / events), err
}
