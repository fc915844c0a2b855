package proxy

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

const counterType = "cdclab_counter"

// counter is a toxic that counts, because Toxiproxy's own metrics count a connection's bytes when
// the connection ends, and a driver's connections last as long as the Run. On demand the counter
// holds, too: only a toxic before all others, which is never removed, can keep the packets of a
// client that is gone, because Toxiproxy takes toxics off a link in the wrong place, and later
// panics, when a toxic before has ended and a toxic behind has not.
type counter struct {
	bytes, held atomic.Int64
	mode        atomic.Pointer[mode]
}

// mode is whether a counter holds.
type mode struct {
	// since is when the holding began; zero for a counter that holds nothing.
	since time.Time
	// over is closed when another mode begins.
	over chan struct{}
}

// Attributes of a counter in Toxiproxy's API.
const (
	bytesAttribute = "bytes"
	heldAttribute  = "held"
	holdsAttribute = "holds"
)

// MarshalJSON makes Toxiproxy's API show the counts.
func (c *counter) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]int64{bytesAttribute: c.bytes.Load(),
		heldAttribute: c.held.Load()})
}

// UnmarshalJSON begins or ends the holding. Toxiproxy decodes attributes when a toxic is added,
// too, so that a mode is there before the first connection.
func (c *counter) UnmarshalJSON(text []byte) error {
	var asked map[string]bool
	if err := json.Unmarshal(text, &asked); err != nil {
		return err
	}
	c.hold(asked[holdsAttribute])
	return nil
}

func (c *counter) hold(holds bool) {
	next := &mode{over: make(chan struct{})}
	if holds {
		c.held.Store(0)
		next.since = time.Now()
	}
	if before := c.mode.Swap(next); before != nil {
		close(before.over)
	}
}

// connection is what the counter keeps of a connection: the packets that are not passed on yet.
type connection struct {
	opened  time.Time
	packets []*stream.StreamChunk
	bytes   int
	ended   bool // the client is gone
}

// heldMost bounds the bytes held of a connection; the client then waits, as at a full window.
const heldMost = 64 << 20

// NewState is called for each new connection.
func (c *counter) NewState() any { return &connection{opened: time.Now()} }

// Pipe passes everything on, in its order. Toxiproxy interrupts, and calls Pipe again, when another
// toxic comes or goes.
func (c *counter) Pipe(stub *toxics.ToxicStub) {
	one := stub.State.(*connection)
	for {
		now := c.mode.Load()
		holds := one.opened.Before(now.since)
		var next *stream.StreamChunk
		var size int // taken before, because the next toxic may cut the packet
		input, output := stub.Input, stub.Output
		switch {
		case len(one.packets) == 0 && one.ended && !holds:
			stub.Close()
			return
		case len(one.packets) > 0 && !holds:
			input, next = nil, one.packets[0]
			size = len(next.Data)
		default:
			output = nil
			if one.ended || one.bytes >= heldMost {
				input = nil
			}
		}
		select {
		case <-stub.Interrupt:
			return
		case <-now.over:
		case output <- next:
			one.packets, one.bytes = one.packets[1:], one.bytes-size
		case packet := <-input:
			if one.ended = packet == nil; one.ended {
				continue
			}
			one.packets, one.bytes = append(one.packets, packet), one.bytes+len(packet.Data)
			c.bytes.Add(int64(len(packet.Data)))
			if holds {
				c.held.Add(int64(len(packet.Data)))
			}
		}
	}
}

// registerCounter makes the type known to Toxiproxy, and silences Toxiproxy's bandwidth toxic,
// which writes a line of its own trace to standard error for every packet.
var registerCounter = sync.OnceFunc(func() {
	zerolog.SetGlobalLevel(zerolog.FatalLevel)
	toxics.Register(counterType, new(counter))
})

// counterName names the counter of a direction.
func counterName(d stream.Direction) string { return counterType + "_" + d.String() }

var _ toxics.StatefulToxic = (*counter)(nil)
