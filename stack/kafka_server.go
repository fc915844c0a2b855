package stack

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

//go:embed kafka/broker.properties
var brokerProperties []byte

//go:embed kafka/log4j2.properties
var log4jProperties []byte

//go:embed kafka/jmx-broker.yml
var brokerRules []byte

const (
	// kafkaHeap carries 500 writes a second with schemas; at more the page cache is what matters.
	kafkaHeap = "256m"
	// clusterID is any identifier of Kafka's form: the broker shares its data with no other.
	clusterID = "Y2RjbGFiLXN0YWNrLWtrcg"
	// replicas of everything: there is one broker.
	replicas = "1"
)

// Listeners of the broker, one for each class of clients.
const (
	listenLab        = "LAB"
	listenConnect    = "CONNECT"
	listenConsumer   = "CONSUMER"
	listenController = "CONTROLLER"
)

// kafkaServer is one broker of Apache Kafka with its own controller, on ports that it keeps over
// restarts. Each class of clients has a listener of its own, which may lead through a Proxy.
type kafkaServer struct {
	child
	jvm        *jvm
	partitions int
	// addresses it listens at, by listener; advertised is where clients are told to go.
	addresses, advertised map[string]string
	metrics               string
}

func newKafkaServer(f *folder, j *jvm, partitions int) (*kafkaServer, error) {
	k := &kafkaServer{
		child: child{name: Kafka, folder: f, stopSignal: syscall.SIGTERM}, jvm: j, partitions: partitions,
		addresses: map[string]string{}, advertised: map[string]string{},
	}
	for _, name := range []string{listenLab, listenConnect, listenConsumer, listenController, ""} {
		port, err := freePort()
		if err != nil {
			return nil, fmt.Errorf("prepare Kafka: %w", err)
		}
		if name == "" {
			k.metrics = loopback(port)
			continue
		}
		k.addresses[name], k.advertised[name] = loopback(port), loopback(port)
	}
	return k, nil
}

func (k *kafkaServer) brokers(listener string) []string { return []string{k.advertised[listener]} }

// Version is that of the pom: the broker does not say its own.
func (k *kafkaServer) Version() string { return "Apache Kafka " + k.jvm.versions.Kafka }

func (k *kafkaServer) clientOptions() []kgo.Opt { return nil }

func (k *kafkaServer) metricsURL() string { return "http://" + k.metrics + "/metrics" }

// listeners is the value of a property of listeners.
func listeners(addresses map[string]string, names ...string) string {
	var all []string
	for _, name := range names {
		all = append(all, name+"://"+addresses[name])
	}
	return strings.Join(all, ",")
}

func (k *kafkaServer) environment() []string {
	clients := []string{listenLab, listenConnect, listenConsumer}
	return []string{
		"CDC_KAFKA_NODE=1", "CDC_KAFKA_REPLICAS=" + replicas, "CDC_KAFKA_MIN_INSYNC=" + replicas,
		"CDC_KAFKA_CONTROLLER=" + k.addresses[listenController],
		"CDC_KAFKA_LISTENERS=" + listeners(k.addresses, append(clients, listenController)...),
		"CDC_KAFKA_ADVERTISED=" + listeners(k.advertised, clients...),
		"CDC_KAFKA_DATA=" + k.folder.file("kafka"),
		"CDC_KAFKA_PARTITIONS=" + strconv.Itoa(k.partitions),
	}
}

// Start formats the data folder the first time, and returns when the broker leads the lab's topics.
func (k *kafkaServer) Start(ctx context.Context) error {
	files := map[string][]byte{
		"broker.properties": brokerProperties, "log4j2.properties": log4jProperties, "jmx-broker.yml": brokerRules,
	}
	if err := k.folder.writeAll(files); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	if err := k.format(ctx); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	server := k.jvm.command(kafkaHeap, k.folder.file("log4j2.properties"), k.metrics, k.folder.file("jmx-broker.yml"),
		"kafka.Kafka", k.folder.file("broker.properties"))
	server.env = k.environment()
	return k.run(ctx, server, k.leads)
}

// format gives the data folder its cluster's name, unless it has one.
func (k *kafkaServer) format(ctx context.Context) error {
	data := k.folder.file("kafka")
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	tool := k.jvm.command("128m", k.folder.file("log4j2.properties"), "", "", "kafka.tools.StorageTool",
		"format", "--standalone", "--cluster-id", clusterID, "--config", k.folder.file("broker.properties"))
	if err := runToolIn(ctx, k.folder.path, k.environment(), tool.path, tool.args...); err != nil {
		return errors.Join(fmt.Errorf("format its data folder: %w", err), os.RemoveAll(data))
	}
	return nil
}

// leads makes the lab's topics that are missing and is nil when all have a leader. The port opens
// before the broker may serve.
func (k *kafkaServer) leads(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.addresses[listenLab]))
	if err != nil {
		return err
	}
	admin := kadm.NewClient(client)
	defer admin.Close()
	if err := createTopics(ctx, admin, 1, deadLetterTopic); err != nil {
		return err
	}
	if err := createTopics(ctx, admin, k.partitions, tableTopics...); err != nil {
		return err
	}
	topics, err := admin.ListTopics(ctx, append([]string{deadLetterTopic}, tableTopics...)...)
	if err != nil {
		return fmt.Errorf("list the topics: %w", err)
	}
	return topics.Error()
}

func createTopics(ctx context.Context, admin *kadm.Client, partitions int, topics ...string) error {
	responses, err := admin.CreateTopics(ctx, int32(partitions), 1, nil, topics...)
	if err != nil {
		return fmt.Errorf("create the topics: %w", err)
	}
	for _, response := range responses {
		if response.Err != nil && !errors.Is(response.Err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", response.Topic, response.Err)
		}
	}
	return nil
}

// Health asks the broker which versions it speaks.
func (k *kafkaServer) Health(ctx context.Context) error {
	if err := k.serves(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	if err := askVersions(ctx, k.addresses[listenLab]); err != nil {
		return fmt.Errorf("look at kafka: %w", err)
	}
	return nil
}

// close has nothing to let go of.
func (k *kafkaServer) close() {}
