package documents

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/servertest"
)

// TestSecureMongo wants servers with TLS and SCRAM: a user is made on a server without, whose data
// the secure server then has.
func TestSecureMongo(t *testing.T) {
	t.Parallel()
	for _, s := range servertest.Mongos(t) {
		if strings.HasPrefix(s.Kind, "secantusd") {
			t.Run(s.Kind, func(t *testing.T) {
				t.Parallel()
				secureMongo(t, s.Own(t, mongodb.Options{}))
			})
		}
	}
}

func secureMongo(t *testing.T, server *mongodb.Server) {
	me := consumertest.NewIdentity(t)
	plainly := DefaultConfig()
	plainly.URI, plainly.Database = server.URI(), servertest.MongoDatabase(t)
	m := openTestMongo(t, plainly)
	err := m.client.Database("admin").RunCommand(context.Background(),
		bson.D{{Key: "createUser", Value: "cdc"},
			{Key: "pwd", Value: "geheim"}, {Key: "roles", Value: bson.A{"root"}}}).Err()
	if err != nil {
		t.Fatal(err)
	}
	m.Close(context.Background())
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	secure, err := server.With(mongodb.Options{
		Flags: []string{"--auth", "--tls-cert-file", me.Cert, "--tls-key-file", me.Key,
			"--tls-ca-file", me.Ca, "--tls-require-client-cert"},
		User: url.UserPassword("cdc", "geheim"),
		Query: url.Values{"tls": {"true"}, "tlsCAFile": {me.Ca},
			"tlsCertificateKeyFile": {me.Both}}})
	if err == nil {
		err = secure.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { secure.Close(context.Background()) })
	config := plainly
	address, err := url.Parse(secure.URI())
	if err != nil {
		t.Fatal(err)
	}
	config.URI = "mongodb://" + address.Host + "/?directConnection=true"
	config.User, config.Password = "cdc", "geheim"
	config.CAFile, config.CertFile = me.Ca, me.Both
	m = openTestMongo(t, config)
	outcomes := m.Apply(context.Background(), oneWrite())
	if outcomes[0].Err != nil {
		t.Errorf("a write with TLS and SCRAM: %v", outcomes[0].Err)
	}
	for name, change := range map[string]func(*Config){
		"no CA":          func(c *Config) { c.CAFile = "" },
		"no certificate": func(c *Config) { c.CertFile = "" },
		"no user":        func(c *Config) { c.User = "" },
		"wrong password": func(c *Config) { c.Password = "geheim?" },
	} {
		wrong := config
		wrong.SelectTimeout, wrong.Timeout = time.Second, 2*time.Second
		change(&wrong)
		m := openTestMongo(t, wrong)
		err := m.Apply(context.Background(), oneWrite())[0].Err
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: the write says %v", name, err)
		}
	}
}

// oneWrite is a write of a customer.
func oneWrite() []Write {
	w := row(consumertest.UUID(1), 1, consumertest.Insert, set("email", "a@x"))
	w.Spec, w.Place = specOf("customer"), Place{Collection: "customers", ID: consumertest.UUID(1)}
	return []Write{w}
}

func openTestMongo(t *testing.T, config Config) *Mongo {
	t.Helper()
	m, err := Open(config, entity.Default(), telemetry.NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(context.Background()) })
	return m
}

func TestMongoOptions(t *testing.T) {
	t.Parallel()
	me := consumertest.NewIdentity(t)
	for want, change := range map[string]func(*Config){
		"--mongo-ca-file: no certificate": func(c *Config) { c.CAFile = me.Not },
		"--mongo-cert-file: tls": func(c *Config) {
			c.CertFile = me.Cert
		}, // without its key
		"--mongo-password-file: open": func(c *Config) {
			c.User, c.PasswordFile = "u", me.Not+"x"
		},
		"--mongo-uri: not valid": func(c *Config) {
			c.URI = "mongodb://h/?tlsCertificateKeyFilePassword=geheim&maxPoolSize=x"
		},
		"--mongo-uri: the address turns off the check": func(c *Config) {
			c.URI = "mongodb://u:geheim@h/?tls=true&tlsInsecure=true"
		},
	} {
		config := DefaultConfig()
		change(&config)
		if _, err := config.clientOptions(telemetry.NewMetrics()); err == nil ||
			!strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v, want %q and no secret", err, want)
		}
	}
	config := DefaultConfig()
	config.URI = "mongodb://" + url.UserPassword("other", "x").String() +
		"@h/?authSource=users&readPreference=secondary&tls=true"
	config.User, config.Password = "cdc", "geheim"
	o, err := config.clientOptions(telemetry.NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	if o.Auth.Username != "cdc" || o.Auth.Password != "geheim" || o.Auth.AuthSource != "users" ||
		o.TLSConfig == nil {
		t.Errorf("the credential is %s of %s", o.Auth.Username, o.Auth.AuthSource)
	}
	if o.ReadConcern.Level != "majority" || o.WriteConcern.W != "majority" ||
		o.ReadPreference.Mode() != 1 {
		t.Error("not a majority of the primary's")
	}
	if _, err := mongo.Connect(o); err != nil {
		t.Error(err)
	}
	config = DefaultConfig()
	config.URI, config.InsecureTLS = "mongodb://h/?tls=true&tlsInsecure=true", true
	if _, err := config.clientOptions(telemetry.NewMetrics()); err != nil {
		t.Errorf("an insecure address with its flag: %v", err)
	}
	config = DefaultConfig()
	config.URI = "mongodb://u:x@h/?authMechanism=PLAIN&authSource=$external"
	config.User, config.Password = "cdc", "geheim"
	if o, err = config.clientOptions(telemetry.NewMetrics()); err != nil || o.Dialer == nil {
		t.Errorf("PLAIN without TLS may go to any machine: %v", err)
	}
}
