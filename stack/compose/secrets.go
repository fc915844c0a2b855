package compose

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/stack/postgres"
)

// Secrets are the passwords of a Project's parts by the names of their files.
type Secrets map[string]string

// Names of secrets, in compose.yaml too.
const (
	postgresPassword  = "postgres_password"
	generatorPassword = "generator_password"
	connectorPassword = "connector_password"
	checkPassword     = "check_password"
	kafkaPassword     = "kafka_password"
	connectPassword   = "connect_password"
	mongoPassword     = "mongo_password"
	mongoKey          = "mongo_key"
	grafanaPassword   = "grafana_password"
	monitorPassword   = "monitor_password"
)

var secretNames = []string{postgresPassword, generatorPassword, connectorPassword, checkPassword,
	kafkaPassword, connectPassword, mongoPassword, mongoKey, grafanaPassword, monitorPassword}

// channels are the files with the addresses of alerts, which a person fills in, and their texts
// until then: nobody is told, because nothing listens at port 9 (discard).
var channels = map[string]string{
	"webhook_url":   "http://127.0.0.1:9/fill-in-stack-compose-secrets-webhook_url",
	"slack_url":     "http://127.0.0.1:9/fill-in-stack-compose-secrets-slack_url",
	"pagerduty_key": "fill-in-stack-compose-secrets-pagerduty_key",
}

// MakeSecrets reads the secrets of a folder and makes missing ones, of letters and digits. The
// folder is for its owner alone; the files are readable, because each container mounts its own and
// runs as another user.
func MakeSecrets(folder string) (Secrets, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the secrets: %w", err)
	}
	if err := os.Chmod(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the secrets: %w", err)
	}
	secrets := Secrets{}
	for _, name := range secretNames {
		path := filepath.Join(folder, name)
		text, err := namedfile.Read(path, namedfile.Small)
		if errors.Is(err, fs.ErrNotExist) {
			text = []byte(rand.Text() + rand.Text()[:6])
			err = os.WriteFile(path, text, 0o444)
		}
		if err != nil {
			return nil, fmt.Errorf("make the secrets: %w", err)
		}
		if secrets[name] = strings.TrimSpace(string(text)); secrets[name] == "" {
			return nil, fmt.Errorf("make the secrets: %s is empty", path)
		}
	}
	for name, text := range map[string][]byte{"k6.env": secrets.forK6(),
		"mongodb-exporter.env": fmt.Appendf(nil, "MONGODB_URI=%s\n",
			secrets.mongoURL("mongo:27017"))} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			return nil, fmt.Errorf("make the secrets: %w", err)
		}
	}
	return secrets, makeChannels(folder)
}

// makeChannels writes the missing files of channels.
func makeChannels(folder string) error {
	for name, text := range channels {
		path := filepath.Join(folder, name)
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.WriteFile(path, []byte(text), 0o444)
		}
		if err != nil {
			return fmt.Errorf("make the secrets: %w", err)
		}
	}
	return nil
}

// forK6 are the addresses of a k6 in a container.
func (s Secrets) forK6() []byte {
	dsn := s.postgresURL(postgres.Generator, "postgres:5432")
	return fmt.Appendf(nil, "CDC_POSTGRES_DSN=%s\nCDC_MONGO_URI=%s\n", dsn,
		s.mongoURL("mongo:27017"))
}

// passwordsOfRoles are the secrets by PostgreSQL's roles.
var passwordsOfRoles = map[string]string{postgres.User: postgresPassword,
	postgres.Generator: generatorPassword, postgres.Connector: connectorPassword,
	postgres.Check: checkPassword}

func (s Secrets) postgresURL(role, address string) string {
	password := s[passwordsOfRoles[role]]
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: address,
		Path: postgres.Database, RawQuery: "sslmode=disable"}
	return u.String()
}

func (s Secrets) mongoURL(address string) string {
	u := url.URL{Scheme: "mongodb", User: url.UserPassword(loginUser, s[mongoPassword]),
		Host: address, Path: "/", RawQuery: "authSource=admin&directConnection=true"}
	return u.String()
}

// loginUser is the only user of Kafka, Connect and MongoDB.
const loginUser = "cdclab"
