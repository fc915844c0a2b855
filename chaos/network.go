package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cdclab/cdclab/stack/proxy"
)

// path is the part of a Proxy that faults need.
type path struct {
	name   string
	add    func(proxy.Toxic) error
	remove func(string) error
	// bytes counts the bytes through the proxy since the proxy's start.
	bytes func() (int64, error)
}

func through(p *proxy.Proxy) path {
	return path{p.Name(), p.Add, p.Remove, func() (int64, error) {
		in, out, err := p.Bytes()
		return in + out, err
	}}
}

// latency is a longer wire: each direction takes Latency more, as between two distant hosts.
// Latency on the way back alone would delay answers only, and a write would be seen as soon as
// ever.
func latency(f *Fault, p path) *injection {
	longer := map[string]any{"latency": f.Latency.Milliseconds()}
	return poison(p,
		proxy.Toxic{Name: "chaos-latency-up", Type: "latency", Upstream: true, Attributes: longer},
		proxy.Toxic{Name: "chaos-latency-down", Type: "latency", Attributes: longer})
}

// partition lets nothing through in either direction and keeps the connections open, like a network
// that drops packets.
func partition(_ *Fault, p path) *injection {
	forever := map[string]any{"timeout": 0}
	return poison(p,
		proxy.Toxic{
			Name: "chaos-partition-up", Type: "timeout", Upstream: true, Attributes: forever,
		},
		proxy.Toxic{Name: "chaos-partition-down", Type: "timeout", Attributes: forever})
}

// poison puts the toxics on the path.
func poison(p path, toxics ...proxy.Toxic) *injection {
	var added []string
	var before int64
	i := &injection{bytes: p.bytes}
	i.inject = func(context.Context) (err error) {
		for _, t := range toxics {
			if err := p.add(t); err != nil {
				return err
			}
			added = append(added, t.Name)
		}
		before, err = p.bytes()
		return err
	}
	i.during = func(context.Context) (string, error) {
		now, err := p.bytes()
		if err != nil {
			return "", err
		}
		n := now - before
		if n == 0 {
			return "", fmt.Errorf("no bytes through proxy %s: it is bypassed, or there was no load",
				p.name)
		}
		on := strings.Join(added, ", ")
		return fmt.Sprintf("%d bytes through proxy %s with %s", n, p.name, on), nil
	}
	// A missing toxic cannot be removed: then the fault was not in force.
	i.undo = func(context.Context) error {
		var errs []error
		for _, name := range added {
			errs = append(errs, p.remove(name))
		}
		added = nil
		return errors.Join(errs...)
	}
	return i
}
