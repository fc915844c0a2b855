package stack

import (
	"fmt"
	"strings"
	"syscall"
)

// SourceConnector is the name of Debezium's connector in a Native Stack's worker.
const SourceConnector = connectorName

// Worker is the Kafka Connect of a Native Stack, in which Debezium runs: other connectors can be put
// beside it. Its process is that of the Component Connector.
func (s *Stack) Worker() (Connect, error) {
	d, ok := s.parts.connector.(*debezium)
	if !ok {
		return Connect{}, fmt.Errorf("the %s stack has no Kafka Connect", s.options.Kind)
	}
	return d.rest(), nil
}

// SideConsumer is a consumer beside the Stack's own, with a MongoDB, a group and topics of its own.
type SideConsumer struct{ *consumer }

// SideConsumer makes one that is not started yet. Its name must be no other Component's; the flags are
// beyond those that say where Kafka is. Stop ends it, else the Stack's Down does.
func (s *Stack) SideConsumer(name, mongoURI string, flags ...string) *SideConsumer {
	own := append([]string{"--brokers", strings.Join(s.parts.kafka.brokers(listenConsumer), ","),
		"--dead-letter-topic", deadLetterTopic}, flags...)
	return &SideConsumer{&consumer{
		child: child{name: name, folder: s.folder, stopSignal: syscall.SIGTERM},
		path:  s.options.ConsumerPath, args: own, mongoURI: mongoURI,
	}}
}

// MetricsURL serves the Prometheus text format; "" before the first Start.
func (c *SideConsumer) MetricsURL() string { return c.metricsURL() }
