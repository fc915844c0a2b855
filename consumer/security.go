package consumer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// Secret is a text that fmt, slog and encoding/json do not show.
type Secret string

const shown = "(secret)"

// Format writes a stand-in, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { f.Write([]byte(shown)) }

// MarshalText writes the stand-in.
func (Secret) MarshalText() ([]byte, error) { return []byte(shown), nil }

// The values of --kafka-sasl.
const (
	saslPlain    = "plain"
	saslScram256 = "scram-sha-256"
	saslScram512 = "scram-sha-512"
)

func (c *Config) securityFlags(f *flag.FlagSet) {
	f.BoolVar(&c.KafkaTLS, "kafka-tls", c.KafkaTLS, "TLS to Kafka")
	f.StringVar(&c.KafkaCAFile, "kafka-ca-file", c.KafkaCAFile,
		"PEM `file` of who signs the brokers' certificates (default the system's)")
	f.StringVar(&c.KafkaCertFile, "kafka-cert-file", c.KafkaCertFile,
		"PEM `file` of the consumer's certificate for Kafka")
	f.StringVar(&c.KafkaKeyFile, "kafka-key-file", c.KafkaKeyFile, "PEM `file` of its key")
	f.StringVar(&c.KafkaSASL, "kafka-sasl", c.KafkaSASL,
		"`mechanism`: plain, scram-sha-256 or scram-sha-512")
	f.StringVar(&c.KafkaUser, "kafka-user", c.KafkaUser, "`name` for it")
	f.StringVar(&c.KafkaPasswordFile, "kafka-password-file", c.KafkaPasswordFile,
		"`file` of the password (or CDC_CONSUMER_KAFKA_PASSWORD holds it)")
	f.StringVar(&c.MongoCAFile, "mongo-ca-file", c.MongoCAFile,
		"PEM `file` of who signs MongoDB's certificate; turns on TLS")
	f.StringVar(&c.MongoCertFile, "mongo-cert-file", c.MongoCertFile,
		"PEM `file` of the consumer's certificate and key for MongoDB; turns on TLS")
	f.StringVar(&c.MongoUser, "mongo-user", c.MongoUser,
		"`name` for SCRAM, in place of the one in the URI")
	f.StringVar(&c.MongoPasswordFile, "mongo-password-file", c.MongoPasswordFile,
		"`file` of the password (or CDC_CONSUMER_MONGO_PASSWORD holds it)")
}

// secrets come from the environment only: arguments can be read by every user of the machine.
func (c *Config) secrets(getenv func(string) string) {
	c.KafkaPassword = Secret(getenv("CDC_CONSUMER_KAFKA_PASSWORD"))
	c.MongoPassword = Secret(getenv("CDC_CONSUMER_MONGO_PASSWORD"))
	c.OTLPHeaders = Secret(getenv("OTEL_EXPORTER_OTLP_HEADERS"))
}

func (c *Config) validateSecurity(wrong *faults) {
	for flag, file := range map[string]string{"kafka-ca-file": c.KafkaCAFile,
		"kafka-cert-file": c.KafkaCertFile, "kafka-key-file": c.KafkaKeyFile} {
		if file != "" && !c.KafkaTLS {
			wrong.add(flag, "needs --kafka-tls")
		}
	}
	if (c.KafkaCertFile == "") != (c.KafkaKeyFile == "") {
		wrong.add("kafka-cert-file", "goes with --kafka-key-file")
	}
	switch c.KafkaSASL {
	case "":
		if c.KafkaUser != "" {
			wrong.add("kafka-user", "needs --kafka-sasl")
		}
	case saslPlain, saslScram256, saslScram512:
		if c.KafkaUser == "" {
			wrong.add("kafka-sasl", "needs --kafka-user")
		}
		wrong.password("kafka", c.KafkaPassword, c.KafkaPasswordFile)
	default:
		wrong.add("kafka-sasl", "%q: must be %s, %s or %s", c.KafkaSASL, saslPlain, saslScram256,
			saslScram512)
	}
	if c.KafkaSASL == saslPlain && !c.KafkaTLS && !onlyLoopback(c.Brokers) {
		wrong.add("kafka-sasl", "plain would show the password on the network: needs --kafka-tls")
	}
	if c.MongoUser != "" {
		wrong.password("mongo", c.MongoPassword, c.MongoPasswordFile)
	}
}

// password wants exactly one of the two sources.
func (f *faults) password(server string, given Secret, file string) {
	variable := "CDC_CONSUMER_" + strings.ToUpper(server) + "_PASSWORD"
	switch {
	case given == "" && file == "":
		f.add(server+"-user", "needs --%s-password-file or %s", server, variable)
	case given != "" && file != "":
		f.add(server+"-password-file", "%s is set, too", variable)
	}
}

func onlyLoopback(brokers string) bool {
	for _, broker := range strings.Split(brokers, ",") {
		host, _, err := net.SplitHostPort(broker)
		if err != nil {
			host = broker
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

// KafkaOptions are what every Kafka client of this configuration needs: brokers, TLS and SASL. It
// reads the files; the error names the flag, and holds no secret.
func (c Config) KafkaOptions() ([]kgo.Opt, error) {
	all := []kgo.Opt{kgo.SeedBrokers(strings.Split(c.Brokers, ",")...)}
	if c.KafkaTLS {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if err := trust(config, "kafka-ca-file", c.KafkaCAFile); err != nil {
			return nil, err
		}
		if err := present(config, "kafka-cert-file", c.KafkaCertFile, c.KafkaKeyFile); err != nil {
			return nil, err
		}
		all = append(all, kgo.DialTLSConfig(config))
	}
	if c.KafkaSASL == "" {
		return all, nil
	}
	password, err := readPassword("kafka-password-file", c.KafkaPassword, c.KafkaPasswordFile)
	if err != nil {
		return nil, err
	}
	return append(all, kgo.SASL(c.kafkaMechanism(password))), nil
}

func (c *Config) kafkaMechanism(password string) sasl.Mechanism {
	user := c.KafkaUser
	switch c.KafkaSASL {
	case saslScram256:
		return scram.Sha256(func(context.Context) (scram.Auth, error) {
			return scram.Auth{User: user, Pass: password}, nil
		})
	case saslScram512:
		return scram.Sha512(func(context.Context) (scram.Auth, error) {
			return scram.Auth{User: user, Pass: password}, nil
		})
	default:
		return saslplain.Plain(func(context.Context) (saslplain.Auth, error) {
			return saslplain.Auth{User: user, Pass: password}, nil
		})
	}
}

// mongoOptions are the client's: every write acknowledged by a majority, and every look sees what a
// majority has.
func mongoOptions(config Config, m *metrics) (*options.ClientOptions, error) {
	o := options.Client().
		ApplyURI(config.MongoURI).
		SetAppName(serviceName).
		SetWriteConcern(writeconcern.Majority()).
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetMaxPoolSize(uint64(config.MongoPoolMax)).
		SetConnectTimeout(config.MongoConnectTimeout).
		SetServerSelectionTimeout(config.MongoSelectTimeout).
		SetTimeout(config.MongoTimeout)
	if err := o.Validate(); err != nil {
		if strings.Contains(config.MongoURI, "@") || strings.Contains(strings.ToLower(config.MongoURI), "password") {
			return nil, errors.New("--mongo-uri: not valid (the reason may hold the password: left out)")
		}
		return nil, fmt.Errorf("--mongo-uri: %w", err)
	}
	if config.MongoCAFile != "" || config.MongoCertFile != "" {
		if o.TLSConfig == nil {
			o.SetTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12})
		}
		if err := trust(o.TLSConfig, "mongo-ca-file", config.MongoCAFile); err != nil {
			return nil, err
		}
		err := present(o.TLSConfig, "mongo-cert-file", config.MongoCertFile, config.MongoCertFile)
		if err != nil {
			return nil, err
		}
	}
	if config.MongoUser != "" {
		password, err := readPassword("mongo-password-file", config.MongoPassword,
			config.MongoPasswordFile)
		if err != nil {
			return nil, err
		}
		var credential options.Credential
		if o.Auth != nil {
			credential = *o.Auth // the source and the mechanism
		}
		credential.Username, credential.Password, credential.PasswordSet = config.MongoUser, password, true
		o.SetAuth(credential)
	}
	m.monitor(o)
	return o, nil
}

// trust has the other side's certificate signed by those in the file, instead of the system's.
func trust(config *tls.Config, flag, file string) error {
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("--%s: no certificate in %s", flag, file)
	}
	return nil
}

// present shows the certificate to the other side.
func present(config *tls.Config, flag, certificate, key string) error {
	if certificate == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}

func readPassword(flag string, given Secret, file string) (string, error) {
	if file == "" {
		return string(given), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", fmt.Errorf("--%s: %s is empty", flag, file)
	}
	return password, nil
}
