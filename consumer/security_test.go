package consumer

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/kafka"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// secureLab is a Kafka with TLS, a client's certificate and SASL required, and a configuration with
// all three.
func secureLab(t *testing.T, mechanism string) *kafkaLab {
	t.Helper()
	me := consumertest.NewIdentity(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(1, "cdc.public.customer"),
		kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), "cdc", "geheim"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{me.Pair}, ClientCAs: me.Pool,
			ClientAuth: tls.RequireAndVerifyClientCert}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := DefaultConfig()
	config.Kafka.Brokers = strings.Join(cluster.ListenAddrs(), ",")
	config.Kafka.TLS, config.Kafka.CAFile = true, me.Ca
	config.Kafka.CertFile, config.Kafka.KeyFile = me.Cert, me.Key
	config.Kafka.SASL, config.Kafka.User, config.Kafka.PasswordFile = mechanism, "cdc", password
	config.MetadataMaxAge, config.Output = 300*time.Millisecond, t.Output()
	producer := kafkaClient(t, config)
	return &kafkaLab{&consumertest.Kafka{Cluster: cluster, Producer: producer,
		Admin: kadm.NewClient(producer)}, config}
}

func kafkaClient(t *testing.T, config Config) *kgo.Client {
	t.Helper()
	options, err := config.Kafka.Options()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// TestSecureKafka runs the whole consumer: the group's client and the client of the dead letters.
func TestSecureKafka(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{kafka.SaslPlain, kafka.SaslScram256, kafka.SaslScram512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			lab := secureLab(t, mechanism)
			lab.Produce(t, consumertest.Customer(consumertest.Insert, 1, 1, "a@x"),
				&kgo.Record{Topic: "cdc.public.customer", Key: []byte("{}"),
					Value: []byte("poison")})
			memory := documents.NewMemory()
			r := lab.run(t, memory)
			consumertest.Eventually(t, "both are settled", func() bool {
				return r.sum(t, telemetry.OutcomeApplied) == 1 &&
					r.sum(t, telemetry.OutcomeDeadLetter) == 1
			})
			consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
		})
	}
}

// TestSecureKafkaRefuses: each part of the configuration is needed. This Kafka hangs up on a wrong
// password; a real Kafka says SASL_AUTHENTICATION_FAILED and so ends the process.
func TestSecureKafkaRefuses(t *testing.T) {
	t.Parallel()
	lab := secureLab(t, kafka.SaslPlain)
	wrong := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(wrong, []byte("geheim?"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no TLS":         func(c *Config) { c.Kafka.TLS = false },
		"unknown CA":     func(c *Config) { c.Kafka.CAFile = "" },
		"no certificate": func(c *Config) { c.Kafka.CertFile, c.Kafka.KeyFile = "", "" },
		"no SASL":        func(c *Config) { c.Kafka.SASL = "" },
		"wrong password": func(c *Config) { c.Kafka.PasswordFile = wrong },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := lab.config
			change(&config)
			options, err := config.Kafka.Options()
			if err != nil {
				t.Fatal(err)
			}
			client, err := kgo.NewClient(append(options, kgo.RetryTimeout(time.Second),
				kgo.RequestRetries(1))...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			err = client.Ping(ctx)
			if err == nil || strings.Contains(err.Error(), "geheim") {
				t.Errorf("Kafka said %v", err)
			}
		})
	}
}

func TestKafkaOptionsErrors(t *testing.T) {
	t.Parallel()
	me := consumertest.NewIdentity(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"--kafka-ca-file: no certificate in": func(c *Config) { c.Kafka.CAFile = me.Not },
		"--kafka-ca-file: open":              func(c *Config) { c.Kafka.CAFile = me.Not + "x" },
		"--kafka-cert-file: tls": func(c *Config) {
			c.Kafka.CertFile, c.Kafka.KeyFile = me.Cert, me.Not
		},
		"--kafka-password-file: open": func(c *Config) {
			c.Kafka.SASL, c.Kafka.PasswordFile = kafka.SaslPlain, me.Not+"x"
		},
		"--kafka-password-file: " + empty + " is empty": func(c *Config) {
			c.Kafka.SASL, c.Kafka.PasswordFile = kafka.SaslPlain, empty
		},
		"--kafka-password-file: " + os.DevNull + " is a device": func(c *Config) {
			c.Kafka.SASL, c.Kafka.PasswordFile = kafka.SaslPlain, os.DevNull
		},
	} {
		config := DefaultConfig()
		config.Kafka.TLS = true
		change(&config)
		if _, err := config.Kafka.Options(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
