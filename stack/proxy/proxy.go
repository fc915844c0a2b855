// Package proxy puts Toxiproxies on the hops between the parts of a Stack, and faults on the
// Toxiproxies. The package chooses no fault and judges none. Start reading at Proxy: Start makes a
// Proxy in this process, At finds a Proxy in a container, and Serve is the program of the
// container.
package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// The Proxies of a Stack, each between the two Components in its name. The tracker, the generator
// and the checks go round every Proxy, so a fault on a Proxy does not blind them.
const (
	ConsumerMongo     = "consumer-mongo"
	ConsumerKafka     = "consumer-kafka"
	ConnectorKafka    = "connector-kafka"
	ConnectorPostgres = "connector-postgres"
)

var names = []string{ConsumerMongo, ConsumerKafka, ConnectorKafka, ConnectorPostgres}

// Names lists all Proxies; a kind of Stack may have fewer.
func Names() []string { return slices.Clone(names) }

// EmbeddedNames lists the Proxies of a Stack whose Kafka has the same address for every client.
func EmbeddedNames() []string { return []string{ConsumerMongo, ConnectorPostgres} }

// FaultPrefix begins the Name of every Toxic of a fault, so that a lab knows the Toxics of an
// earlier lab that died.
const FaultPrefix = "chaos-"

// Toxic is a fault on a Proxy, in Toxiproxy's words: its README lists the types with their
// attributes. Toxicity is always 1 and the lab sets no jitter, because Toxiproxy draws both from a
// generator that cannot be seeded.
type Toxic struct {
	// Name is unique on the Proxy; empty is the Type. A fault's Name begins with FaultPrefix.
	Name string
	// Type is a type of Toxiproxy's: latency, bandwidth, slow_close, timeout, reset_peer, slicer,
	// limit_data.
	Type string
	// Upstream is true if the fault is on the way from the client to the server; else the fault is
	// on the way back.
	Upstream bool
	// Attributes by Toxiproxy's names, such as "latency" in milliseconds.
	Attributes map[string]any
}

func (t Toxic) direction() stream.Direction {
	if t.Upstream {
		return stream.Upstream
	}
	return stream.Downstream
}

// Proxy is a Toxiproxy between a client and a server. Its methods are safe for concurrent use.
type Proxy struct {
	name, listen string
	toxics       toxicList
}

// toxicList is where the Toxics of a Proxy are: in this process, or in a container.
type toxicList interface {
	add(t Toxic) error
	remove(name string) error
	// counts counts the bytes since the Proxy's start, and those from clients that are held.
	counts() (in, out, held int64, err error)
	// hold begins or ends the holding of what comes from clients.
	hold(holds bool) error
	stop()
}

// Start listens on a free loopback port for connections to upstream ("host:port").
func Start(name, upstream string) (*Proxy, error) {
	made, err := listen(newServer(zerolog.Nop()), name, "127.0.0.1:0", upstream)
	if err != nil {
		return nil, fmt.Errorf("start proxy %s: %w", name, err)
	}
	return &Proxy{name, made.proxy.Listen, made}, nil
}

// Name is the Proxy's name in Options.Proxies.
func (p *Proxy) Name() string { return p.name }

// Listen is the address ("host:port") for clients.
func (p *Proxy) Listen() string { return p.listen }

// Stop cuts all connections of a Proxy of this process.
func (p *Proxy) Stop() { p.toxics.stop() }

// AddLatency delays everything from the server to the client by ms milliseconds, as the Toxic
// named "latency".
func (p *Proxy) AddLatency(ms int) error {
	return p.Add(Toxic{Type: "latency", Attributes: map[string]any{"latency": ms}})
}

// Add puts a Toxic on all connections, open ones too. A name already taken, a type unknown to
// Toxiproxy or an attribute of the wrong kind is an error.
func (p *Proxy) Add(t Toxic) error {
	if t.Name == "" {
		t.Name = t.Type
	}
	var err error = toxiproxy.ErrInvalidToxicType
	if t.Type != counterType {
		err = p.toxics.add(t)
	}
	if err != nil {
		return fmt.Errorf("add toxic %s to %s: %w", t.Name, p.name, err)
	}
	return nil
}

// Remove takes the named Toxic away; a name without a Toxic is an error.
func (p *Proxy) Remove(name string) error {
	if err := p.toxics.remove(name); err != nil {
		return fmt.Errorf("remove toxic %s from %s: %w", name, p.name, err)
	}
	return nil
}

// Bytes counts the bytes from clients and from the server since the start, also on open
// connections. Two zeros under load mean that the Proxy is bypassed. A container that does not
// answer is an error.
func (p *Proxy) Bytes() (in, out int64, err error) {
	if in, out, _, err = p.toxics.counts(); err != nil {
		return 0, 0, fmt.Errorf("count the bytes through %s: %w", p.name, err)
	}
	return in, out, nil
}

// Hold keeps what the clients of the connections that are open send. Connections opened later pass.
func (p *Proxy) Hold() error {
	if err := p.toxics.hold(true); err != nil {
		return fmt.Errorf("hold at %s: %w", p.name, err)
	}
	return nil
}

// Held counts the bytes kept since Hold.
func (p *Proxy) Held() (int64, error) {
	_, _, held, err := p.toxics.counts()
	if err != nil {
		return 0, fmt.Errorf("count the bytes held at %s: %w", p.name, err)
	}
	return held, nil
}

// Deliver ends Hold, and delivers what was kept, also of clients that are gone. So a write reaches
// the server after the younger writes of another connection, as with a packet that lay in the
// network for long.
func (p *Proxy) Deliver() error {
	if err := p.toxics.hold(false); err != nil {
		return fmt.Errorf("deliver what %s holds: %w", p.name, err)
	}
	return nil
}

// ownProxy is a Proxy of this process.
type ownProxy struct {
	proxy   *toxiproxy.Proxy
	in, out *counter
}

func newServer(log zerolog.Logger) *toxiproxy.ApiServer {
	registerCounter()
	return toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), log)
}

// listen makes a Proxy of this process that counts bytes.
func listen(server *toxiproxy.ApiServer, name, address, upstream string) (*ownProxy, error) {
	p := &ownProxy{proxy: toxiproxy.NewProxy(server, name, address, upstream)}
	var err error
	if p.in, err = p.count(stream.Upstream); err != nil {
		return nil, err
	}
	if p.out, err = p.count(stream.Downstream); err != nil {
		return nil, err
	}
	return p, server.Collection.Add(p.proxy, true)
}

func (p *ownProxy) add(t Toxic) error {
	_, err := p.put(t.Name, t.Type, t.direction(), t.Attributes)
	return err
}

func (p *ownProxy) remove(name string) error {
	return p.proxy.Toxics.RemoveToxic(context.Background(), name)
}

func (p *ownProxy) counts() (in, out, held int64, err error) {
	return p.in.bytes.Load(), p.out.bytes.Load(), p.in.held.Load(), nil
}

func (p *ownProxy) hold(holds bool) error {
	p.in.hold(holds)
	return nil
}

func (p *ownProxy) stop() { p.proxy.Stop() }

func (p *ownProxy) put(
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

func (p *ownProxy) count(d stream.Direction) (*counter, error) {
	wrapper, err := p.put(counterName(d), counterType, d, struct{}{})
	if err != nil {
		return nil, err
	}
	made, ok := wrapper.Toxic.(*counter)
	if !ok {
		return nil, errors.New("toxiproxy made another toxic than the one registered")
	}
	return made, nil
}
