package stack

import (
	"fmt"
	"net"
	"sync"
)

// gate is a listener that can be shut and frozen while whoever accepts from it goes on: with it a
// server inside this process can be killed and paused as its clients see it. Shut, its port refuses
// connections and the open ones are cut; frozen, connections are taken and nothing comes through.
type gate struct {
	address *net.TCPAddr

	mu       sync.Mutex
	changed  *sync.Cond
	listener net.Listener // nil while shut
	open     map[*gatedConn]bool
	frozen   bool
	closed   bool
}

// newGate makes a gate on a loopback port; it is shut until unlock.
func newGate(port int) *gate {
	g := &gate{
		address: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port},
		open:    map[*gatedConn]bool{},
	}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// Addr is where it listens when it is not shut.
func (g *gate) Addr() net.Addr { return g.address }

// Accept waits through the times when the gate is shut; it fails only after Close.
func (g *gate) Accept() (net.Conn, error) {
	for {
		g.mu.Lock()
		for g.listener == nil && !g.closed {
			g.changed.Wait()
		}
		listener := g.listener
		g.mu.Unlock()
		if listener == nil {
			return nil, net.ErrClosed
		}
		conn, err := listener.Accept()
		if err != nil {
			g.lost(listener)
			continue
		}
		if gated := g.admit(listener, conn); gated != nil {
			return gated, nil
		}
	}
}

// lost forgets a listener that failed, so that Accept waits for the next one.
func (g *gate) lost(listener net.Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == listener {
		g.listener = nil
	}
}

func (g *gate) admit(listener net.Listener, conn net.Conn) *gatedConn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != listener {
		conn.Close()
		return nil
	}
	gated := &gatedConn{Conn: conn, gate: g}
	g.open[gated] = true
	return gated
}

// unlock lets connections in, on the same port as always.
func (g *gate) unlock() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		return fmt.Errorf("listen on %v: it does already", g.address)
	}
	listener, err := net.ListenTCP("tcp", g.address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	g.listener = listener
	g.changed.Broadcast()
	return nil
}

// shut refuses connections from now on and ends the open ones, with a reset when abrupt.
func (g *gate) shut(abrupt bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		g.listener.Close()
		g.listener = nil
	}
	for conn := range g.open {
		if tcp, ok := conn.Conn.(*net.TCPConn); ok && abrupt {
			// A failure means that it is closed already.
			_ = tcp.SetLinger(0)
		}
		conn.Conn.Close()
		conn.gone = true
		delete(g.open, conn)
	}
	g.frozen = false
	g.changed.Broadcast()
}

// isOpen says whether the gate lets connections in.
func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.listener != nil
}

// freeze holds everything back until it is called with false.
func (g *gate) freeze(frozen bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = frozen
	g.changed.Broadcast()
}

// Close ends the gate for good.
func (g *gate) Close() error {
	g.shut(false)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.changed.Broadcast()
	return nil
}

// gatedConn is a connection through a gate.
type gatedConn struct {
	net.Conn
	gate *gate
	gone bool
}

// pass waits while the gate is frozen.
func (c *gatedConn) pass() error {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	for c.gate.frozen && !c.gone {
		c.gate.changed.Wait()
	}
	if c.gone {
		return net.ErrClosed
	}
	return nil
}

func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if gone := c.pass(); gone != nil {
		return 0, gone
	}
	return n, err
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if err := c.pass(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *gatedConn) Close() error {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gone = true
	delete(c.gate.open, c)
	c.gate.changed.Broadcast()
	return c.Conn.Close()
}
