package proxy

import (
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

const byteCounterType = "cdclab_bytes"

// byteCounter is a toxic that only counts. Toxiproxy's own metrics count a connection's bytes when
// it ends, and a driver's connections last as long as the Run.
type byteCounter struct {
	bytes atomic.Int64
}

// registerByteCounter makes the type known to Toxiproxy, and silences Toxiproxy's bandwidth toxic,
// which writes a line of its own trace to standard error for every packet.
var registerByteCounter = sync.OnceFunc(func() {
	zerolog.SetGlobalLevel(zerolog.FatalLevel)
	toxics.Register(byteCounterType, new(byteCounter))
})

// counterName names the counter of a direction.
func counterName(d stream.Direction) string { return byteCounterType + "_" + d.String() }

// bytesAttribute names the count among the attributes that Toxiproxy's API shows.
const bytesAttribute = "bytes"

// MarshalJSON makes Toxiproxy's API show the count.
func (b *byteCounter) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]int64{bytesAttribute: b.bytes.Load()})
}

// Pipe passes everything on, as toxics.NoopToxic does.
func (b *byteCounter) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			b.bytes.Add(int64(len(chunk.Data)))
			stub.Output <- chunk
		}
	}
}
