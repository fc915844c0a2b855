package documents

import (
	"crypto/tls"
	"flag"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/cdclab/cdclab/consumer/settings"
	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/shown"
)

// Config says how MongoDB is reached, and how long tombstones stay.
type Config struct {
	URI          string
	Database     string
	CAFile       string          // PEM; CAFile and CertFile turn on TLS, as the URI's tls=true does
	CertFile     string          // PEM, the client's, with its key
	User         string          // SCRAM, in place of the URI's user
	Password     settings.Secret // only from the environment
	PasswordFile string
	InsecureTLS  bool // true if the URI may turn off the check of the server's certificate

	PoolMax        int
	ConnectTimeout time.Duration
	SelectTimeout  time.Duration // waiting for a primary
	Timeout        time.Duration // one bulk write, the driver's own retries included
	TombstoneTTL   time.Duration // must exceed the longest replay: the topics' retention
}

// DefaultConfig is for a server of a lab on this machine.
func DefaultConfig() Config {
	return Config{URI: "mongodb://127.0.0.1:27017", Database: "cdc", PoolMax: 64,
		ConnectTimeout: 2 * time.Second, SelectTimeout: 2 * time.Second, Timeout: 10 * time.Second,
		TombstoneTTL: 14 * 24 * time.Hour}
}

// Flags adds the configuration's flags to f, with the values of c as the defaults.
func (c *Config) Flags(f *flag.FlagSet) {
	f.StringVar(&c.URI, "mongo-uri", c.URI,
		"MongoDB; `uri` with a password: use CDC_CONSUMER_MONGO_URI, not the flag")
	f.StringVar(&c.Database, "database", c.Database, "database of the documents")
	f.StringVar(&c.CAFile, "mongo-ca-file", c.CAFile,
		"PEM `file` of who signs MongoDB's certificate; turns on TLS")
	f.StringVar(&c.CertFile, "mongo-cert-file", c.CertFile,
		"PEM `file` of the consumer's certificate and key for MongoDB; turns on TLS")
	f.StringVar(&c.User, "mongo-user", c.User, "`name` for SCRAM, in place of the one in the URI")
	f.StringVar(&c.PasswordFile, "mongo-password-file", c.PasswordFile,
		"`file` of the password (or CDC_CONSUMER_MONGO_PASSWORD holds it)")
	f.BoolVar(&c.InsecureTLS, "mongo-insecure-tls", c.InsecureTLS,
		"let the URI turn off the check of MongoDB's certificate: whoever is on the way may read "+
			"and change everything")
	f.IntVar(&c.PoolMax, "mongo-pool-max", c.PoolMax, "connections to MongoDB")
	f.DurationVar(&c.ConnectTimeout, "mongo-connect-timeout", c.ConnectTimeout,
		"for one connection")
	f.DurationVar(&c.SelectTimeout, "mongo-select-timeout", c.SelectTimeout,
		"for finding a primary")
	f.DurationVar(&c.Timeout, "mongo-timeout", c.Timeout, "for one bulk write")
	f.DurationVar(&c.TombstoneTTL, "tombstone-ttl", c.TombstoneTTL,
		"how long deletes are remembered; longer than the topics' retention")
}

// Validate returns the errors of the configuration, each beginning with the flag's name.
func (c *Config) Validate() []error {
	var wrong settings.Faults
	for flag, text := range map[string]string{"mongo-uri": c.URI, "database": c.Database} {
		if text == "" {
			wrong.Add(flag, "must not be empty")
		}
	}
	if c.PoolMax < 1 {
		wrong.Add("mongo-pool-max", "%d: must be at least 1", c.PoolMax)
	}
	for flag, d := range map[string]time.Duration{"mongo-timeout": c.Timeout,
		"mongo-connect-timeout": c.ConnectTimeout, "mongo-select-timeout": c.SelectTimeout} {
		if d <= 0 {
			wrong.Add(flag, "%s: must be above 0", d)
		}
	}
	if c.TombstoneTTL < time.Second {
		wrong.Add("tombstone-ttl", "%s: must be at least %s", c.TombstoneTTL, time.Second)
	}
	if c.User != "" {
		wrong.RequirePassword("mongo", c.Password, c.PasswordFile)
	}
	return wrong
}

// clientOptions returns the client's options: a majority acknowledges every write, and every look
// sees a majority's data.
func (c *Config) clientOptions(m *telemetry.Metrics) (*options.ClientOptions, error) {
	o := options.Client().
		ApplyURI(c.URI).
		SetAppName(telemetry.ServiceName).
		SetWriteConcern(writeconcern.Majority()).
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetMaxPoolSize(uint64(c.PoolMax)).
		SetConnectTimeout(c.ConnectTimeout).
		SetServerSelectionTimeout(c.SelectTimeout).
		SetTimeout(c.Timeout)
	if o.Validate() != nil {
		return nil, fmt.Errorf("--mongo-uri: not valid: %s "+
			"(the reason may hold the password: left out)", shown.Address(c.URI))
	}
	if hop.IsInsecure(o) && !c.InsecureTLS {
		return nil, fmt.Errorf("--mongo-uri: %w, or --mongo-ca-file; "+
			"--mongo-insecure-tls takes any certificate all the same", hop.ErrInsecure)
	}
	if c.CAFile != "" || c.CertFile != "" {
		if o.TLSConfig == nil {
			o.SetTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12})
		}
		if err := settings.TrustSigners(o.TLSConfig, "mongo-ca-file", c.CAFile); err != nil {
			return nil, err
		}
		err := settings.PresentCertificate(o.TLSConfig, "mongo-cert-file", c.CertFile, c.CertFile)
		if err != nil {
			return nil, err
		}
	}
	if c.User != "" {
		password, err := settings.ReadPassword("mongo-password-file", c.Password,
			c.PasswordFile)
		if err != nil {
			return nil, err
		}
		var credential options.Credential
		if o.Auth != nil {
			credential = *o.Auth // the source and the mechanism
		}
		credential.Username, credential.Password, credential.PasswordSet = c.User, password, true
		o.SetAuth(credential)
	}
	hop.GuardMongo(o)
	monitor{m}.watchClient(o)
	return o, nil
}
