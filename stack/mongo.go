package stack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

const (
	// mongoDatabase holds the documents of a server of the Stack's own.
	mongoDatabase = "cdc"
	replicaSet    = "cdclab"
)

// mongoServer is a server of the Stack's own: one of the programs of findMongo, on a port that it
// keeps over restarts.
type mongoServer struct {
	child
	program mongoProgram
	address string
	// unsafe leaves --sync-on-commit out: the planted bug of the table check's own test.
	unsafe bool

	client  *mongo.Client
	version string
}

func newMongoServer(f *folder, program mongoProgram, unsafe bool) (*mongoServer, error) {
	port, err := freePort()
	if err != nil {
		return nil, fmt.Errorf("prepare MongoDB: %w", err)
	}
	m := &mongoServer{
		child:   child{name: Mongo, folder: f, stopSignal: syscall.SIGTERM},
		program: program, address: loopback(port), unsafe: unsafe,
	}
	if m.client, err = connectMongo(m.uri()); err != nil {
		return nil, fmt.Errorf("prepare MongoDB: %w", err)
	}
	return m, nil
}

func (m *mongoServer) uri() string { return directURI(m.address) }

// directURI makes clients talk to this address only. Without it a driver would ask the server for
// its members and go to them, round any Proxy.
func directURI(address string) string { return "mongodb://" + address + "/?directConnection=true" }

func connectMongo(uri string) (*mongo.Client, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(healthLimit))
	if err != nil {
		return nil, fmt.Errorf("connect to MongoDB: %w", err)
	}
	return client, nil
}

// Version is the program and what it says of itself (buildInfo); "" before the first Start.
func (m *mongoServer) Version() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version
}

// Start starts the server on its port with the data it had, and returns when it takes writes.
func (m *mongoServer) Start(ctx context.Context) error {
	data := m.folder.file("mongo")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("start mongo: %w", err)
	}
	args, err := m.arguments(data)
	if err != nil {
		return fmt.Errorf("start mongo: %w", err)
	}
	if err := m.run(ctx, command{path: m.program.path, args: args}, m.takesWrites); err != nil {
		return err
	}
	version, err := mongoVersion(ctx, m.client)
	if err != nil {
		return errors.Join(fmt.Errorf("start mongo: %w", err), m.Kill())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.version = m.program.kind + " " + version
	return nil
}

func (m *mongoServer) arguments(data string) ([]string, error) {
	host, port, err := splitAddress(m.address)
	if err != nil {
		return nil, err
	}
	if m.program.kind == Mongod {
		return []string{"--replSet", replicaSet, "--bind_ip", host, "--port", strconv.Itoa(port),
			"--dbpath", data, "--wiredTigerCacheSizeGB", "0.5", "--nounixsocket"}, nil
	}
	// An empty configuration keeps a secantusd.toml of the user's out of the measurement.
	config := m.folder.file("secantusd.toml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return nil, err
	}
	args := []string{"--config", config, "--host", host, "--port", strconv.Itoa(port),
		"--storage-path", data, "--cache-size", "512M", "--log-level", "WARNING"}
	if !m.unsafe {
		args = append(args, "--sync-on-commit")
	}
	return args, nil
}

// takesWrites is nil when the server is there and says that it is the primary. A new mongod is made
// a replica set of one first: without one there are no change streams.
func (m *mongoServer) takesWrites(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	admin := m.client.Database("admin")
	var hello struct {
		IsWritablePrimary bool   `bson:"isWritablePrimary"`
		SetName           string `bson:"setName"`
	}
	if err := admin.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		return fmt.Errorf("ask MongoDB who it is: %w", err)
	}
	if hello.IsWritablePrimary {
		return nil
	}
	if m.program.kind == Mongod && hello.SetName == "" {
		member := bson.D{{Key: "_id", Value: 0}, {Key: "host", Value: m.address}}
		set := bson.D{{Key: "_id", Value: replicaSet}, {Key: "members", Value: bson.A{member}}}
		err := admin.RunCommand(ctx, bson.D{{Key: "replSetInitiate", Value: set}}).Err()
		const alreadyInitialized = 23
		var refused mongo.CommandError
		if err != nil && !(errors.As(err, &refused) && refused.Code == alreadyInitialized) {
			return fmt.Errorf("make MongoDB a replica set: %w", err)
		}
	}
	return errors.New("MongoDB is not primary yet")
}

// Health pings the server.
func (m *mongoServer) Health(ctx context.Context) error {
	if err := m.serves(); err != nil {
		return err
	}
	return pingMongo(ctx, m.client)
}

// close lets go of the connections. The server may be gone, and a driver that cannot say good-bye
// to it waits.
func (m *mongoServer) close(ctx context.Context) error {
	const farewell = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	err := m.client.Disconnect(ctx)
	if err == nil || errors.Is(err, mongo.ErrClientDisconnected) || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("disconnect from MongoDB: %w", err)
}

func pingMongo(ctx context.Context, client *mongo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	if err := client.Ping(ctx, readpref.Primary()); err != nil {
		return fmt.Errorf("look at MongoDB: %w", err)
	}
	return nil
}

func mongoVersion(ctx context.Context, client *mongo.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startGrace)
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

// proxiedURI is the URI with its only host replaced by a Proxy's address, and that host's address.
func proxiedURI(uri, listen string) (string, error) {
	parsed, err := url.Parse(uri)
	if err != nil {
		// The text of the error would hold the URI, and that a password.
		return "", errors.New("the MongoDB URI cannot be parsed")
	}
	query := parsed.Query()
	query.Set("directConnection", "true")
	query.Del("replicaSet")
	parsed.Host, parsed.RawQuery = listen, query.Encode()
	return parsed.String(), nil
}

// singleHost is the address of a URI that a Proxy can stand in front of.
func singleHost(uri string) (string, error) {
	parsed, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return "", errors.New("the MongoDB URI cannot be parsed")
	}
	if parsed.Scheme != connstring.SchemeMongoDB || len(parsed.Hosts) != 1 || parsed.SSL {
		return "", errors.New("a proxy needs a mongodb:// URI of one host without TLS")
	}
	if _, _, err := splitAddress(parsed.Hosts[0]); err != nil {
		return parsed.Hosts[0] + ":27017", nil
	}
	return parsed.Hosts[0], nil
}
