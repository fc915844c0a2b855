package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// mongoGiven is a server that was there before the Stack: Options.MongoURI. The Stack works in a
// database of its own, which Down drops: documents of an earlier Run would be taken for this one's.
// Only an External Stack's database is that of its pipeline, and stays.
type mongoGiven struct {
	given    string
	database string
	keep     bool

	mu      sync.Mutex
	client  *mongo.Client
	version string
}

// newMongoGiven takes the name of the database; with keep, close leaves it.
func newMongoGiven(uri, database string, keep bool) *mongoGiven {
	return &mongoGiven{given: uri, database: database, keep: keep}
}

// freshDatabase is a name that nobody has used.
func freshDatabase() string {
	unique := make([]byte, 6)
	rand.Read(unique)
	return "cdclab_" + hex.EncodeToString(unique)
}

func (m *mongoGiven) uri() string { return m.given }

// Name is the Component's name.
func (m *mongoGiven) Name() string { return Mongo }

// Version is what the server says of itself (buildInfo); "" before the first Start.
func (m *mongoGiven) Version() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version
}

// Start only connects.
func (m *mongoGiven) Start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil {
		return errors.New("start mongo: the given MongoDB is connected already")
	}
	client, err := connectMongo(m.given)
	if err != nil {
		return fmt.Errorf("start mongo: %w", err)
	}
	version, err := mongoVersion(ctx, client)
	if err != nil {
		return errors.Join(fmt.Errorf("start mongo: %w", err), client.Disconnect(ctx))
	}
	m.client, m.version = client, MongoGiven+" "+version
	return nil
}

// Stop is refused.
func (m *mongoGiven) Stop(context.Context) error { return fmt.Errorf("stop mongo: %w", errGiven) }

// Kill is refused.
func (m *mongoGiven) Kill() error { return fmt.Errorf("kill mongo: %w", errGiven) }

// Pause is refused.
func (m *mongoGiven) Pause() error { return fmt.Errorf("pause mongo: %w", errGiven) }

// Resume is refused.
func (m *mongoGiven) Resume() error { return fmt.Errorf("resume mongo: %w", errGiven) }

// Health pings the server.
func (m *mongoGiven) Health(ctx context.Context) error {
	m.mu.Lock()
	client := m.client
	m.mu.Unlock()
	if client == nil {
		return errors.New("the given MongoDB is not connected")
	}
	return pingMongo(ctx, client)
}

// PIDs is empty: its processes are not known.
func (m *mongoGiven) PIDs() []int { return nil }

// close drops the Stack's database, unless it is to be kept, and disconnects.
func (m *mongoGiven) close(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client == nil {
		return nil
	}
	var dropped error
	if !m.keep {
		dropped = m.client.Database(m.database).Drop(ctx)
	}
	err := errors.Join(dropped, m.client.Disconnect(ctx))
	m.client = nil
	if err != nil {
		return fmt.Errorf("drop database %s of the given MongoDB: %w", m.database, err)
	}
	return nil
}
