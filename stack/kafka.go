package stack

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
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/stack/connector"
)

// healthLimit bounds one look at a component's health when the caller's context does not.
const healthLimit = 2 * time.Second

// Topics that exist from the start: one for each table, and the consumer's dead letters.
const (
	tableTopicPrefix = topicPrefix + ".public."
	deadLetterTopic  = topicPrefix + ".dead-letter"
	// topicPrefix is Debezium's topic.prefix.
	topicPrefix = "cdc"
)

// labTables are those that the generator writes, of postgres/schema.sql.
var labTables = []string{"customer", "address", "order", "order_item"}

var tableTopics = []string{
	tableTopicPrefix + labTables[0], tableTopicPrefix + labTables[1],
	tableTopicPrefix + labTables[2], tableTopicPrefix + labTables[3],
}

// kafka is a broker inside this process: kfake behind a gate. Kill and Pause act on the gate and
// the broker's state stays in memory, which is what a killed broker gets back too, because its log
// lies in the page cache of a machine that goes on. Two things differ from a killed process: a
// request that was read before the cut is still carried out, its answer lost (a real broker may do
// either); and the timers of consumer groups go on.
type kafka struct {
	partitions int
	gate       *gate

	mu      sync.Mutex
	cluster *kfake.Cluster
}

func newKafka(partitions int) (*kafka, error) {
	port, err := freePort()
	if err != nil {
		return nil, fmt.Errorf("prepare Kafka: %w", err)
	}
	return &kafka{partitions: partitions, gate: newGate(port)}, nil
}

// brokers are the same for all classes of clients.
func (k *kafka) brokers(string) []string { return []string{k.gate.Addr().String()} }

func (k *kafka) clientOptions() []kgo.Opt { return nil }

// metricsURL is empty: it has none.
func (k *kafka) metricsURL() string { return "" }

// Name is the Component's name.
func (k *kafka) Name() string { return Kafka }

// Version names kfake and its module version.
func (k *kafka) Version() string {
	return strings.TrimSpace("kfake " + moduleVersion("github.com/twmb/franz-go/pkg/kfake"))
}

// Start makes the broker the first time and opens its port again after that.
func (k *kafka) Start(context.Context) error {
	if err := k.gate.unlock(); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cluster != nil {
		return nil
	}
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return k.gate, nil }),
		kfake.SeedTopics(int32(k.partitions), tableTopics...),
		kfake.SeedTopics(1, deadLetterTopic),
		kfake.DefaultNumPartitions(k.partitions),
		kfake.AllowAutoTopicCreation(),
		// As the topics that Connect creates: a row of more than the usual megabyte gets through.
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": strconv.Itoa(connector.LargestRecord)}),
	)
	if err != nil {
		k.gate.shut(true)
		return fmt.Errorf("start kafka: %w", err)
	}
	k.cluster = cluster
	return nil
}

// Stop closes the connections and the port; the data stays for the next Start.
func (k *kafka) Stop(context.Context) error {
	k.gate.shut(false)
	return nil
}

// Kill resets the connections and closes the port; the data stays for the next Start.
func (k *kafka) Kill() error {
	if !k.gate.isOpen() {
		return errors.New("kill kafka: it is not running")
	}
	k.gate.shut(true)
	return nil
}

// Pause holds back everything that clients send and are sent.
func (k *kafka) Pause() error {
	if !k.gate.isOpen() {
		return errors.New("pause kafka: it is not running")
	}
	k.gate.freeze(true)
	return nil
}

// Resume ends Pause.
func (k *kafka) Resume() error {
	if !k.gate.isOpen() {
		return errors.New("resume kafka: it is not running")
	}
	k.gate.freeze(false)
	return nil
}

// Health asks the broker which versions it speaks, the first question of every client. It does so
// without a client, because those of franz-go do not give up on a frozen broker within 10 seconds.
func (k *kafka) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	if err := askVersions(ctx, k.gate.Addr().String()); err != nil {
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

// PIDs is empty: it runs inside this process.
func (k *kafka) PIDs() []int { return nil }

// close ends the broker for good and frees its memory.
func (k *kafka) close() {
	k.gate.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cluster != nil {
		k.cluster.Close()
		k.cluster = nil
	}
}

// moduleVersion is the version of a module that this program was built with; "" in a test binary
// that does not know.
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
