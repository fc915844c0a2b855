// Package kafka runs a broker as a part that can be killed, frozen and started again: Embedded is
// kfake inside the lab's process, Native is Apache Kafka. The package starts no connector. Start
// reading at topics.go, then Embedded.Start and Native.Start.
package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/stack/connector"
	"github.com/cdclab/cdclab/stack/process"
)

// Name is the Component's name.
const Name = "kafka"

// Embedded is a broker inside this process: kfake behind a valve. Kill and Pause act on the valve
// and the broker's state stays in memory. A killed broker gets the state back too, because its log
// lies in the page cache of a machine that goes on. Two things differ from a killed process: a
// request read before the cut is still carried out, the answer lost (a real broker may do either);
// and the timers of consumer groups go on.
type Embedded struct {
	partitions int
	valve      *valve
	login      Login

	mu      sync.Mutex
	cluster *kfake.Cluster
}

// NewEmbedded makes a broker not yet started; each table has so many partitions.
func NewEmbedded(partitions int) (*Embedded, error) {
	port, err := process.FreePort()
	if err != nil {
		return nil, fmt.Errorf("prepare Kafka: %w", err)
	}
	return &Embedded{partitions: partitions, valve: newValve(port), login: newLogin()}, nil
}

// Brokers are the same for all classes of clients.
func (k *Embedded) Brokers(string) []string { return []string{k.valve.Addr().String()} }

// ClientOptions are those of the Login.
func (k *Embedded) ClientOptions() []kgo.Opt { return k.login.Options() }

// Login is of all clients.
func (k *Embedded) Login() Login { return k.login }

// MetricsURL is empty: the broker has none.
func (k *Embedded) MetricsURL() string { return "" }

// Name is the Component's name.
func (k *Embedded) Name() string { return Name }

// Version names kfake and its module version.
func (k *Embedded) Version() string {
	return strings.TrimSpace("kfake " + moduleVersion("github.com/twmb/franz-go/pkg/kfake"))
}

// Start makes the broker the first time, and later opens the port again.
func (k *Embedded) Start(context.Context) error {
	if err := k.valve.lift(); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cluster != nil {
		return nil
	}
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.EnableSASL(),
		kfake.Superuser(Mechanism, k.login.User, k.login.Password),
		kfake.ListenFn(k.listener()),
		kfake.SeedTopics(int32(k.partitions), TableTopics...),
		kfake.SeedTopics(1, DeadLetterTopic),
		kfake.DefaultNumPartitions(k.partitions),
		kfake.AllowAutoTopicCreation(),
		// As Connect's topics: a row of more than the usual megabyte gets through.
		kfake.BrokerConfigs(map[string]string{
			"message.max.bytes": strconv.Itoa(connector.LargestRecord),
		}),
	)
	if err != nil {
		k.valve.shut(true)
		return fmt.Errorf("start kafka: %w", err)
	}
	cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(r kmsg.Request) (kmsg.Response,
		error, bool) {
		cluster.KeepControl()
		return endsOfEpochs(cluster, r.(*kmsg.OffsetForLeaderEpochRequest)), nil, true
	})
	k.cluster = cluster
	return nil
}

// endsOfEpochs answers a reader who asks how far the records of an epoch go: as no election loses a
// record here, to the partition's end. kfake itself does not know an epoch that ended without a
// record of the next, and then the reader begins anew at the start.
func endsOfEpochs(cluster *kfake.Cluster, r *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	answer := r.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, topic := range r.Topics {
		told := kmsg.NewOffsetForLeaderEpochResponseTopic()
		told.Topic = topic.Topic
		for _, asked := range topic.Partitions {
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition = asked.Partition
			switch now := cluster.PartitionInfo(topic.Topic, asked.Partition); {
			case now == nil:
				p.ErrorCode = kerr.UnknownTopicOrPartition.Code
			case now.Leader != cluster.CurrentNode():
				p.ErrorCode = kerr.NotLeaderForPartition.Code
			case asked.CurrentLeaderEpoch >= 0 && asked.CurrentLeaderEpoch < now.Epoch:
				p.ErrorCode = kerr.FencedLeaderEpoch.Code
			case asked.CurrentLeaderEpoch > now.Epoch:
				p.ErrorCode = kerr.UnknownLeaderEpoch.Code
			case asked.LeaderEpoch <= now.Epoch: // else of a topic before this one: not known
				p.LeaderEpoch, p.EndOffset = asked.LeaderEpoch, now.HighWatermark
			}
			told.Partitions = append(told.Partitions, p)
		}
		answer.Topics = append(answer.Topics, told)
	}
	return answer
}

// listener gives the valve to the first broker, and a port to each broker of AddLeader.
func (k *Embedded) listener() func(network, address string) (net.Listener, error) {
	first := true
	return func(network, address string) (net.Listener, error) {
		if first {
			first = false
			return k.valve, nil
		}
		return net.Listen(network, address)
	}
}

// Stop closes the connections and the port; the data stays for the next Start.
func (k *Embedded) Stop(context.Context) error {
	k.valve.shut(false)
	return nil
}

// Kill resets the connections and closes the port; the data stays for the next Start.
func (k *Embedded) Kill() error {
	if !k.valve.isOpen() {
		return errors.New("kill kafka: it is not running")
	}
	k.valve.shut(true)
	return nil
}

// Pause holds back all traffic to and from clients.
func (k *Embedded) Pause() error {
	if !k.valve.isOpen() {
		return errors.New("pause kafka: it is not running")
	}
	k.valve.freeze(true)
	return nil
}

// Resume ends Pause.
func (k *Embedded) Resume() error {
	if !k.valve.isOpen() {
		return errors.New("resume kafka: it is not running")
	}
	k.valve.freeze(false)
	return nil
}

// RefuseEvery has the broker refuse every n-th request of producers and consumers for a partition,
// as a broker does that is not the leader any more. The results are the number of refusals so far,
// and the end of the refusing.
func (k *Embedded) RefuseEvery(n int64) (refused func() int, end func(), err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cluster == nil {
		return nil, nil, errors.New("kafka is not running")
	}
	// The broker asks When on one goroutine, for a request of a producer twice: once for the topic,
	// and once for the partition.
	var seen int64
	var last kmsg.Request
	fault := k.cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce, kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: -1,
		When: func(request kmsg.Request) bool {
			if request != last {
				seen, last = seen+1, request
			}
			return seen%n == 0
		},
	})
	return fault.Hits, fault.Remove, nil
}

// AddLeader adds a broker, which becomes the leader of every partition of the lab's topics, as
// after an election. The results are the broker's number, how many requests for a partition the
// broker has had so far, and the end: the broker is gone, and the first leads again. Kill and Pause
// act on the first broker alone.
func (k *Embedded) AddLeader() (node int32, asked func() int, end func() error, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	cluster := k.cluster
	if cluster == nil {
		return 0, nil, nil, errors.New("kafka is not running")
	}
	if node, _, err = cluster.AddNode(-1, 0); err != nil {
		return 0, nil, nil, fmt.Errorf("add a broker: %w", err)
	}
	watch := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce, kmsg.Fetch},
		Nodes: []int32{node}, Count: -1, Observe: true})
	end = sync.OnceValue(func() error {
		watch.Remove()
		return cluster.RemoveNode(node)
	})
	for _, topic := range append([]string{DeadLetterTopic}, TableTopics...) {
		for _, p := range cluster.PartitionInfos(topic) {
			if err := cluster.MoveTopicPartition(topic, p.Partition, node); err != nil {
				err = fmt.Errorf("elect a leader of %s/%d: %w", topic, p.Partition, err)
				return 0, nil, nil, errors.Join(err, end())
			}
		}
	}
	return node, watch.Hits, end, nil
}

// Health asks the broker for its versions, the first question of every client. Health uses no
// client, because the clients of franz-go do not give up on a frozen broker within 10 seconds.
func (k *Embedded) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	if err := askVersions(ctx, k.valve.Addr().String()); err != nil {
		return fmt.Errorf("look at kafka: %w", err)
	}
	return nil
}

func askVersions(ctx context.Context, broker string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", broker)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	const correlation = 1
	question := kmsg.NewPtrApiVersionsRequest()
	request := kmsg.NewRequestFormatter().AppendRequest(nil, question, correlation)
	if _, err := conn.Write(request); err != nil {
		return err
	}
	// The answer begins with its size and the number of the question.
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	if got := binary.BigEndian.Uint32(head[4:]); got != correlation {
		return fmt.Errorf("the broker answered question %d, asked was %d", got, correlation)
	}
	return nil
}

// PIDs is empty: the broker runs inside this process.
func (k *Embedded) PIDs() []int { return nil }

// Close ends the broker for good and frees the memory.
func (k *Embedded) Close() {
	k.valve.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cluster != nil {
		k.cluster.Close()
		k.cluster = nil
	}
}

// moduleVersion is the version of a module built into this program; "" in a test binary without the
// information.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}
	return ""
}
