package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// mongoPort is MongoDB's default port; an address named twice may leave the port out.
const mongoPort = ":27017"

// splitWriteTo splits "HOST/DB@ADDRESS:PORT" into the name and the server's own address, which may
// be missing.
func splitWriteTo(text string) (named string, server netip.AddrPort) {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		if said, err := netip.ParseAddrPort(text[at+1:]); err == nil {
			return text[:at], said
		}
	}
	return text, netip.AddrPort{}
}

// checkServer refuses a server other than the named: a pooler or a forwarded port leads elsewhere,
// also to another database of the same name. The server's own word counts: where the server says
// another address than the address connected to, Endpoint.WriteTo must have the server's address.
func (e *Endpoint) checkServer(ctx context.Context, conn *pgx.Conn) error {
	var database string
	var host *string
	var port *int32
	const query = `SELECT pg_catalog.current_database()::text,
		pg_catalog.host(pg_catalog.inet_server_addr()), pg_catalog.inet_server_port()`
	if err := conn.QueryRow(ctx, query).Scan(&database, &host, &port); err != nil {
		return fmt.Errorf("ask PostgreSQL who it is: %w", err)
	}
	var said netip.AddrPort
	if host != nil && port != nil {
		address, err := netip.ParseAddr(*host)
		if err != nil {
			return fmt.Errorf("ask PostgreSQL who it is: %w", err)
		}
		said = netip.AddrPortFrom(address.Unmap(), uint16(*port))
	}
	return e.compareServer(conn.Config().Database, database,
		conn.PgConn().Conn().RemoteAddr(), said)
}

// compareServer compares the asked database and the address connected to with the server's words;
// a server asked over a socket says no address.
func (e *Endpoint) compareServer(asked, database string, reached net.Addr,
	said netip.AddrPort) error {
	if database != asked {
		return fmt.Errorf("asked for database %s, and the server says that this is %s: "+
			"the lab writes only to a database named by its name", asked, database)
	}
	var connected netip.AddrPort
	if tcp, is := reached.(*net.TCPAddr); is {
		there := tcp.AddrPort()
		connected = netip.AddrPortFrom(there.Addr().Unmap().WithZone(""), there.Port())
	}
	named, server := splitWriteTo(e.WriteTo)
	switch {
	case server.IsValid() && server != said:
		return fmt.Errorf("asked to write to the server %s, and the server says that it is %s",
			server, said)
	case server.IsValid(), said == connected:
		return nil
	}
	return fmt.Errorf("connected to %s, and the server there says that it is %s, as behind a "+
		"pooler or a forwarded port: where that is the right one, say --yes-write-to %s@%s",
		connected, said, named, said)
}

// checkMongo refuses a MongoDB not named twice, as Endpoint.check does for PostgreSQL.
func checkMongo(uri, database, writeTo string) error {
	_, rest, isURI := strings.Cut(uri, "://")
	if !isURI {
		return errors.New("the address of the external MongoDB cannot be read: " +
			"want mongodb://HOST:PORT/")
	}
	hosts := rest[:strings.IndexAny(rest+"/", "/?")]
	hosts = hosts[strings.LastIndexByte(hosts, '@')+1:]
	whole := hosts + "/" + database
	var names []string
	for _, host := range append(strings.Split(hosts, ","), hosts) {
		short := strings.TrimSuffix(host, mongoPort)
		names = append(names, host+"/"+database, short+"/"+database, short+mongoPort+"/"+database)
	}
	switch {
	case writeTo == "":
		return fmt.Errorf("the lab would make, fill and drop a collection of its own "+
			"in that MongoDB: say --yes-write-to-mongo %s", whole)
	case !slices.Contains(names, writeTo):
		return fmt.Errorf("asked to write to MongoDB %s, but the address is that of %s",
			writeTo, whole)
	}
	return nil
}
