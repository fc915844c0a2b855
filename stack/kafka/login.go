package kafka

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Mechanism is how clients say who they are. A listener of loopback has no TLS, and this mechanism
// does not show the password.
const Mechanism = "SCRAM-SHA-256"

// Login is the name and the random password of all clients of a broker, because every user of the
// machine reaches the loopback address; the zero value is a broker that asks for none.
type Login struct{ User, Password string }

func newLogin() Login { return Login{"cdclab", rand.Text()} }

// Options are the options of a client with the Login.
func (l Login) Options() []kgo.Opt {
	if l.User == "" {
		return nil
	}
	return []kgo.Opt{kgo.SASL(scram.Sha256(func(context.Context) (scram.Auth, error) {
		return scram.Auth{User: l.User, Pass: l.Password}, nil
	}))}
}

// Environment fills in the Login of broker.properties and worker.properties.
func (l Login) Environment() []string {
	return []string{"CDC_KAFKA_USER=" + l.User, "CDC_KAFKA_PASSWORD=" + l.Password}
}

// ConsumerSettings are the consumer's variables for the Login, in place of a person's; none for the
// zero value.
func (l Login) ConsumerSettings() []string {
	if l.User == "" {
		return nil
	}
	return []string{
		"CDC_CONSUMER_KAFKA_SASL=" + strings.ToLower(Mechanism),
		"CDC_CONSUMER_KAFKA_USER=" + l.User, "CDC_CONSUMER_KAFKA_PASSWORD=" + l.Password,
		"CDC_CONSUMER_KAFKA_PASSWORD_FILE=", "CDC_CONSUMER_KAFKA_TLS=false",
		"CDC_CONSUMER_KAFKA_CA_FILE=", "CDC_CONSUMER_KAFKA_CERT_FILE=",
		"CDC_CONSUMER_KAFKA_KEY_FILE=",
	}
}
