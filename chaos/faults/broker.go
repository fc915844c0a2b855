package faults

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/kafka"
)

func brokerKinds() []Kind {
	kinds := []Kind{
		{Name: "partitions-added", Does: "gives a table's topic more partitions: a row's later " +
			"changes may go to another partition", Ends: AtOnce, Shared: true,
			Parameters: []Parameter{tableParameter, {Name: "more", Type: numberType, Default: "2",
				Least: 1, Most: 100, Does: "further partitions"}},
			Verified: "the topic has more partitions", Stacks: everyStack,
			Undone: "not at all: a topic loses no partition", bind: addPartitions},
		{Name: "topic-recreated", Does: "stops the connector, waits for the consumers, deletes " +
			"the topic and creates the topic again", Ends: AtOnce, Alone: true,
			Parameters: []Parameter{tableParameter},
			Verified:   "the topic has another ID, and begins at offset 0",
			Undone:     "the connector is started", Stacks: everyStack, bind: recreateTopic},
		{Name: "log-truncated", Does: "deletes what the consumers have read of a table's topic, " +
			"as retention does", Ends: AtOnce, Shared: true,
			Parameters: []Parameter{tableParameter}, Stacks: everyStack,
			Verified: "the topic begins at later offsets",
			Undone:   "not at all: the records are gone", bind: truncateLog},
		{Name: "broker-errors", Does: "refuses some requests for a partition as a broker does " +
			"that leads the partition no more", Ends: Lasts, Shared: true,
			Parameters: []Parameter{{Name: "every", Type: numberType, Default: "3", Least: 1,
				Most: 1_000_000, Does: "each so many-th request is refused; 1 refuses all"}},
			Verified: "the broker refused requests", Undone: "no request is refused",
			Stacks: []string{stack.Embedded}, bind: refuseRequests},
		{Name: "leaders-moved", Does: "elects another broker the leader of every partition, and " +
			"at the end the first broker again", Ends: Lasts,
			Verified: "the epoch of every partition of the tables went up, and the other broker " +
				"leads and had requests",
			Undone: "the other broker is gone", Stacks: []string{stack.Embedded},
			unable: needs[elector](" has one broker: nobody else can lead"), bind: moveLeaders},
	}
	for i := range kinds {
		kinds[i].Family, kinds[i].Targets = "broker", []string{stack.Kafka}
	}
	return kinds
}

// withAdmin lends do a client of the lab's own, whose every question goes to the broker.
func withAdmin(s Site, do func(*kadm.Client) error) error {
	options := append(s.Stack.KafkaOptions(), kgo.MetadataMinAge(untilTick))
	client, err := kgo.NewClient(options...)
	if err != nil {
		return fmt.Errorf("reach Kafka: %w", err)
	}
	defer client.Close()
	return do(kadm.NewClient(client))
}

// topic is the topic of the Site's table.
func (s Site) topic() string { return kafka.TableTopicPrefix + s.With["table"] }

// describe asks for a topic.
func describe(ctx context.Context, admin *kadm.Client, topic string) (kadm.TopicDetail, error) {
	details, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return kadm.TopicDetail{}, fmt.Errorf("ask for topic %s: %w", topic, err)
	}
	detail := details[topic]
	if detail.Err != nil {
		return detail, fmt.Errorf("ask for topic %s: %w", topic, detail.Err)
	}
	return detail, nil
}

// lookAtTopic returns the evidence that judge finds in the description of the Site's topic.
func (s Site) lookAtTopic(ctx context.Context,
	judge func(kadm.TopicDetail) (string, error)) (evidence string, err error) {
	err = withAdmin(s, func(admin *kadm.Client) error {
		evidence, err = awaitTopic(ctx, admin, s.topic(), judge)
		return err
	})
	return evidence, err
}

// spreadLimit bounds the wait until a broker tells of a change: the controller answers before the
// brokers know.
const spreadLimit = 10 * time.Second

// awaitTopic waits until judge finds evidence in the description of a topic.
func awaitTopic(ctx context.Context, admin *kadm.Client, topic string,
	judge func(kadm.TopicDetail) (string, error)) (evidence string, err error) {
	ctx, cancel := context.WithTimeout(ctx, spreadLimit)
	defer cancel()
	err = until(ctx, func() error {
		now, err := describe(ctx, admin, topic)
		if err == nil {
			evidence, err = judge(now)
		}
		return err
	})
	return evidence, err
}

// nothingToUndo is the Undo of a fault whose effect stays, or ends by itself.
func nothingToUndo(context.Context) error { return nil }

func addPartitions(s Site) *Injection {
	var before int
	i := &Injection{Healthy: s.healthy, Undo: nothingToUndo}
	i.Inject = func(ctx context.Context) error {
		return withAdmin(s, func(admin *kadm.Client) error {
			detail, err := describe(ctx, admin, s.topic())
			if err != nil {
				return err
			}
			before = len(detail.Partitions)
			answers, err := admin.CreatePartitions(ctx, s.With.Number("more"), s.topic())
			return errors.Join(err, answers.Error())
		})
	}
	i.During = func(ctx context.Context) (string, error) {
		return s.lookAtTopic(ctx, func(now kadm.TopicDetail) (string, error) {
			text := fmt.Sprintf("topic %s has %d partitions, and had %d", s.topic(),
				len(now.Partitions), before)
			if len(now.Partitions) != before+s.With.Number("more") {
				return "", errors.New(text)
			}
			return text, nil
		})
	}
	return i
}

// recreateTopic does what an operator does who must lose nothing: first nobody writes, then
// everything is read.
func recreateTopic(s Site) *Injection {
	var before kadm.TopicDetail
	var stopped bool
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) error {
		connector, err := s.Stack.Component(stack.Connector)
		if err != nil {
			return err
		}
		stopped = true
		if err := connector.Stop(ctx); err != nil {
			return err
		}
		return withAdmin(s, func(admin *kadm.Client) (err error) {
			if before, err = describe(ctx, admin, s.topic()); err != nil {
				return err
			}
			if err := awaitReaders(ctx, s, admin, false); err != nil {
				return err
			}
			answers, err := admin.DeleteTopics(ctx, s.topic())
			if err := errors.Join(err, answers.Error()); err != nil {
				return err
			}
			return createTopic(ctx, admin, s.topic(), int32(len(before.Partitions)))
		})
	}
	i.During = func(ctx context.Context) (string, error) {
		return s.lookAtTopic(ctx, func(now kadm.TopicDetail) (string, error) {
			if now.ID == before.ID {
				return "", fmt.Errorf("topic %s has the ID from before", s.topic())
			}
			return fmt.Sprintf("topic %s has ID %v, and had %v", s.topic(), now.ID, before.ID), nil
		})
	}
	i.Undo = func(ctx context.Context) error {
		if !stopped {
			return nil
		}
		connector, err := s.Stack.Component(stack.Connector)
		if err != nil {
			return err
		}
		return connector.Start(ctx)
	}
	// Until the consumers meet the new topic, they seem healthy.
	i.After = func(ctx context.Context) (string, error) {
		return "the consumers read the new topic", withAdmin(s, func(admin *kadm.Client) error {
			return awaitReaders(ctx, s, admin, true)
		})
	}
	return i
}

// truncateLog deletes up to the group's committed offsets. No record is lost, because no consumer
// reads a record twice without a restart.
func truncateLog(s Site) *Injection {
	var before int64
	i := &Injection{Healthy: s.healthy, Undo: nothingToUndo}
	begins := func(ctx context.Context, admin *kadm.Client) (sum int64, err error) {
		starts, err := admin.ListStartOffsets(ctx, s.topic())
		if err := errors.Join(err, starts.Error()); err != nil {
			return 0, fmt.Errorf("ask for the beginning of topic %s: %w", s.topic(), err)
		}
		starts.Each(func(start kadm.ListedOffset) { sum += start.Offset })
		return sum, nil
	}
	i.Inject = func(ctx context.Context) error {
		return withAdmin(s, func(admin *kadm.Client) (err error) {
			if before, err = begins(ctx, admin); err != nil {
				return err
			}
			committed, err := admin.FetchOffsets(ctx, s.Stack.Group())
			if err != nil {
				return fmt.Errorf("ask what the consumers have read: %w", err)
			}
			upTo := kadm.Offsets{}
			for _, offset := range committed[s.topic()] {
				upTo.Add(offset.Offset)
			}
			answers, err := admin.DeleteRecords(ctx, upTo)
			return errors.Join(err, answers.Error())
		})
	}
	i.During = func(ctx context.Context) (evidence string, err error) {
		err = withAdmin(s, func(admin *kadm.Client) error {
			now, err := begins(ctx, admin)
			if err != nil {
				return err
			}
			if now <= before {
				return fmt.Errorf("topic %s lost no record: the consumers had read none", s.topic())
			}
			evidence = fmt.Sprintf("the first %d records of topic %s are gone", now-before,
				s.topic())
			return nil
		})
		return evidence, err
	}
	return i
}

// lagLimit bounds the wait for the consumers.
const lagLimit = time.Minute

// awaitReaders waits until the group has committed every record of the Site's topic, or of a topic
// made anew any record. A Site without a table means every topic.
func awaitReaders(ctx context.Context, s Site, admin *kadm.Client, anew bool) error {
	ctx, cancel := context.WithTimeout(ctx, lagLimit)
	defer cancel()
	return until(ctx, func() error {
		partitions, err := s.Stack.Lag(ctx, admin)
		if err != nil {
			return err
		}
		behind, begun := readersOf(slices.DeleteFunc(partitions, func(p stack.PartitionLag) bool {
			return s.With["table"] != "" && p.Topic != s.topic()
		}))
		switch {
		case anew && !begun:
			return fmt.Errorf("the consumers have read nothing of the new %s", s.topic())
		case !anew && behind > 0:
			return fmt.Errorf("%d records of %s* wait for the consumers", behind, s.topic())
		}
		return nil
	})
}

// readersOf returns how many records are not committed, and whether any is. A commit behind the end
// is of the topic before.
func readersOf(partitions []stack.PartitionLag) (behind int64, begun bool) {
	for _, p := range partitions {
		behind += p.Lag()
		begun = begun || 0 < p.Committed && p.Committed <= p.End
	}
	return behind, begun
}

// createTopic creates a topic that was just deleted. A real broker refuses for a moment, and a
// question of a client may have created the topic already.
func createTopic(ctx context.Context, admin *kadm.Client, topic string, partitions int32) error {
	ctx, cancel := context.WithTimeout(ctx, lagLimit)
	defer cancel()
	return until(ctx, func() error {
		answer, err := admin.CreateTopic(ctx, partitions, -1, nil, topic)
		if errors.Is(answer.Err, kerr.TopicAlreadyExists) {
			return nil
		}
		return errors.Join(err, answer.Err)
	})
}

// refuser is a broker that can be asked to refuse requests.
type refuser interface {
	RefuseEvery(n int64) (refused func() int, end func(), err error)
}

func refuseRequests(s Site) *Injection {
	var refused func() int
	var end func()
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(context.Context) (err error) {
		broker, is := s.Part.(refuser)
		if !is {
			return errors.New("this broker refuses nothing on request")
		}
		refused, end, err = broker.RefuseEvery(int64(s.With.Number("every")))
		return err
	}
	i.During = func(context.Context) (string, error) {
		n := refused()
		if n == 0 {
			return "", errors.New("the broker refused no request: there was no load")
		}
		return fmt.Sprintf("the broker refused %d requests", n), nil
	}
	i.Undo = func(context.Context) error {
		if end != nil {
			end()
		}
		return nil
	}
	return i
}

// elector is a broker that can be replaced as the leader of all partitions.
type elector interface {
	AddLeader() (node int32, asked func() int, end func() error, err error)
}

func moveLeaders(s Site) *Injection {
	part, _ := s.Part.(elector) // the Kind needs one
	var node int32
	var asked func() int
	var end func() error
	var before kadm.TopicDetails
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) (err error) {
		if before, err = tables(ctx, s); err == nil {
			node, asked, end, err = part.AddLeader()
		}
		return err
	}
	i.During = func(ctx context.Context) (string, error) {
		now, err := tables(ctx, s)
		if err != nil {
			return "", err
		}
		partitions, least := 0, int32(math.MaxInt32)
		now.EachPartition(func(p kadm.PartitionDetail) {
			epochs := p.LeaderEpoch - before[p.Topic].Partitions[p.Partition].LeaderEpoch
			partitions, least = partitions+1, min(least, epochs)
			if p.Leader != node {
				err = fmt.Errorf("broker %d leads partition %d of topic %s, and broker %d does not",
					p.Leader, p.Partition, p.Topic, node)
			}
		})
		switch {
		case err != nil:
			return "", err
		case partitions == 0 || least < 1:
			return "", errors.New("no leader was elected: the epoch of a partition stayed")
		case asked() == 0:
			return "", fmt.Errorf("nobody asked broker %d: there was no load", node)
		}
		return fmt.Sprintf("broker %d leads %d partitions, at least %d epochs later, and had %d "+
			"requests", node, partitions, least, asked()), nil
	}
	i.Undo = func(context.Context) error {
		if end == nil {
			return nil
		}
		return end()
	}
	return i
}

// tables describes the tables' topics.
func tables(ctx context.Context, s Site) (details kadm.TopicDetails, err error) {
	err = withAdmin(s, func(admin *kadm.Client) error {
		details, err = admin.ListTopics(ctx, kafka.TableTopics...)
		return errors.Join(err, details.Error())
	})
	if err != nil {
		return nil, fmt.Errorf("ask who leads: %w", err)
	}
	return details, nil
}
