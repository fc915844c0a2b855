package stack

import (
	"context"
	"fmt"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/postgres"
)

// Names of the Components of every Stack. More consumers than one have names of ConsumerName.
const (
	Postgres  = postgres.Name
	Kafka     = kafka.Name
	Connector = "connector"
	Mongo     = mongodb.Name
	Consumer  = "consumer"
)

// DeadLetterTopic takes the unwritable records of the Stack's own consumers.
const DeadLetterTopic = kafka.DeadLetterTopic

// ConsumerName is the name of the Stack's n-th consumer: consumer, consumer-2, consumer-3.
func ConsumerName(n int) string {
	if n == 1 {
		return Consumer
	}
	return fmt.Sprintf("%s-%d", Consumer, n)
}

// Component is a part of a Stack that can fail on its own: a process, or a service inside this
// process. Methods are safe for concurrent use.
type Component interface {
	Name() string
	// Version is how the part names itself for the Run's provenance ("PostgreSQL 17.2").
	Version() string
	// Start brings the part up and returns when the part serves; starting a started part is an
	// error.
	Start(ctx context.Context) error
	// Stop ends the part in good order and waits.
	Stop(ctx context.Context) error
	// Kill ends the part as a crash would (SIGKILL, or for a service in this process: connections
	// cut, nothing flushed) and waits until the part is gone. Start brings the part back with its
	// data.
	Kill() error
	// Pause freezes the part (SIGSTOP to all its processes); Resume thaws the part.
	Pause() error
	Resume() error
	// Health is nil when the part serves; the error says why not.
	Health(ctx context.Context) error
	// PIDs are the part's processes; empty for a service inside this process.
	PIDs() []int
}
