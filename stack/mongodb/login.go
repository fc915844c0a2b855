package mongodb

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/url"
	"os"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// loginUser is the only user of a server with Options.Login.
const loginUser = "cdclab"

// login is what a server knows of its only user.
type login struct {
	password string
	// made is true once the user is in the data.
	made bool
}

// askForLogin adds a user with a random password to the addresses of clients.
func (m *Server) askForLogin() {
	m.login = &login{password: rand.Text()}
	m.options.User = url.UserPassword(loginUser, m.login.password)
	query := url.Values{"authSource": {"admin"}}
	maps.Copy(query, m.options.Query)
	m.options.Query = query
}

// isOpen returns true while the server's only user is still to be made.
func (m *Server) isOpen() bool { return m.login != nil && !m.login.made }

// loginFlags make a server refuse whoever has no password. A mongod of a replica set takes them
// with a key for the other members only; there are none.
func (m *Server) loginFlags() ([]string, error) {
	if m.program.Kind != programs.Mongod {
		return []string{"--auth"}, nil
	}
	key := m.Folder.File("mongo.key")
	_, err := os.Stat(key)
	if err != nil { // at the first start
		err = os.WriteFile(key, []byte(rand.Text()+rand.Text()), 0o600)
	}
	return []string{"--auth", "--keyFile", key}, err
}

// makeUserFirst makes the user in the data of secantusd-py, whose server without a user refuses
// everybody: a server that refuses nobody starts at another address, and stops again. Whoever came
// in meanwhile is found by checkUsers.
func (m *Server) makeUserFirst(ctx context.Context, data string) error {
	port, err := process.FreePort()
	if err != nil {
		return fmt.Errorf("start mongo: %w", err)
	}
	if err := m.launch(ctx, data, process.Loopback(port), nil); err != nil {
		return err
	}
	return m.Child.Stop(ctx)
}

// makeUser makes the only user. MongoDB lets a client of loopback make the first user, and nobody
// make a second one without the first: a stranger who was faster makes the start fail.
func (m *Server) makeUser(ctx context.Context, client *mongo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	command := bson.D{{Key: "createUser", Value: loginUser}, {Key: "pwd", Value: m.login.password},
		{Key: "roles", Value: bson.A{"root"}}}
	if err := client.Database("admin").RunCommand(ctx, command).Err(); err != nil {
		return fmt.Errorf("make MongoDB's only user: %w", err)
	}
	m.login.made = true
	return nil
}

// checkUsers refuses a server with more users than one. Of the stand-ins one lists users by the
// command alone, the other by the collection alone.
func (m *Server) checkUsers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	admin := m.client.Database("admin")
	var listed struct{ Users []bson.Raw }
	command := bson.D{{Key: "usersInfo", Value: bson.D{{Key: "forAllDBs", Value: true}}}}
	if err := admin.RunCommand(ctx, command).Decode(&listed); err != nil {
		return fmt.Errorf("list MongoDB's users: %w", err)
	}
	stored, err := admin.Collection("system.users").CountDocuments(ctx, bson.D{})
	if err != nil {
		return fmt.Errorf("list MongoDB's users: %w", err)
	}
	if users := max(len(listed.Users), int(stored)); users != 1 {
		return fmt.Errorf("MongoDB has %d users, and the lab made one", users)
	}
	return nil
}
