package stack

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/proxy"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// TestWriteGuard: the lab writes only to a database named twice.
func TestWriteGuard(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE",
		"PGSSLMODE"} {
		t.Setenv(name, "")
	}
	for name, c := range map[string]struct{ dsn, writeTo, want string }{
		"host and database": {"postgres://u:secret@db/shop", "db/shop", ""},
		"with the port":     {"postgres://u:secret@db:6432/shop", "db:6432/shop", ""},
		"key=value": {"host=db port=6432 user=u password=secret dbname=shop",
			"db:6432/shop", ""},
		"TLS and without": {"postgres://u:secret@db/shop?sslmode=prefer", "db/shop", ""},
		"with the server": {"postgres://u:secret@db/shop", "db/shop@10.0.0.7:5432", ""},
		"not named": {"postgres://u:secret@db:6432/shop", "",
			"say --yes-write-to db:6432/shop"},
		"another host": {"postgres://u:secret@db/shop", "dev/shop",
			"asked to write to dev/shop, but the address of PostgreSQL is that of db:5432/shop"},
		"another port": {"postgres://u:secret@db:6432/shop", "db:5432/shop",
			"is that of db:6432/shop"},
		"another database": {"postgres://u:secret@db/shop", "db/test",
			"is that of db:5432/shop"},
		"no database":             {"postgres://u:secret@db", "db/", "names no database"},
		"no database, with slash": {"postgres://u:secret@db/", "db:5432/", "names no database"},
		"a second host": {"postgres://u:secret@dev,production/shop", "dev/shop",
			"more than one host, dev:5432 and production:5432"},
		"a second port": {"postgres://u:secret@db:5432,db:5433/shop", "db/shop",
			"more than one host, db:5432 and db:5433"},
		"second host, key=value": {"host=dev,production user=u password=secret dbname=shop",
			"dev/shop", "more than one host"},
		"a path": {"postgres://u:secret@db/shop?search_path=other", "db/shop",
			"no other setting: it sets search_path"},
		"options": {"postgres://u:secret@db/shop?options=-csearch_path%3Dother", "db/shop",
			"it sets options"},
		"a service":  {"postgres://u:secret@db/shop?service=x", "db/shop", "external: "},
		"no address": {"", "db/shop", "needs the address of its PostgreSQL"},
		"unreadable": {"postgres://u:secret@db:port/shop", "db/shop",
			"cannot be read: want postgres://"},
	} {
		t.Run(name, func(t *testing.T) {
			e := Endpoint{PostgresDSN: c.dsn, WriteTo: c.writeTo,
				WriteToMongo: "mongo/cdc", KafkaBrokers: []string{"kafka:9092"}}
			err := e.check("mongodb://mongo")
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			expect.Error(t, err, c.want)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// TestDiskOfOthers: the lab's own folder says nothing of the disks of a pipeline it did not start.
func TestDiskOfOthers(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]bool{Embedded: true, Native: true, External: false} {
		s := &Stack{options: Options{Kind: kind}, folder: &process.Folder{Tmpfs: true}}
		if got := s.Tmpfs(); got != want ||
			strings.Contains(strings.Join(s.Notes(), ""), "tmpfs") != want {
			t.Errorf("%s: on tmpfs %t, notes %q", kind, got, s.Notes())
		}
	}
}

// TestProxiesOfOthers: faults on hops want the Toxiproxy that the person names.
func TestProxiesOfOthers(t *testing.T) {
	t.Parallel()
	o := Options{Kind: External, Proxies: []string{proxy.ConsumerKafka}}
	_, err := o.withDefaults()
	expect.Error(t, err, "proxy consumer-kafka", "--toxiproxy host:port")
	o.External.Toxiproxy = "toxiproxy:8474"
	_, err = o.withDefaults()
	expect.Error(t, err, "needs the address of its PostgreSQL")
}

// TestMongoIsNamedTwice: the lab writes only to a MongoDB named twice, by any form of its name.
func TestMongoIsNamedTwice(t *testing.T) {
	t.Parallel()
	const named = ""
	for _, c := range []struct{ uri, writeTo, want string }{
		{"mongodb://u:secret@mongo/", "mongo/cdc", named},
		{"mongodb://u:secret@mongo", "mongo:27017/cdc", named},
		{"mongodb://mongo:27017/?tls=true", "mongo/cdc", named},
		{"mongodb://mongo:27018/other", "mongo:27018/cdc", named},
		{"mongodb+srv://u:se@cret@cluster.example.org/?w=majority", "cluster.example.org/cdc",
			named},
		{"mongodb://a:27017,b:27017/?replicaSet=rs0", "b/cdc", named},
		{"mongodb://a:27017,b:27017/?replicaSet=rs0", "a:27017,b:27017/cdc", named},
		{"mongodb://mongo/", "", "say --yes-write-to-mongo mongo/cdc"},
		{"mongodb://u:secret@mongo/", "dev/cdc", "but the address is that of mongo/cdc"},
		{"mongodb://mongo/", "mongo/other", "but the address is that of mongo/cdc"},
		{"mongodb://mongo:27018/", "mongo/cdc", "that of mongo:27018/cdc"},
		{"mongodb://dev@production/", "dev/cdc", "that of production/cdc"},
		{"mongodb://mongo?dev/cdc", "dev/cdc", "that of mongo/cdc"},
		{"mongo:27017", "mongo/cdc", "cannot be read"},
	} {
		err := checkMongo(c.uri, "cdc", c.writeTo)
		if c.want == named {
			if err != nil {
				t.Errorf("%s as %s: %v", c.uri, c.writeTo, err)
			}
			continue
		}
		expect.Error(t, err, c.want)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// TestServerIsTheNamedOne: the database and the address of the server's own words are compared.
func TestServerIsTheNamedOne(t *testing.T) {
	t.Parallel()
	reached := func(address string) net.Addr {
		return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
	}
	socket := &net.UnixAddr{Name: "/run/postgresql/.s.PGSQL.5432", Net: "unix"}
	for name, c := range map[string]struct {
		writeTo, database string
		reached           net.Addr
		said, want        string
	}{
		"the same": {"db/shop", "shop", reached("10.0.0.7:5432"), "10.0.0.7:5432", ""},
		"mapped": {"db/shop", "shop", reached("[::ffff:10.0.0.7]:5432"),
			"10.0.0.7:5432", ""},
		"a zone": {"db/shop", "shop", reached("[fe80::7%eth0]:5432"),
			"[fe80::7]:5432", ""},
		"a socket": {"db/shop", "shop", socket, "", ""},
		"another database": {"db/shop", "prod", reached("10.0.0.7:5432"),
			"10.0.0.7:5432", "is prod"},
		"a pooler": {"db/shop", "shop", reached("10.0.0.7:6432"), "10.0.0.7:5432",
			"say --yes-write-to db/shop@10.0.0.7:5432"},
		"elsewhere": {"db/shop", "shop", reached("127.0.0.1:5432"), "10.0.0.9:5432",
			"say --yes-write-to db/shop@10.0.0.9:5432"},
		"a pooler behind a socket": {"db/shop", "shop", socket, "10.0.0.9:5432",
			"say --yes-write-to db/shop@10.0.0.9:5432"},
		"a socket behind a pooler": {"db/shop", "shop", reached("10.0.0.7:6432"), "",
			"connected to 10.0.0.7:6432"},
		"named": {"db/shop@10.0.0.9:5432", "shop", reached("127.0.0.1:5432"), "10.0.0.9:5432", ""},
		"named another": {"db/shop@10.0.0.8:5432", "shop", reached("127.0.0.1:5432"),
			"10.0.0.9:5432", "asked to write to the server 10.0.0.8:5432"},
		"named another, reached": {"db/shop@10.0.0.8:5432", "shop", reached("10.0.0.9:5432"),
			"10.0.0.9:5432", "asked to write to the server 10.0.0.8:5432"},
	} {
		var said netip.AddrPort
		if c.said != "" {
			said = netip.MustParseAddrPort(c.said)
		}
		e := Endpoint{WriteTo: c.writeTo}
		err := e.compareServer("shop", c.database, c.reached, said)
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "" {
			expect.Error(t, err, c.want)
		}
	}
}
