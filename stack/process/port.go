package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports of servers lie below the range of the kernels for outgoing connections (from 32768 on
// Linux, 49152 on macOS), so that nothing takes a port while its server is away: after a crash a
// server must come back on the same port.
const (
	firstPort = 20000
	lastPort  = 31999
)

var handedOut = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// FreePort finds a loopback port without a listener, and hands each port out once in this process.
func FreePort() (int, error) {
	handedOut.Lock()
	defer handedOut.Unlock()
	const tries = 1000
	for range tries {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if handedOut.ports[port] {
			continue
		}
		listener, err := net.Listen("tcp", Loopback(port))
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

// Loopback is the address of a port, "127.0.0.1:PORT".
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// SplitAddress takes "host:port" apart.
func SplitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", address, err)
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("address %q: %w", address, err)
	}
	return host, port, nil
}
