package hop

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// away is an address of no network: RFC 5737 keeps it for documentation.
const away = "192.0.2.1"

func TestDialLoopback(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		conn, err := DialLoopback(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		conn.Close()
	}
	for _, host := range []string{away, "::ffff:" + away, "2001:db8::1", "0.0.0.0"} {
		_, err := DialLoopback(t.Context(), "tcp", net.JoinHostPort(host, port))
		if !errors.Is(err, ErrReadable) {
			t.Errorf("%s: %v, want %v", host, err, ErrReadable)
		}
	}
}

// TestTransportTakesNoProxy: a password goes over no proxy, because a proxy on this machine passes
// the password on to others.
func TestTransportTakesNoProxy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hasPassword bool
		scheme      string
		takes       bool
	}{{true, "http", false}, {true, "https", true}, {false, "http", true}} {
		if takes := Transport(c.hasPassword, c.scheme).Proxy != nil; takes != c.takes {
			t.Errorf("%+v: takes a proxy %v", c, takes)
		}
	}
}

// TestMongoRefuses: a password readable on the network is refused for each server that the driver
// reaches, and the check of certificates is not turned off.
func TestMongoRefuses(t *testing.T) {
	t.Parallel()
	for query, isGuarded := range map[string]bool{
		"authMechanism=PLAIN&authSource=$external":                       true,
		"authMechanism=PLAIN&authSource=$external&tls=true":              false,
		"authMechanism=SCRAM-SHA-256":                                    false,
		"authMechanism=MONGODB-AWS":                                      true,
		"replicaSet=rs0&authMechanism=PLAIN&authSource=$external":        true,
		"directConnection=true&authMechanism=PLAIN&authSource=$external": true,
	} {
		o, err := Mongo("mongodb://lab:geheim@" + away + ":1/?" + query)
		if err != nil {
			t.Fatal(err)
		}
		if (o.Dialer != nil) != isGuarded {
			t.Errorf("%s: guarded %v, want %v", query, o.Dialer != nil, isGuarded)
		}
		if !isGuarded {
			continue
		}
		client, err := mongo.Connect(o.SetServerSelectionTimeout(200 * time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		err = client.Ping(t.Context(), nil)
		if err == nil || !strings.Contains(err.Error(), ErrReadable.Error()) ||
			strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", query, err)
		}
		client.Disconnect(context.Background())
	}
	for _, insecure := range []string{"tls=true&tlsInsecure=true", "ssl=true&sslInsecure=true",
		"tls=true&tlsAllowInvalidCertificates=true", "tls=true&tlsAllowInvalidHostnames=true"} {
		o, err := Mongo("mongodb://lab:geheim@" + away + ":1/?" + insecure)
		if err == nil && o.TLSConfig != nil && o.TLSConfig.InsecureSkipVerify {
			t.Errorf("%s: taken", insecure)
		}
	}
	if _, err := Mongo("mongodb://h/?tls=true&tlsInsecure=true"); !errors.Is(err, ErrInsecure) {
		t.Errorf("tlsInsecure: %v", err)
	}
}

func TestErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"mongodb://lab:ge/geheim@db/", "mongodb://lab:geheim@db:x/", "mongodb:/lab:geheim@db",
		"mongodb://lab:geheim@/",
		"mongodb://db/?tlsCertificateKeyFilePassword=geheim&maxPoolSize=x",
		"mongodb://lab:geheim@db/?authMechanism=geheim", "geheim", "mongodb://lab:%zzgeheim@db/",
		"mongodb+srv://lab:geheim@db:1/",
		"mongodb://db/?authMechanismProperties=AWS_SESSION_TOKEN:geheim&authMechanism=MONGODB-AWS",
		"mongodb://lab:geheim@db/?proxyPassword=geheim",
	} {
		o, err := Mongo(uri)
		if err == nil {
			_, err = mongo.Connect(o)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// TestTransport: headers with a password stay on this machine without TLS, and follow no redirect.
func TestTransport(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed with %v", r.Header)
	}))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	client := &http.Client{CheckRedirect: StayHere, Transport: Transport(true, "http")}
	response, err := client.Get(server.URL)
	if err != nil || response.StatusCode != http.StatusTemporaryRedirect {
		t.Fatalf("%v, %v", response, err)
	}
	response.Body.Close()
	_, err = client.Get("http://" + away + ":1/?key=geheim")
	if !errors.Is(err, ErrReadable) || strings.Contains(WithoutURL(err).Error(), "geheim") {
		t.Errorf("%v", WithoutURL(err))
	}
	if Transport(true, "https").DialContext == nil || Transport(false, "http").DialContext == nil {
		t.Error("no dialer")
	}
}
