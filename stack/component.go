package stack

import (
	"context"
	"fmt"
)

// Names of the Components of every Stack. More consumers than one have names of ConsumerName.
const (
	Postgres  = "postgres"
	Kafka     = "kafka"
	Connector = "connector"
	Mongo     = "mongo"
	Consumer  = "consumer"
)

// ConsumerName is the name of the Stack's n-th consumer: consumer, consumer-2, consumer-3.
func ConsumerName(n int) string {
	if n == 1 {
		return Consumer
	}
	return fmt.Sprintf("%s-%d", Consumer, n)
}

// Component is one part of a Stack that can fail on its own: a process, or a service inside this
// process. Methods are safe for concurrent use.
type Component interface {
	Name() string
	// Version is what the part says of itself, for the Run's provenance ("PostgreSQL 17.2").
	Version() string
	// Start brings it up and returns when it serves; starting a started one is an error.
	Start(ctx context.Context) error
	// Stop ends it in good order and waits.
	Stop(ctx context.Context) error
	// Kill ends it as a crash would (SIGKILL, or for a service in this process: connections cut,
	// nothing flushed) and waits until it is gone. Start brings it back with the data it had.
	Kill() error
	// Pause freezes it (SIGSTOP to all its processes); Resume ends that.
	Pause() error
	Resume() error
	// Health is nil when it serves; the error says why not.
	Health(ctx context.Context) error
	// PIDs are its processes; empty for a service inside this process.
	PIDs() []int
}
