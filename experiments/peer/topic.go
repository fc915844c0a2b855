package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/experiments/observe"
)

// pollEvery is the time between two polls of a wait.
const pollEvery = 50 * time.Millisecond

// poll is the answer to one question: whether the wait is over, what was seen, and the failure.
type poll struct {
	done bool
	seen string
	err  error
}

// waitFor asks until a poll is done. When the time is over, or a poll fails, the error names the
// wait and what was seen last.
func waitFor(ctx context.Context, what string, limit time.Duration,
	ask func(context.Context) poll) error {
	over := fmt.Errorf("%w: %v passed", context.DeadlineExceeded, limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, over)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last := "nothing"
	for {
		now := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("wait for %s: %w; seen last: %s", what, context.Cause(ctx), last)
		case now.err != nil:
			return fmt.Errorf("wait for %s: %w", what, now.err)
		case now.done:
			return nil
		}
		last = now.seen
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// topic is a topic and the means to read the topic.
type topic struct {
	name   string
	client *kgo.Client
	admin  *kadm.Client
}

// ends returns the ends of the topic's partitions, and the number of records, because no record is
// ever deleted.
func (t *topic) ends(ctx context.Context) (ends map[int32]int64, records int64, err error) {
	listed, err := t.admin.ListEndOffsets(ctx, t.name)
	if err != nil {
		return nil, 0, fmt.Errorf("list the ends of %s: %w", t.name, err)
	}
	ends = map[int32]int64{}
	for _, end := range listed[t.name] {
		if errors.Is(end.Err, kerr.UnknownTopicOrPartition) ||
			errors.Is(end.Err, kerr.LeaderNotAvailable) {
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
func (t *topic) filled(ctx context.Context, want int64, limit time.Duration) error {
	what := fmt.Sprintf("%d records in %s", want, t.name)
	return waitFor(ctx, what, limit, func(ctx context.Context) poll {
		_, have, err := t.ends(ctx)
		if err == nil && have > want {
			err = fmt.Errorf("there are %d: somebody else writes, or Debezium was interrupted",
				have)
		}
		return poll{have == want, fmt.Sprintf("%d records", have), err}
	})
}

// behind is how many records of the topic a group has not committed.
func (t *topic) behind(ctx context.Context, group string) (lag int64, err error) {
	ends, _, err := t.ends(ctx)
	if err != nil {
		return 0, err
	}
	committed, err := t.admin.FetchOffsets(ctx, group)
	// A group is there only once the group has committed something.
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
func (t *topic) drained(ctx context.Context, s drainer, limit time.Duration) error {
	what := fmt.Sprintf("%s to commit the end of %s", s.name(), t.name)
	asked := time.Now()
	return waitFor(ctx, what, limit, func(ctx context.Context) poll {
		// Not at each poll: a question costs the worker processor time.
		if time.Since(asked) > time.Second {
			asked = time.Now()
			if err := s.health(ctx); err != nil {
				return poll{false, "", err}
			}
		}
		lag, err := t.behind(ctx, s.group())
		return poll{lag == 0, fmt.Sprintf("%d records behind", lag), err}
	})
}

// each reads all of the topic, each partition in the order of the offsets.
func (t *topic) each(ctx context.Context, visit func(*kgo.Record)) error {
	return observe.EachRecord(ctx, t.client, []string{t.name}, visit)
}

// meanBytes returns the mean size of an event's key and value.
func (t *topic) meanBytes(ctx context.Context, events int64) (int, error) {
	var bytes int64
	err := t.each(ctx, func(r *kgo.Record) { bytes += int64(len(r.Key) + len(r.Value)) })
	return int(bytes / events), err
}
