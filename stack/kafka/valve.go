package kafka

import (
	"fmt"
	"net"
	"sync"
)

// valve is a listener that can be shut and frozen while the accepting server goes on, so that
// clients see a server inside this process as killed or paused. A shut valve's port refuses
// connections and the open connections are cut; a frozen valve takes connections and nothing comes
// through.
type valve struct {
	address *net.TCPAddr

	mu       sync.Mutex
	changed  *sync.Cond
	listener net.Listener // nil while shut
	open     map[*valveConn]bool
	frozen   bool
	closed   bool
}

// newValve makes a valve on a loopback port; the valve is shut until lift.
func newValve(port int) *valve {
	v := &valve{
		address: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port},
		open:    map[*valveConn]bool{},
	}
	v.changed = sync.NewCond(&v.mu)
	return v
}

// Addr is the address of the valve while not shut.
func (v *valve) Addr() net.Addr { return v.address }

// Accept waits while the valve is shut, and fails only after Close.
func (v *valve) Accept() (net.Conn, error) {
	for {
		v.mu.Lock()
		for v.listener == nil && !v.closed {
			v.changed.Wait()
		}
		listener := v.listener
		v.mu.Unlock()
		if listener == nil {
			return nil, net.ErrClosed
		}
		conn, err := listener.Accept()
		if err != nil {
			v.lost(listener)
			continue
		}
		if passed := v.admit(listener, conn); passed != nil {
			return passed, nil
		}
	}
}

// lost forgets a failed listener, so that Accept waits for the next.
func (v *valve) lost(listener net.Listener) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listener == listener {
		v.listener = nil
	}
}

func (v *valve) admit(listener net.Listener, conn net.Conn) *valveConn {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listener != listener {
		conn.Close()
		return nil
	}
	passed := &valveConn{Conn: conn, valve: v}
	v.open[passed] = true
	return passed
}

// lift lets connections in, on the same port as always.
func (v *valve) lift() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listener != nil {
		return fmt.Errorf("listen on %v: it does already", v.address)
	}
	listener, err := net.ListenTCP("tcp", v.address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	v.listener = listener
	v.changed.Broadcast()
	return nil
}

// shut refuses connections from now on and ends the open ones, with a reset when abrupt.
func (v *valve) shut(abrupt bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listener != nil {
		v.listener.Close()
		v.listener = nil
	}
	for conn := range v.open {
		if tcp, ok := conn.Conn.(*net.TCPConn); ok && abrupt {
			// A failure means that the connection is closed already.
			_ = tcp.SetLinger(0)
		}
		conn.Conn.Close()
		conn.gone = true
		delete(v.open, conn)
	}
	v.frozen = false
	v.changed.Broadcast()
}

// isOpen says whether the valve lets connections in.
func (v *valve) isOpen() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.listener != nil
}

// freeze holds everything back until called with false.
func (v *valve) freeze(frozen bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.frozen = frozen
	v.changed.Broadcast()
}

// Close ends the valve for good.
func (v *valve) Close() error {
	v.shut(false)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	v.changed.Broadcast()
	return nil
}

// valveConn is a connection through a valve.
type valveConn struct {
	net.Conn
	valve *valve
	gone  bool
}

// pass waits while the valve is frozen.
func (c *valveConn) pass() error {
	c.valve.mu.Lock()
	defer c.valve.mu.Unlock()
	for c.valve.frozen && !c.gone {
		c.valve.changed.Wait()
	}
	if c.gone {
		return net.ErrClosed
	}
	return nil
}

func (c *valveConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if gone := c.pass(); gone != nil {
		return 0, gone
	}
	return n, err
}

func (c *valveConn) Write(b []byte) (int, error) {
	if err := c.pass(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *valveConn) Close() error {
	c.valve.mu.Lock()
	defer c.valve.mu.Unlock()
	c.gone = true
	delete(c.valve.open, c)
	c.valve.changed.Broadcast()
	return c.Conn.Close()
}
