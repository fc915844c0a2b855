package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports of servers that must come back on the same one after a crash lie below the range from which
// kernels take ports for outgoing connections (from 32768 on Linux, 49152 on macOS), so nothing
// takes the port while the server is away.
const (
	firstPort = 20000
	lastPort  = 31999
)

var handedOut = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// freePort finds a port of the loopback address on which nothing listens, and hands it out once in
// this process.
func freePort() (int, error) {
	handedOut.Lock()
	defer handedOut.Unlock()
	const tries = 1000
	for range tries {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if handedOut.ports[port] {
			continue
		}
		listener, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		handedOut.ports[port] = true
		return port, nil
	}
	return 0, errors.New("find a free port: none between " + strconv.Itoa(firstPort) + " and " +
		strconv.Itoa(lastPort))
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// splitAddress takes "host:port" apart.
func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", address, err)
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("address %q: %w", address, err)
	}
	return host, port, nil
}
