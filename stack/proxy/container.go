package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	client "github.com/Shopify/toxiproxy/v2/client"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/rs/zerolog"

	"github.com/cdclab/cdclab/namedfile"
)

// Serve serves the Proxies of a file in Toxiproxy's format, and Toxiproxy's API at an address
// ("host:port"), until the process ends. The program of Toxiproxy itself would do, but counts the
// bytes of a connection only when the connection ends.
func Serve(address, file string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("serve proxies: %w", err)
	}
	text, err := namedfile.Read(file, namedfile.Small)
	if err != nil {
		return fmt.Errorf("serve proxies: %w", err)
	}
	var wanted []client.Proxy
	if err := json.Unmarshal(text, &wanted); err != nil {
		return fmt.Errorf("serve proxies: read %s: %w", file, err)
	}
	// Listen ends the process on an error, which the log alone tells.
	server := newServer(zerolog.New(os.Stderr).Level(zerolog.FatalLevel))
	for _, one := range wanted {
		if _, err := listen(server, one.Name, one.Listen, one.Upstream); err != nil {
			return fmt.Errorf("serve proxy %s of %s: %w", one.Name, file, err)
		}
	}
	server.Listen(host, port)
	return nil
}

// At returns a Proxy of a container that runs Serve, by the address ("host:port") of the
// container's API; listen is where clients connect.
func At(api, name, listen string) *Proxy {
	return &Proxy{name, listen, farProxy{client.NewClient(api), name}}
}

// Attach is At for a Proxy that was there before the lab. What a lab that died has left is undone:
// faults' Toxics are removed, and held bytes delivered. A Toxiproxy that is not Serve's is an
// error, because the bytes of an open connection are not counted there.
func Attach(api, name string) (*Proxy, error) {
	far := farProxy{client.NewClient(api), name}
	found, err := far.api.Proxy(name)
	if err != nil {
		return nil, fmt.Errorf("look for proxy %s of the Toxiproxy at %s: %w", name, api, err)
	}
	if _, _, _, err := far.counts(); err != nil {
		return nil, fmt.Errorf("proxy %s of the Toxiproxy at %s counts no bytes, because the "+
			"proxy is not served by cdclab's own Toxiproxy: %w", name, api, err)
	}
	for _, toxic := range found.ActiveToxics {
		if strings.HasPrefix(toxic.Name, FaultPrefix) {
			err = errors.Join(err, far.remove(toxic.Name))
		}
	}
	if err = errors.Join(err, far.hold(false)); err != nil {
		return nil, fmt.Errorf("undo what another lab left at proxy %s: %w", name, err)
	}
	return &Proxy{name, found.Listen, far}, nil
}

// farProxy is a Proxy of another process.
type farProxy struct {
	api  *client.Client
	name string
}

func (p farProxy) add(t Toxic) error {
	made := client.ToxicOptions{ProxyName: p.name, ToxicName: t.Name, ToxicType: t.Type,
		Toxicity: 1, Attributes: t.Attributes, Stream: t.direction().String()}
	_, err := p.api.AddToxic(&made)
	return err
}

func (p farProxy) remove(name string) error {
	return p.api.RemoveToxic(&client.ToxicOptions{ProxyName: p.name, ToxicName: name})
}

func (p farProxy) counts() (in, out, held int64, err error) {
	found, err := p.api.Proxy(p.name)
	if err != nil {
		return 0, 0, 0, err
	}
	counts := map[string]int64{}
	for _, toxic := range found.ActiveToxics {
		if count, ok := toxic.Attributes[bytesAttribute].(float64); ok {
			counts[toxic.Name] = int64(count)
		}
		if count, ok := toxic.Attributes[heldAttribute].(float64); ok &&
			toxic.Name == counterName(stream.Upstream) {
			held = int64(count)
		}
	}
	in, hasIn := counts[counterName(stream.Upstream)]
	out, hasOut := counts[counterName(stream.Downstream)]
	if !hasIn || !hasOut {
		return 0, 0, 0, errors.New("somebody took the counters away")
	}
	return in, out, held, nil
}

func (p farProxy) hold(holds bool) error {
	_, err := p.api.UpdateToxic(&client.ToxicOptions{ProxyName: p.name,
		ToxicName: counterName(stream.Upstream), Toxicity: 1,
		Attributes: client.Attributes{holdsAttribute: holds}})
	return err
}

// stop leaves the container to its owner.
func (farProxy) stop() {}

var _, _ toxicList = (*ownProxy)(nil), farProxy{}
