package peer

import (
	"fmt"
	"io"
	"time"

	"github.com/cdclab/cdclab/stack"
)

// Config says how the consumer is compared with the MongoDB Kafka sink connector.
type Config struct {
	// Stack is brought up as a Native one.
	Stack    stack.Options
	Consumer string // the program; "" is built from this tree
	// Events of the load, Rounds counted for each sink, Duplicates are the records at the end of
	// the history's topic to be produced again.
	Events, Rounds, Duplicates int
	// Schemas has Debezium put the schema into each record.
	Schemas bool
	// Tasks of the peer: Connect's default of 1 takes the least processor time for each event, as
	// many as there are partitions are the fastest. Settings of the peer's connector are beyond the
	// lab's.
	Tasks    int
	Settings map[string]string
	Seed     int64
	// Out is the folder for sink-peer.json; "" is runs/sink-peer-<time>.
	Out      string
	Terminal io.Writer
	Say      func(string)
	Command  []string
}

// DefaultConfig is the comparison of stack/README.md.
func DefaultConfig() Config {
	return Config{
		Stack:  stack.Options{Kind: stack.Native, Partitions: 4},
		Events: 200_000, Rounds: 3, Duplicates: 2000,
		Tasks: 1, Settings: map[string]string{}, Seed: 1,
		Terminal: io.Discard, Say: func(string) {},
	}
}

// Validate checks a configuration before anything is started; the error names the member.
func (c *Config) Validate() error {
	switch {
	case c.Stack.Kind != stack.Native:
		return fmt.Errorf("stack %q: the peer runs in Kafka Connect, which only the %s stack has",
			c.Stack.Kind, stack.Native)
	case c.Stack.Profile != "":
		return fmt.Errorf("profile %s: the comparison chooses it by --schemas", c.Stack.Profile)
	case c.Events < 1000:
		return fmt.Errorf("events %d: want at least 1000, "+
			"fewer take no time that could be measured", c.Events)
	case c.Rounds < 1:
		return fmt.Errorf("rounds %d: want at least 1", c.Rounds)
	case c.Tasks < 1:
		return fmt.Errorf("tasks %d: want at least 1", c.Tasks)
	case c.Duplicates < 1:
		return fmt.Errorf("duplicates %d: want at least 1", c.Duplicates)
	}
	return nil
}

// drainLimit bounds one drain: ten times as long as the slower sink needs, and a minute.
func (c *Config) drainLimit() time.Duration {
	return time.Minute + time.Duration(c.Events)*500*time.Microsecond
}
