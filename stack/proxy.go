package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// The Proxies that a Stack can have, each between the two Components in its name. The tracker, the
// generator and the checks do not go through them, so a fault on one does not blind them.
const (
	ConsumerMongo     = "consumer-mongo"
	ConsumerKafka     = "consumer-kafka"
	ConnectorKafka    = "connector-kafka"
	ConnectorPostgres = "connector-postgres"
)

var proxyNames = []string{ConsumerMongo, ConsumerKafka, ConnectorKafka, ConnectorPostgres}

// ProxyNames are all of them; a kind of Stack may have fewer.
func ProxyNames() []string { return slices.Clone(proxyNames) }

// Toxic is a fault on a Proxy, in Toxiproxy's words: its README lists the types with their
// attributes. Toxicity is always 1 and the lab sets no jitter, because Toxiproxy draws both from a
// generator that cannot be seeded.
type Toxic struct {
	// Name is unique on the Proxy; empty is the Type.
	Name string
	// Type is one of Toxiproxy's: latency, bandwidth, slow_close, timeout, reset_peer, slicer,
	// limit_data.
	Type string
	// Upstream: on the way from the client to the server; else on the way back.
	Upstream bool
	// Attributes by Toxiproxy's names, such as "latency" in milliseconds.
	Attributes map[string]any
}

// Proxy is a Toxiproxy between a client and a server. Its methods are safe for concurrent use.
type Proxy struct {
	name    string
	proxy   *toxiproxy.Proxy
	in, out *byteCounter
}

// startProxy listens on a free loopback port for connections to upstream ("host:port").
func startProxy(name, upstream string) (*Proxy, error) {
	registerByteCounter()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := &Proxy{name: name, proxy: toxiproxy.NewProxy(server, name, "127.0.0.1:0", upstream)}
	var err error
	if p.in, err = p.count(stream.Upstream); err != nil {
		return nil, fmt.Errorf("start proxy %s: %w", name, err)
	}
	if p.out, err = p.count(stream.Downstream); err != nil {
		return nil, fmt.Errorf("start proxy %s: %w", name, err)
	}
	if err := p.proxy.Start(); err != nil {
		return nil, fmt.Errorf("start proxy %s: %w", name, err)
	}
	return p, nil
}

// Name is its name in Options.Proxies.
func (p *Proxy) Name() string { return p.name }

// Listen is the address ("host:port") that clients connect to.
func (p *Proxy) Listen() string { return p.proxy.Listen }

// AddLatency delays everything from the server to the client by ms milliseconds, as the Toxic
// named "latency".
func (p *Proxy) AddLatency(ms int) error {
	return p.Add(Toxic{Type: "latency", Attributes: map[string]any{"latency": ms}})
}

// Add puts a Toxic on all connections, open ones too. A name that is taken, a type that Toxiproxy
// does not have or an attribute of the wrong kind is an error.
func (p *Proxy) Add(t Toxic) error {
	direction := stream.Downstream
	if t.Upstream {
		direction = stream.Upstream
	}
	if t.Name == "" {
		t.Name = t.Type
	}
	if t.Type == byteCounterType {
		return fmt.Errorf("add toxic %s to %s: %w", t.Name, p.name, toxiproxy.ErrInvalidToxicType)
	}
	if _, err := p.add(t.Name, t.Type, direction, t.Attributes); err != nil {
		return fmt.Errorf("add toxic %s to %s: %w", t.Name, p.name, err)
	}
	return nil
}

// Remove takes the Toxic of that name away; one that is not there is an error.
func (p *Proxy) Remove(name string) error {
	if err := p.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
		return fmt.Errorf("remove toxic %s from %s: %w", name, p.name, err)
	}
	return nil
}

// Bytes are how many came in from clients and how many from the server since the start, those on
// open connections too. Two zeros under load mean that the Proxy is bypassed.
func (p *Proxy) Bytes() (in, out int64) { return p.in.bytes.Load(), p.out.bytes.Load() }

func (p *Proxy) stop() { p.proxy.Stop() }

func (p *Proxy) add(
	name, kind string, d stream.Direction, attributes any,
) (*toxics.ToxicWrapper, error) {
	text, err := json.Marshal(map[string]any{
		"name": name, "type": kind, "stream": d.String(), "toxicity": 1, "attributes": attributes,
	})
	if err != nil {
		return nil, err
	}
	return p.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
}

const byteCounterType = "cdclab_bytes"

// byteCounter is a toxic that only counts. Toxiproxy's own metrics count a connection's bytes when
// it ends, and a driver's connections last as long as the Run.
type byteCounter struct {
	bytes atomic.Int64
}

var registerByteCounter = sync.OnceFunc(func() {
	toxics.Register(byteCounterType, new(byteCounter))
})

func (p *Proxy) count(d stream.Direction) (*byteCounter, error) {
	wrapper, err := p.add(byteCounterType+"_"+d.String(), byteCounterType, d, struct{}{})
	if err != nil {
		return nil, err
	}
	counter, ok := wrapper.Toxic.(*byteCounter)
	if !ok {
		return nil, errors.New("toxiproxy made another toxic than the one registered")
	}
	return counter, nil
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
