package mongodb

import (
	"errors"
	"net/url"

	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/cdclab/cdclab/stack/process"
)

// ProxiedURI returns the URI with its only host replaced by a Proxy's address, and that host's
// address.
func ProxiedURI(uri, listen string) (string, error) {
	parsed, err := url.Parse(uri)
	if err != nil {
		// The text of the error would hold the URI, perhaps with a password.
		return "", errors.New("the MongoDB URI cannot be parsed")
	}
	query := parsed.Query()
	query.Set("directConnection", "true")
	query.Del("replicaSet")
	parsed.Host, parsed.RawQuery = listen, query.Encode()
	return parsed.String(), nil
}

// SingleHost returns the address of a URI with one host, as a Proxy needs.
func SingleHost(uri string) (string, error) {
	parsed, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return "", errors.New("the MongoDB URI cannot be parsed")
	}
	if parsed.Scheme != connstring.SchemeMongoDB || len(parsed.Hosts) != 1 || parsed.SSL {
		return "", errors.New("a proxy needs a mongodb:// URI of one host without TLS")
	}
	if _, _, err := process.SplitAddress(parsed.Hosts[0]); err != nil {
		return parsed.Hosts[0] + ":27017", nil
	}
	return parsed.Hosts[0], nil
}
