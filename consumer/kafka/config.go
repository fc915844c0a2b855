// Package kafka is how the consumer's clients reach Kafka, read whole topics, and mark errors. The
// consumer group is not here, but in package consumer. Start reading at Config, then Read.
package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/cdclab/cdclab/consumer/settings"
	"github.com/cdclab/cdclab/hop"
)

// Config says how Kafka is reached.
type Config struct {
	Brokers      string // host:port, several with commas
	TLS          bool   // true if the brokers speak TLS
	CAFile       string // PEM; "" = the system's roots
	CertFile     string // PEM, the client's, with KeyFile
	KeyFile      string
	SASL         string // plain, scram-sha-256, scram-sha-512; "" = none
	User         string
	Password     settings.Secret // only from the environment
	PasswordFile string
}

// The values of --kafka-sasl.
const (
	SaslPlain    = "plain"
	SaslScram256 = "scram-sha-256"
	SaslScram512 = "scram-sha-512"
)

// Flags adds the configuration's flags to f, with the values of c as the defaults.
func (c *Config) Flags(f *flag.FlagSet) {
	f.StringVar(&c.Brokers, "brokers", c.Brokers, "Kafka brokers, `host:port`, several with commas")
	f.BoolVar(&c.TLS, "kafka-tls", c.TLS, "TLS to Kafka")
	f.StringVar(&c.CAFile, "kafka-ca-file", c.CAFile,
		"PEM `file` of who signs the brokers' certificates (default the system's)")
	f.StringVar(&c.CertFile, "kafka-cert-file", c.CertFile,
		"PEM `file` of the consumer's certificate for Kafka")
	f.StringVar(&c.KeyFile, "kafka-key-file", c.KeyFile, "PEM `file` of its key")
	f.StringVar(&c.SASL, "kafka-sasl", c.SASL, "`mechanism`: plain, scram-sha-256 or scram-sha-512")
	f.StringVar(&c.User, "kafka-user", c.User, "`name` for it")
	f.StringVar(&c.PasswordFile, "kafka-password-file", c.PasswordFile,
		"`file` of the password (or CDC_CONSUMER_KAFKA_PASSWORD holds it)")
}

// Validate returns the errors of the configuration, each beginning with the flag's name.
func (c *Config) Validate() []error {
	var wrong settings.Faults
	if c.Brokers == "" {
		wrong.Add("brokers", "must not be empty")
	} else if err := c.checkBrokers(); err != nil {
		wrong = append(wrong, err)
	}
	for flag, file := range map[string]string{"kafka-ca-file": c.CAFile,
		"kafka-cert-file": c.CertFile, "kafka-key-file": c.KeyFile} {
		if file != "" && !c.TLS {
			wrong.Add(flag, "needs --kafka-tls")
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		wrong.Add("kafka-cert-file", "goes with --kafka-key-file")
	}
	switch c.SASL {
	case "":
		if c.User != "" {
			wrong.Add("kafka-user", "needs --kafka-sasl")
		}
	case SaslPlain, SaslScram256, SaslScram512:
		if c.User == "" {
			wrong.Add("kafka-sasl", "needs --kafka-user")
		}
		wrong.RequirePassword("kafka", c.Password, c.PasswordFile)
	default:
		wrong.Add("kafka-sasl", "%q: must be %s, %s or %s", c.SASL, SaslPlain, SaslScram256,
			SaslScram512)
	}
	if c.SASL == SaslPlain && !c.TLS && !onlyLoopback(c.Brokers) {
		wrong.Add("kafka-sasl", "plain would show the password on the network: needs --kafka-tls")
	}
	return wrong
}

// hostAndPort leaves no room for a user or a password, which errors of connections would repeat.
var hostAndPort = regexp.MustCompile(`^(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$`)

func (c *Config) checkBrokers() error {
	for broker := range strings.SplitSeq(c.Brokers, ",") {
		if !hostAndPort.MatchString(broker) {
			return errors.New("--brokers: want host:port, several with commas")
		}
	}
	return nil
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

// Options returns the options every Kafka client of this configuration needs: brokers, TLS and
// SASL. Options reads the files; the error names the flag, and holds no secret.
func (c *Config) Options() ([]kgo.Opt, error) {
	if err := c.checkBrokers(); err != nil {
		return nil, err
	}
	all := []kgo.Opt{kgo.SeedBrokers(strings.Split(c.Brokers, ",")...)}
	if c.TLS {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if err := settings.TrustSigners(config, "kafka-ca-file", c.CAFile); err != nil {
			return nil, err
		}
		if err := settings.PresentCertificate(config, "kafka-cert-file", c.CertFile,
			c.KeyFile); err != nil {
			return nil, err
		}
		all = append(all, kgo.DialTLSConfig(config))
	}
	if c.SASL == "" {
		return all, nil
	}
	if c.SASL == SaslPlain && !c.TLS {
		all = append(all, kgo.Dialer(hop.DialLoopback)) // a broker may send clients to another
	}
	password, err := settings.ReadPassword("kafka-password-file", c.Password, c.PasswordFile)
	if err != nil {
		return nil, err
	}
	return append(all, kgo.SASL(c.saslMechanism(password))), nil
}

// answerLimit is how long a Kafka may take to answer a new client.
const answerLimit = 5 * time.Second

// Connect returns a client of an answering Kafka, with more options than Options returns.
func (c *Config) Connect(ctx context.Context, more ...kgo.Opt) (*kgo.Client, error) {
	options, err := c.Options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(options, more...)...)
	if err != nil {
		return nil, fmt.Errorf("set up the client of Kafka %s: %w", c.Brokers, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("reach Kafka at %s: %w", c.Brokers, err)
	}
	return client, nil
}

// CountBrokers asks how many brokers the cluster has; 0 means that none answers.
func CountBrokers(ctx context.Context, client *kgo.Client) int {
	brokers, err := kadm.NewClient(client).ListBrokers(ctx) // as the client knows them
	if err == nil {
		err = client.Ping(ctx)
	}
	if err != nil {
		return 0
	}
	return len(brokers)
}

func (c *Config) saslMechanism(password string) sasl.Mechanism {
	user := c.User
	switch c.SASL {
	case SaslScram256:
		return scram.Sha256(func(context.Context) (scram.Auth, error) {
			return scram.Auth{User: user, Pass: password}, nil
		})
	case SaslScram512:
		return scram.Sha512(func(context.Context) (scram.Auth, error) {
			return scram.Auth{User: user, Pass: password}, nil
		})
	default:
		return saslplain.Plain(func(context.Context) (saslplain.Auth, error) {
			return saslplain.Auth{User: user, Pass: password}, nil
		})
	}
}
