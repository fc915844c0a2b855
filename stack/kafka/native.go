package kafka

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

//go:embed broker.properties
var brokerProperties []byte

//go:embed log4j2.properties
var log4jProperties []byte

//go:embed jmx-broker.yml
var brokerRules []byte

const (
	// kafkaHeap carries 500 writes a second with schemas; at more the page cache matters.
	kafkaHeap = "256m"
	// clusterID is any identifier of Kafka's form, because the broker shares data with no other.
	clusterID = "Y2RjbGFiLXN0YWNrLWtrcg"
	// replicas of everything: there is only this broker.
	replicas = "1"
)

// Native is a broker of Apache Kafka with its own controller, on ports kept over restarts. Each
// class of clients has a listener of its own, perhaps behind a Proxy.
type Native struct {
	*process.Child
	jvm        *programs.JVM
	partitions int
	// addresses are the listeners' own, by listener; advertised are the addresses told to clients.
	addresses, advertised map[string]string
	metrics               string
	login                 Login
}

// NewNative makes a broker not yet started; each table has so many partitions.
func NewNative(f *process.Folder, j *programs.JVM, partitions int) (*Native, error) {
	k := &Native{
		Child: process.NewChild(Name, f, syscall.SIGTERM), jvm: j, partitions: partitions,
		login: newLogin(), addresses: map[string]string{}, advertised: map[string]string{},
	}
	// The version is the pom's, because a broker does not tell its version.
	k.SetVersion("Apache Kafka " + j.Versions.Kafka)
	for _, name := range []string{ListenLab, ListenConnect, ListenConsumer, listenController, ""} {
		port, err := process.FreePort()
		if err != nil {
			return nil, fmt.Errorf("prepare Kafka: %w", err)
		}
		if name == "" {
			k.metrics = process.Loopback(port)
			continue
		}
		k.addresses[name], k.advertised[name] = process.Loopback(port), process.Loopback(port)
	}
	return k, nil
}

// Brokers are the addresses for a class of clients, such as ListenConsumer.
func (k *Native) Brokers(listener string) []string { return []string{k.advertised[listener]} }

// ClientOptions are those of the Login.
func (k *Native) ClientOptions() []kgo.Opt { return k.login.Options() }

// Login is of all clients.
func (k *Native) Login() Login { return k.login }

// MetricsURL serves the Prometheus text format.
func (k *Native) MetricsURL() string { return "http://" + k.metrics + "/metrics" }

// Advertise sends the clients of a listener to another address, such as a Proxy's; through is told
// the listener's own address.
func (k *Native) Advertise(listener string, through func(upstream string) (string, error)) error {
	address, err := through(k.addresses[listener])
	if err == nil {
		k.advertised[listener] = address
	}
	return err
}

// listeners is the value of a property of listeners.
func listeners(addresses map[string]string, names ...string) string {
	var all []string
	for _, name := range names {
		all = append(all, name+"://"+addresses[name])
	}
	return strings.Join(all, ",")
}

// Environment fills in every ${env:...} of broker.properties.
func (k *Native) Environment() []string {
	clients := []string{ListenLab, ListenConnect, ListenConsumer}
	return append(k.login.Environment(),
		"CDC_KAFKA_NODE=1", "CDC_KAFKA_REPLICAS="+replicas, "CDC_KAFKA_MIN_INSYNC="+replicas,
		"CDC_KAFKA_CONTROLLER="+k.addresses[listenController],
		"CDC_KAFKA_LISTENERS="+listeners(k.addresses, append(clients, listenController)...),
		"CDC_KAFKA_ADVERTISED="+listeners(k.advertised, clients...),
		"CDC_KAFKA_DATA="+k.Data(),
		"CDC_KAFKA_PARTITIONS="+strconv.Itoa(k.partitions),
	)
}

// Start formats the data folder the first time, and returns when the broker leads the lab's topics.
func (k *Native) Start(ctx context.Context) error {
	files := map[string][]byte{
		"broker.properties": brokerProperties, "log4j2.properties": log4jProperties,
		"jmx-broker.yml": brokerRules,
	}
	if err := k.Folder.WriteFiles(files); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	if err := k.format(ctx); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	server := k.jvm.Command(kafkaHeap, k.Folder.File("log4j2.properties"), k.metrics,
		k.Folder.File("jmx-broker.yml"),
		"kafka.Kafka", k.Folder.File("broker.properties"))
	server.Env = k.Environment()
	return k.Launch(ctx, server, k.leads)
}

// format gives the data folder the cluster's name, unless it has one.
func (k *Native) format(ctx context.Context) error {
	data := k.Data()
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	// The tool reads arguments from a file, and every user of the machine sees others.
	scram := fmt.Sprintf("--add-scram\n%s=[name=%s,password=%s]\n", Mechanism, k.login.User,
		k.login.Password)
	err := k.Folder.WithSecret("kafka.scram", scram, func(path string) error {
		tool := k.jvm.Command("128m", k.Folder.File("log4j2.properties"), "", "",
			"kafka.tools.StorageTool",
			"format", "--standalone", "--cluster-id", clusterID, "--config",
			k.Folder.File("broker.properties"), "@"+path)
		tool.Dir, tool.Env = k.Folder.Path, k.Environment()
		return process.RunTool(ctx, tool)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("format its data folder: %w", err), os.RemoveAll(data))
	}
	return nil
}

// leads is nil when the broker leads the lab's topics.
func (k *Native) leads(ctx context.Context) error {
	return MakeTopics(ctx, k.partitions, append(k.ClientOptions(),
		kgo.SeedBrokers(k.addresses[ListenLab]))...)
}

// Health asks the broker for its versions.
func (k *Native) Health(ctx context.Context) error {
	if err := k.Serves(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	if err := askVersions(ctx, k.addresses[ListenLab]); err != nil {
		return fmt.Errorf("look at kafka: %w", err)
	}
	return nil
}

// Close has nothing to let go of.
func (k *Native) Close() {}
