package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/kafka"
)

func groupKinds() []Kind {
	kinds := []Kind{
		{Name: "rebalance-storm", Does: "has a stranger join and leave the consumers' group " +
			"again and again", Parameters: []Parameter{{Name: "every", Type: lengthType,
			Default: "500ms", Least: 50, Does: "the time that the stranger keeps partitions"}},
			LeastFor: 4 * time.Second,
			Verified: "the stranger was given partitions at least once",
			Undone:   "the stranger leaves, without a commit",
			bind:     func(s Site) *Injection { return storm(s, groupOptions(s.Stack)) }},
		{Name: "member-hangs", Does: "has a stranger in the group that keeps its partitions and " +
			"works on none", LeastFor: 8 * time.Second,
			Verified: "the group's coordinator names the stranger with partitions",
			Undone:   "the stranger leaves, without a commit", bind: hangInGroup},
		{Name: "poison-records", Does: "writes records that nobody can read into a table's topic",
			Parameters: []Parameter{tableParameter, {Name: "every", Type: lengthType,
				Default: "100ms", Least: 1, Does: "the time between two such records"}},
			Verified: "the broker took such records, and dead letters came",
			Undone:   "no more such records", bind: poisonTopic},
	}
	for i := range kinds {
		kinds[i].Family, kinds[i].Targets = "group", []string{stack.Consumer}
		kinds[i].Ends, kinds[i].Stacks, kinds[i].Shared = Lasts, everyStack, true
	}
	return kinds
}

// strangerID is the client ID of the lab's members in the consumers' group.
const strangerID = "cdclab-chaos"

// strangerHeartbeat is short, because the answer to a heartbeat is what tells a member to come for
// partitions.
const strangerHeartbeat = 100 * time.Millisecond

// groupOptions are the options of a member of the consumers' group.
func groupOptions(s *stack.Stack) []kgo.Opt {
	return append(s.KafkaOptions(), kgo.ConsumerGroup(s.Group()), kgo.ConsumeTopics(s.Topics()),
		kgo.ConsumeRegex())
}

// join makes a client that polls nothing and commits nothing: the client's own goroutines keep the
// membership alive.
func join(options ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(options, kgo.ClientID(strangerID),
		kgo.DisableAutoCommit(), kgo.HeartbeatInterval(strangerHeartbeat))...)
	if err != nil {
		return nil, fmt.Errorf("join the consumers' group: %w", err)
	}
	return client, nil
}

// storm joins and leaves beside the timeline. The stranger stays until the group gave partitions,
// because a member that leaves earlier takes nothing from the consumers.
func storm(s Site, options []kgo.Opt) *Injection {
	var joins int
	var given atomic.Int64
	var failed error
	work := &beside{}
	stay := func(ctx context.Context) error {
		served, serve := context.WithCancel(ctx)
		defer serve()
		client, err := join(append(slices.Clone(options), kgo.OnPartitionsAssigned(
			func(_ context.Context, _ *kgo.Client, all map[string][]int32) {
				for _, partitions := range all {
					if len(partitions) > 0 {
						given.Add(int64(len(partitions)))
						serve()
					}
				}
			}))...)
		if err != nil {
			return err
		}
		defer client.Close()
		joins++
		<-served.Done()
		pass(ctx, s.With.Length("every"))
		return nil
	}
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(context.Context) error {
		work.begin(func(ctx context.Context) {
			for failed == nil && ctx.Err() == nil {
				failed = stay(ctx)
			}
		})
		return nil
	}
	i.During = func(ctx context.Context) (string, error) {
		limited, cancel := context.WithTimeout(ctx, givenLimit)
		defer cancel()
		none := until(limited, func() error {
			if given.Load() == 0 {
				return errors.New("no partition came")
			}
			return nil
		})
		work.end()
		if failed != nil || none != nil {
			return "", errors.Join(fmt.Errorf("a stranger joined the group %d times, and was "+
				"given no partition", joins), failed)
		}
		return fmt.Sprintf("a stranger joined the group %d times, and was given %d partitions",
			joins, given.Load()), nil
	}
	i.Undo = func(context.Context) error {
		work.end()
		return nil
	}
	return i
}

// hangInGroup stays in the group with partitions that nobody reads.
func hangInGroup(s Site) *Injection {
	var client *kgo.Client
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(context.Context) (err error) {
		client, err = join(groupOptions(s.Stack)...)
		return err
	}
	i.During = func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, givenLimit)
		defer cancel()
		var held int
		err := withAdmin(s, func(admin *kadm.Client) error {
			return until(ctx, func() (err error) {
				held, err = heldByStranger(ctx, admin, s.Stack.Group())
				if err == nil && held == 0 {
					err = errors.New("the group gave the hanging member no partition")
				}
				return err
			})
		})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d partitions were with a member that works on none", held), nil
	}
	i.Undo = func(context.Context) error {
		if client != nil {
			client.Close()
			client = nil
		}
		return nil
	}
	return i
}

// heldByStranger is the number of partitions that the group gave the lab's members.
func heldByStranger(ctx context.Context, admin *kadm.Client, group string) (held int, err error) {
	groups, err := admin.DescribeGroups(ctx, group)
	if err := errors.Join(err, groups.Error()); err != nil {
		return 0, err
	}
	for _, m := range groups[group].Members {
		if assigned, ok := m.Assigned.AsConsumer(); ok && m.ClientID == strangerID {
			for _, t := range assigned.Topics {
				held += len(t.Partitions)
			}
		}
	}
	return held, nil
}

// poisonTopic writes beside the timeline. The records have no key, so that no row is meant.
func poisonTopic(s Site) *Injection {
	work := &beside{}
	var written, before int64
	var failed error
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) (err error) {
		if before, err = letters(ctx, s); err != nil {
			return err
		}
		client, err := kgo.NewClient(append(s.Stack.KafkaOptions(), kgo.ProducerLinger(0))...)
		if err != nil {
			return fmt.Errorf("reach Kafka: %w", err)
		}
		work.begin(func(ctx context.Context) {
			defer client.Close()
			for ctx.Err() == nil {
				record := &kgo.Record{Topic: s.topic(), Value: []byte("chaos: no envelope")}
				if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
					if ctx.Err() == nil {
						failed = err
					}
					return
				}
				written++
				pass(ctx, s.With.Length("every"))
			}
		})
		return nil
	}
	i.During = func(ctx context.Context) (string, error) {
		work.end()
		if failed != nil || written == 0 {
			return "", errors.Join(errors.New("the broker took no unreadable record"), failed)
		}
		limited, cancel := context.WithTimeout(ctx, lettersLimit)
		defer cancel()
		var more int64
		err := until(limited, func() error {
			now, err := letters(limited, s)
			if more = now - before; err == nil && more == 0 {
				err = errors.New("no dead letter came")
			}
			return err
		})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d unreadable records written, %d dead letters came so far", written,
			more), nil
	}
	i.Undo = func(context.Context) error {
		work.end()
		return nil
	}
	return i
}

// lettersLimit bounds the wait for the first dead letter, givenLimit for the stranger's first
// partitions: another fault may have the group begin anew just then.
const (
	lettersLimit = 20 * time.Second
	givenLimit   = 10 * time.Second
)

// letters counts the dead letters.
func letters(ctx context.Context, s Site) (n int64, err error) {
	err = withAdmin(s, func(admin *kadm.Client) error {
		ends, err := admin.ListEndOffsets(ctx, kafka.DeadLetterTopic)
		if err := errors.Join(err, ends.Error()); err != nil {
			return fmt.Errorf("count the dead letters: %w", err)
		}
		ends.Each(func(end kadm.ListedOffset) { n += end.Offset })
		return nil
	})
	return n, err
}

// beside is work beside the timeline.
type beside struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// begin runs work until end.
func (b *beside) begin(work func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.done.Go(func() { work(ctx) })
}

// end ends the work and waits; end may be called again, and before begin.
func (b *beside) end() {
	if b.cancel != nil {
		b.cancel()
		b.done.Wait()
	}
}

// pass waits until the time has passed, or ctx ends.
func pass(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
