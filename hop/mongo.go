package hop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/shown"
)

// readableMechanisms show a password or a token to every listener; SCRAM shows none, and X.509
// needs TLS anyway.
var readableMechanisms = []string{"PLAIN", "MONGODB-OIDC", "MONGODB-AWS"}

// ErrInsecure says that an address turns the check of certificates off.
var ErrInsecure = errors.New("the address turns off the check of the server's certificate " +
	"(tlsInsecure): name who signs it with tlsCAFile")

// Mongo returns the options of a client for an address, guarded by GuardMongo. The error shows the
// address without its password.
func Mongo(uri string) (*options.ClientOptions, error) {
	o := options.Client().ApplyURI(uri)
	if o.Validate() != nil { // the reason may repeat the password
		return nil, fmt.Errorf("the address of MongoDB %s cannot be read: "+
			"want mongodb://HOST:PORT/", shown.Address(uri))
	}
	if IsInsecure(o) {
		return nil, ErrInsecure
	}
	GuardMongo(o)
	return o, nil
}

// IsInsecure is true if the options take any certificate for the server's.
func IsInsecure(o *options.ClientOptions) bool {
	return o.TLSConfig != nil && o.TLSConfig.InsecureSkipVerify
}

// GuardMongo keeps a readable password on this machine where the finished options have no TLS.
func GuardMongo(o *options.ClientOptions) {
	if o.Auth != nil && o.TLSConfig == nil &&
		slices.Contains(readableMechanisms, o.Auth.AuthMechanism) {
		o.SetDialer(loopbackDialer{})
	}
}

type loopbackDialer struct{}

func (loopbackDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return DialLoopback(ctx, network, address)
}
