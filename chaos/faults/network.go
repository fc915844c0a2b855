package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/proxy"
)

// Directions of a fault on a wire: up is from the client to the server.
const (
	both = "both"
	up   = "up"
	down = "down"
)

// attribute is a Parameter and the Toxiproxy attribute of the same meaning.
type attribute struct {
	Parameter
	toxiproxy string
}

func lengthOf(name, toxiproxy, byDefault, does string) attribute {
	least := int64(1)
	if byDefault == "0s" {
		least = 0
	}
	return attribute{Parameter{Name: name, Type: lengthType, Default: byDefault, Least: least,
		Does: does}, toxiproxy}
}

func numberOf(name, toxiproxy, byDefault, does string, most int64) attribute {
	return attribute{Parameter{Name: name, Type: numberType, Default: byDefault, Least: 1,
		Most: most, Does: does}, toxiproxy}
}

// mostBytes bounds the sizes of toxics: a packet or a connection of more is not disturbed.
const mostBytes = 1 << 30

func networkKinds() []Kind {
	return []Kind{
		// A longer wire delays both directions, as between two distant hosts. Latency on the way
		// back alone would delay answers only, and a write would be seen as soon as ever.
		toxic("latency", "latency", "delays every packet, each direction by itself", both,
			lengthOf("latency", "latency", "", "the delay"),
			lengthOf("jitter", "jitter", "0s", "the delay varies by so much; Toxiproxy draws "+
				"without a seed")),
		toxic("bandwidth", "bandwidth", "lets through no more than a rate", both,
			numberOf("rate", "rate", "", "KB a second", mostBytes)),
		// The toxic of a partition is a timeout that never comes: connections stay open, as with a
		// network that drops packets.
		toxic("partition", "timeout", "lets nothing through and keeps the connections open", both),
		toxic("timeout", "timeout", "lets nothing through and ends each connection after a time",
			both, lengthOf("timeout", "timeout", "1s", "the time until the end")),
		toxic("reset-peer", "reset_peer", "ends each connection with a reset (TCP RST)", both,
			lengthOf("after", "timeout", "0s", "the age of the connection at the reset")),
		withProbe(toxic("slow-close", "slow_close", "delays the close of each connection", down,
			lengthOf("delay", "delay", "1s", "the delay"))),
		toxic("slicer", "slicer", "cuts the data into small packets with pauses", both,
			numberOf("size", "average_size", "64", "bytes of a packet", mostBytes),
			attribute{Parameter{Name: "vary", Type: numberType, Default: "0", Most: mostBytes,
				Does: "the size varies by so many bytes"}, "size_variation"},
			attribute{Parameter{Name: "delay-us", Type: numberType, Default: "100",
				Most: 1_000_000, Does: "microseconds between two packets"}, "delay"}),
		reached(toxic("limit-data", "limit_data", "ends each connection after an amount of data",
			both, numberOf("bytes", "bytes", "4096", "the bytes of a connection", mostBytes))),
		{Name: "hold", Family: networkFamily, Does: "holds what open connections send and " +
			"delivers it at the end, also of a client that is gone, after younger packets of " +
			"later connections",
			Targets: everyProxy, Ends: Lasts, Stacks: everyKind, Shared: true,
			Verified: "the proxy holds bytes",
			Undone:   "what is held is delivered; nothing held is no evidence",
			bind:     holdPackets},
		{Name: "unplugged", Family: networkFamily,
			Does:    "takes the target's container out of every network",
			Targets: everyPart, Ends: Lasts, Stacks: []string{stack.Compose},
			Verified: "the container is in no network, and does not serve",
			Undone:   "the container is in the same networks, under the same names, and serves",
			unable:   needs[container](" is in no container"), bind: unplug},
	}
}

// unplug leaves the processes of the target running.
func unplug(s Site) *Injection {
	part, _ := s.Part.(container) // the Kind needs one
	var before stack.Networks
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) (err error) {
		if before, err = part.Networks(ctx); err != nil {
			return err
		}
		return part.Unplug(ctx, before)
	}
	i.During = func(ctx context.Context) (string, error) {
		now, err := part.Networks(ctx)
		switch {
		case err != nil:
			return "", err
		case len(now) > 0:
			return "", fmt.Errorf("%s is in %d networks", s.Target, len(now))
		case s.healthy(ctx) == nil:
			return "", fmt.Errorf("%s serves without a network", s.Target)
		}
		return fmt.Sprintf("%s is in no network, %d before", s.Target, len(before)), nil
	}
	i.Undo = func(ctx context.Context) error {
		if before == nil {
			return nil
		}
		return errors.Join(part.Plug(ctx, before),
			until(ctx, func() error { return s.healthy(ctx) }))
	}
	return i
}

// toxic is the Kind that puts toxics of Toxiproxy's type on a proxy, in the direction by default.
func toxic(name, toxiproxy, does, direction string, attributes ...attribute) Kind {
	parameters := []Parameter{{Name: "direction", Type: wordType, Default: direction,
		Words: []string{both, up, down}, Does: "up is from the client to the server"}}
	for _, a := range attributes {
		parameters = append(parameters, a.Parameter)
	}
	return Kind{
		Name: name, Family: networkFamily, Does: does, Targets: everyProxy, Ends: Lasts,
		Parameters: parameters, Stacks: everyKind, Shared: true,
		Verified: "bytes go into the proxy while the toxic is on it",
		Undone:   "the toxic is taken off; a toxic that is not there any more was not in force",
		bind: func(s Site) *Injection {
			values := map[string]any{}
			if toxiproxy == "timeout" {
				values["timeout"] = 0
			}
			for _, a := range attributes {
				if a.Type == lengthType {
					values[a.toxiproxy] = s.With.Length(a.Name).Milliseconds()
				} else {
					values[a.toxiproxy] = s.With.Number(a.Name)
				}
			}
			var toxics []proxy.Toxic
			for _, way := range []string{up, down} {
				if d := s.With["direction"]; d == both || d == way {
					toxics = append(toxics, proxy.Toxic{Name: proxy.FaultPrefix + name + "-" + way,
						Type: toxiproxy, Upstream: way == up, Attributes: values})
				}
			}
			return poison(s, toxics...)
		},
	}
}

// poison puts the toxics on the wire.
func poison(s Site, toxics ...proxy.Toxic) *Injection {
	var added []string
	var before int64
	i := &Injection{Healthy: s.healthy, Bytes: s.Wire.Bytes}
	i.Inject = func(context.Context) (err error) {
		for _, t := range toxics {
			if err := s.Wire.Add(t); err != nil {
				return err
			}
			added = append(added, t.Name)
		}
		before, err = s.Wire.Bytes()
		return err
	}
	i.During = func(context.Context) (string, error) {
		n, err := s.Wire.passed(before)
		if err != nil {
			return "", err
		}
		on := strings.Join(added, ", ")
		return fmt.Sprintf("%d bytes through proxy %s with %s", n, s.Wire.Name, on), nil
	}
	// A missing toxic cannot be removed: then the fault was not in force.
	i.Undo = func(context.Context) error {
		var errs []error
		for _, name := range added {
			errs = append(errs, s.Wire.Remove(name))
		}
		added = nil
		return errors.Join(errs...)
	}
	return i
}

// passed counts the bytes through the proxy since there were before; none is an error.
func (w Wire) passed(before int64) (int64, error) {
	now, err := w.Bytes()
	if err == nil && now == before {
		err = fmt.Errorf("no bytes through proxy %s: it is bypassed, or there was no load", w.Name)
	}
	return now - before, err
}

// reached wants more bytes through the proxy than the limit of one connection, because a limit that
// nobody reaches ends no connection.
func reached(k Kind) Kind {
	k.Verified += "; and more bytes than the limit went into the proxy"
	bare := k.bind
	k.bind = func(s Site) *Injection {
		i := bare(s)
		var before int64
		inject, during := i.Inject, i.During
		i.Inject = func(ctx context.Context) (err error) {
			if before, err = s.Wire.Bytes(); err != nil {
				return err
			}
			return inject(ctx)
		}
		i.During = func(ctx context.Context) (string, error) {
			evidence, err := during(ctx)
			if err != nil {
				return "", err
			}
			now, err := s.Wire.Bytes()
			if err != nil {
				return "", err
			}
			if limit := int64(s.With.Number("bytes")); now-before <= limit {
				return "", fmt.Errorf("%d bytes through proxy %s reach no limit of %d", now-before,
					s.Wire.Name, limit)
			}
			return evidence, nil
		}
		return i
	}
	return k
}

// holdPackets is nothing for connections opened later, so that only held bytes are evidence.
func holdPackets(s Site) *Injection {
	var before int64
	return &Injection{Healthy: s.healthy, Bytes: s.Wire.Bytes,
		Inject: func(context.Context) (err error) {
			if before, err = s.Wire.Bytes(); err != nil {
				return err
			}
			return s.Wire.Hold()
		},
		During: func(context.Context) (string, error) {
			if _, err := s.Wire.passed(before); err != nil {
				return "", err
			}
			n, err := s.Wire.Held()
			if err != nil {
				return "", err
			}
			if n == 0 {
				return "", fmt.Errorf("proxy %s holds nothing: no open connection sent anything",
					s.Wire.Name)
			}
			return fmt.Sprintf("proxy %s holds %d bytes", s.Wire.Name, n), nil
		},
		Undo: func(context.Context) error { return s.Wire.Deliver() },
	}
}

// withProbe adds the evidence of a connection of the lab's own, because connections of the pipeline
// that stay open feel nothing of a slow close.
func withProbe(k Kind) Kind {
	k.Verified += "; and the close of a connection of the lab's own came as late as the delay"
	bare := k.bind
	k.bind = func(s Site) *Injection {
		i := bare(s)
		during := i.During
		i.During = func(ctx context.Context) (string, error) {
			evidence, err := during(ctx)
			if err != nil {
				return "", err
			}
			took, err := timeClose(ctx, s.Wire.Listen)
			if err != nil {
				return "", err
			}
			if delay := s.With.Length("delay"); took < delay {
				return "", fmt.Errorf("proxy %s closed after %v, with a delay of %v", s.Wire.Name,
					took, delay)
			}
			return fmt.Sprintf("%s; a close took %v", evidence, took.Round(time.Millisecond)), nil
		}
		return i
	}
	return k
}

// closeLimit bounds the wait for a close beyond the longest sensible delay.
const closeLimit = time.Minute

// timeClose ends its half of a connection and measures the time until the server's half ends.
func timeClose(ctx context.Context, address string) (time.Duration, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, fmt.Errorf("look at a close: %w", err)
	}
	defer conn.Close()
	began := time.Now()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, fmt.Errorf("look at a close: no TCP but %T", conn)
	}
	err = errors.Join(conn.SetDeadline(began.Add(closeLimit)), tcp.CloseWrite())
	if err == nil {
		_, err = io.Copy(io.Discard, conn)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, fmt.Errorf("look at a close: none within %v", closeLimit)
	}
	return time.Since(began), nil
}
