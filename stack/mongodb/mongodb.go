// Package mongodb runs a MongoDB, or a stand-in, as a part that can be killed, frozen and started
// again, and knows the addresses of MongoDBs. The package finds no program. Start reading at
// Server.Start.
package mongodb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// Name is the Component's name.
const Name = "mongo"

const replicaSet = "cdclab"

// Server is a server of the Stack's own: a program of programs.FindMongo, on the same port over
// restarts.
type Server struct {
	*process.Child
	program programs.MongoProgram
	address string
	options Options
	// login is nil for a server that refuses nobody.
	login *login

	client *mongo.Client
}

// Options are of a server; the zero value is a Stack's.
type Options struct {
	// Unsafe leaves --sync-on-commit out for a stand-in. Then a killed server loses acknowledged
	// writes: a planted bug for tests of the table check, for nothing else.
	Unsafe bool
	// Flags are more flags of the program.
	Flags []string
	// Login makes the server refuse whoever does not have the random password in URI.
	Login bool
	// User and Query are additions to the address for clients: user and password, and options of a
	// MongoDB URI, such as "tls".
	User  *url.Userinfo
	Query url.Values
}

// New makes a server that is not started, of a program of programs.FindMongo.
func New(f *process.Folder, program programs.MongoProgram, o Options) (*Server, error) {
	port, err := process.FreePort()
	if err != nil {
		return nil, fmt.Errorf("prepare MongoDB: %w", err)
	}
	m := &Server{
		Child:   process.NewChild(Name, f, syscall.SIGTERM),
		program: program, address: process.Loopback(port), options: o,
	}
	if o.Login {
		m.askForLogin()
	}
	if m.client, err = Connect(m.URI()); err != nil {
		return nil, fmt.Errorf("prepare MongoDB: %w", err)
	}
	return m, nil
}

// With makes a server that is not started, on the data of a stopped server.
func (m *Server) With(o Options) (*Server, error) { return New(m.Folder, m.program, o) }

// Kind is the program's.
func (m *Server) Kind() string { return m.program.Kind }

// URI makes clients talk to this address only. Without directConnection a driver would ask the
// server for the replica set's members and go to them, round any Proxy.
func (m *Server) URI() string {
	query := url.Values{"directConnection": {"true"}}
	maps.Copy(query, m.options.Query)
	uri := url.URL{Scheme: "mongodb", User: m.options.User, Host: m.address, Path: "/",
		RawQuery: query.Encode()}
	return uri.String()
}

// Connect makes a client that does not wait long for an absent server.
func Connect(uri string) (*mongo.Client, error) {
	address, err := hop.Mongo(uri)
	if err != nil {
		return nil, err
	}
	client, err := mongo.Connect(address.SetServerSelectionTimeout(process.HealthLimit))
	if err != nil {
		return nil, fmt.Errorf("connect to MongoDB: %w", err)
	}
	return client, nil
}

// Start starts the server on its port with the data of its last run, and returns when the server
// takes writes.
func (m *Server) Start(ctx context.Context) error {
	data := m.Folder.File("mongo")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("start mongo: %w", err)
	}
	if m.isOpen() && m.program.Kind == programs.SecantusPy {
		if err := m.makeUserFirst(ctx, data); err != nil {
			return err
		}
	}
	var flags []string
	if m.login != nil {
		var err error
		if flags, err = m.loginFlags(); err != nil {
			return fmt.Errorf("start mongo: %w", err)
		}
	}
	if err := m.launch(ctx, data, m.address, flags); err != nil {
		return err
	}
	if m.login != nil {
		if err := m.checkUsers(ctx); err != nil {
			return errors.Join(fmt.Errorf("start mongo: %w", err), m.Kill())
		}
	}
	version, err := AskVersion(ctx, m.client)
	if err != nil {
		return errors.Join(fmt.Errorf("start mongo: %w", err), m.Kill())
	}
	m.SetVersion(m.program.Kind + " " + version)
	return nil
}

// launch starts the program at an address, and makes the only user if there is to be one.
func (m *Server) launch(ctx context.Context, data, address string, flags []string) error {
	args, err := m.arguments(data, address, flags)
	if err != nil {
		return fmt.Errorf("start mongo: %w", err)
	}
	// A client without the password, for as long as there is none.
	client := m.client
	if m.isOpen() {
		if client, err = Connect("mongodb://" + address + "/?directConnection=true"); err != nil {
			return fmt.Errorf("start mongo: %w", err)
		}
		defer disconnect(ctx, client)
	}
	err = m.Launch(ctx, process.Command{Path: m.program.Path, Args: args},
		func(ctx context.Context) error { return m.takesWrites(ctx, client) })
	if err != nil || !m.isOpen() {
		return err
	}
	if err := m.makeUser(ctx, client); err != nil {
		return errors.Join(fmt.Errorf("start mongo: %w", err), m.Kill())
	}
	return nil
}

// arguments are of the program on its data, at an address and with more flags.
func (m *Server) arguments(data, address string, flags []string) ([]string, error) {
	flags = slices.Concat(flags, m.options.Flags)
	host, port, err := process.SplitAddress(address)
	if err != nil {
		return nil, err
	}
	if m.program.Kind == programs.Mongod {
		return append([]string{"--replSet", replicaSet, "--bind_ip", host, "--port",
			strconv.Itoa(port),
			"--dbpath", data, "--wiredTigerCacheSizeGB", "0.5", "--nounixsocket"},
			flags...), nil
	}
	// An empty configuration keeps a secantusd.toml of the user's out of the measurement.
	config := m.Folder.File("secantusd.toml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return nil, err
	}
	args := []string{"--config", config, "--host", host, "--port", strconv.Itoa(port),
		"--storage-path", data, "--cache-size", "512M", "--log-level", "WARNING"}
	if !m.options.Unsafe {
		args = append(args, "--sync-on-commit")
	}
	return append(args, flags...), nil
}

// takesWrites is nil when the server is there and calls itself the primary, as it tells whoever has
// no password too. A new mongod is made a replica set of one first: without a replica set there are
// no change streams.
func (m *Server) takesWrites(ctx context.Context, client *mongo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	role, err := AskRole(ctx, client)
	if err != nil || role.Primary {
		return err
	}
	if m.program.Kind == programs.Mongod && role.SetName == "" {
		member := bson.D{{Key: "_id", Value: 0}, {Key: "host", Value: m.address}}
		set := bson.D{{Key: "_id", Value: replicaSet}, {Key: "members", Value: bson.A{member}}}
		command := bson.D{{Key: "replSetInitiate", Value: set}}
		err := client.Database("admin").RunCommand(ctx, command).Err()
		const alreadyInitialized = 23
		if err != nil && !HasCode(err, alreadyInitialized) {
			return fmt.Errorf("make MongoDB a replica set: %w", err)
		}
	}
	return errors.New("MongoDB is not primary yet")
}

// Health pings the server.
func (m *Server) Health(ctx context.Context) error {
	if err := m.Serves(); err != nil {
		return err
	}
	return ping(ctx, m.client)
}

// Close lets go of the connections.
func (m *Server) Close(ctx context.Context) error { return disconnect(ctx, m.client) }

// ElectionImpossible returns why no server of the lab's can be elected on this machine, or nil:
// elections are of MongoDB itself, a stand-in takes replSetStepDown and stays the primary.
func ElectionImpossible() error {
	cacheDir, err := programs.CacheDir("")
	if err == nil {
		_, err = programs.FindMongo(context.Background(), programs.Mongod, cacheDir, nil)
	}
	if err != nil {
		return fmt.Errorf("elections are of MongoDB itself: %w", err)
	}
	return nil
}

// disconnect waits for a moment alone, because the server may be gone, and a driver unable to say
// good-bye waits.
func disconnect(ctx context.Context, client *mongo.Client) error {
	const farewell = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	err := client.Disconnect(ctx)
	if err == nil || errors.Is(err, mongo.ErrClientDisconnected) || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("disconnect from MongoDB: %w", err)
}

func ping(ctx context.Context, client *mongo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	if err := client.Ping(ctx, readpref.Primary()); err != nil {
		return fmt.Errorf("look at MongoDB: %w", err)
	}
	return nil
}

// AskVersion returns the server's version from buildInfo.
func AskVersion(ctx context.Context, client *mongo.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, process.StartGrace)
	defer cancel()
	var build struct {
		Version string `bson:"version"`
	}
	command := bson.D{{Key: "buildInfo", Value: 1}}
	if err := client.Database("admin").RunCommand(ctx, command).Decode(&build); err != nil {
		return "", fmt.Errorf("ask MongoDB for its version: %w", err)
	}
	return build.Version, nil
}

// Role is what a server says of itself. Source: MongoDB's command hello.
type Role struct {
	// Primary is true for a server that takes writes; Secondary for another member of a set.
	Primary   bool `bson:"isWritablePrimary"`
	Secondary bool `bson:"secondary"`
	// SetName is the name of the replica set, "" without one.
	SetName string `bson:"setName"`
	// Election is of the election that made the server the primary.
	Election bson.ObjectID `bson:"electionId"`
}

// AskRole returns what the server says of itself, as to whoever has no password too.
func AskRole(ctx context.Context, client *mongo.Client) (role Role, err error) {
	command := bson.D{{Key: "hello", Value: 1}}
	if err := client.Database("admin").RunCommand(ctx, command).Decode(&role); err != nil {
		return Role{}, fmt.Errorf("ask MongoDB who it is: %w", err)
	}
	return role, nil
}

// HasCode is true for a refusal of MongoDB's with the code; error_codes.yml of MongoDB names them.
func HasCode(err error, code int) bool {
	var refusal mongo.ServerError
	return errors.As(err, &refusal) && refusal.HasErrorCode(code)
}
