// Package hop reaches the servers of a pipeline so that nobody on the network reads a password: a
// mechanism with a readable password goes over TLS or stays on this machine, judged when each
// connection is made, because a server may send its clients to another address. Errors repeat no
// address with a password. Start reading at DialLoopback, then Mongo and API;
// PostgreSQL has a room of its own, because the consumer needs none.
package hop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// ErrReadable says that a connection was refused before its first byte.
var ErrReadable = errors.New("a password would be readable on the network: needs TLS")

const (
	dialTimeout = 10 * time.Second
	keepAlive   = 30 * time.Second
)

// DialLoopback connects to an address of this machine. The kernel's own answer to the name counts,
// so that no name leads elsewhere; an error for other addresses is ErrReadable.
func DialLoopback(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive,
		Control: func(_, resolved string, _ syscall.RawConn) error {
			if !isLoopback(resolved) {
				return fmt.Errorf("%s: %w", resolved, ErrReadable)
			}
			return nil
		}}
	return dialer.DialContext(ctx, network, address)
}

// isLoopback judges an IP address with a port.
func isLoopback(resolved string) bool {
	host, _, err := net.SplitHostPort(resolved)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

// Transport returns an HTTP transport, for requests with a password only to this machine where the
// address is without TLS.
func Transport(hasPassword bool, scheme string) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if hasPassword && scheme != "https" {
		// A proxy on this machine would pass the password on to others.
		transport.DialContext, transport.Proxy = DialLoopback, nil
	}
	return transport
}

// StayHere is for http.Client.CheckRedirect: the client takes a redirect as the answer, because a
// redirect may lead headers with a password to another server.
func StayHere(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// WithoutURL returns the reason of an HTTP error without the URL, whose path or query may hold a
// key.
func WithoutURL(err error) error {
	var about *url.Error
	if errors.As(err, &about) {
		return about.Err
	}
	return err
}
