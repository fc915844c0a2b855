package consumer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/consumer/entity"
)

// identity is a certificate of 127.0.0.1, who signed it, and the files of both.
type identity struct {
	pair                     tls.Certificate
	pool                     *x509.CertPool
	ca, cert, key, both, not string // not is a file without a certificate
}

func newIdentity(t *testing.T) *identity {
	t.Helper()
	signer := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	signerKey, ca, _ := certify(t, signer, signer, nil)
	_, text, private := certify(t, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"},
		NotBefore: signer.NotBefore, NotAfter: signer.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, signer, signerKey)
	i := &identity{pool: x509.NewCertPool()}
	var err error
	if i.pair, err = tls.X509KeyPair(text, private); err != nil {
		t.Fatal(err)
	}
	i.pool.AppendCertsFromPEM(ca)
	folder := t.TempDir()
	for path, text := range map[*string][]byte{&i.ca: ca, &i.cert: text, &i.key: private,
		&i.both: slices.Concat(text, private), &i.not: []byte("nothing")} {
		file, err := os.CreateTemp(folder, "*.pem")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		*path = file.Name()
	}
	return i
}

// certify makes a key and a certificate, both as PEM too. Without a signer's key it signs itself.
func certify(t *testing.T, about, signer *x509.Certificate, by *ecdsa.PrivateKey) (key *ecdsa.PrivateKey, cert,
	private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, about, signer, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// secureLab is a Kafka that wants TLS with a client's certificate, and SASL, and a configuration
// that has them.
func secureLab(t *testing.T, mechanism string) *kafkaLab {
	t.Helper()
	me := newIdentity(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "cdc.public.customer"),
		kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), "cdc", "geheim"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{me.pair}, ClientCAs: me.pool,
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
	config.Brokers = strings.Join(cluster.ListenAddrs(), ",")
	config.KafkaTLS, config.KafkaCAFile = true, me.ca
	config.KafkaCertFile, config.KafkaKeyFile = me.cert, me.key
	config.KafkaSASL, config.KafkaUser, config.KafkaPasswordFile = mechanism, "cdc", password
	config.MetadataMaxAge, config.Output = 300*time.Millisecond, testLog{t}
	l := &kafkaLab{cluster: cluster, config: config}
	l.producer = kafkaClient(t, config)
	l.admin = kadm.NewClient(l.producer)
	return l
}

func kafkaClient(t *testing.T, config Config) *kgo.Client {
	t.Helper()
	options, err := config.KafkaOptions()
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

// TestSecureKafka runs the whole consumer: the group's client and the one of the dead letters.
func TestSecureKafka(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{saslPlain, saslScram256, saslScram512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			lab := secureLab(t, mechanism)
			lab.produce(t, customer(insert, 1, 1, "a@x"),
				&kgo.Record{Topic: "cdc.public.customer", Key: []byte("{}"), Value: []byte("poison")})
			memory := newMemoryStore()
			r := lab.run(t, memory)
			eventually(t, "both are settled", func() bool {
				return r.sum(t, OutcomeApplied) == 1 && r.sum(t, OutcomeDeadLetter) == 1
			})
			eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
		})
	}
}

// TestSecureKafkaRefuses: each part of the configuration is needed. This Kafka hangs up on a wrong
// password; a real one says SASL_AUTHENTICATION_FAILED, which ends the process.
func TestSecureKafkaRefuses(t *testing.T) {
	t.Parallel()
	lab := secureLab(t, saslPlain)
	wrong := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(wrong, []byte("geheim?"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no TLS":         func(c *Config) { c.KafkaTLS = false },
		"unknown CA":     func(c *Config) { c.KafkaCAFile = "" },
		"no certificate": func(c *Config) { c.KafkaCertFile, c.KafkaKeyFile = "", "" },
		"no SASL":        func(c *Config) { c.KafkaSASL = "" },
		"wrong password": func(c *Config) { c.KafkaPasswordFile = wrong },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := lab.config
			change(&config)
			options, err := config.KafkaOptions()
			if err != nil {
				t.Fatal(err)
			}
			client, err := kgo.NewClient(append(options, kgo.RetryTimeout(time.Second), kgo.RequestRetries(1))...)
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
	me := newIdentity(t)
	for want, change := range map[string]func(*Config){
		"--kafka-ca-file: no certificate in": func(c *Config) { c.KafkaCAFile = me.not },
		"--kafka-ca-file: open":              func(c *Config) { c.KafkaCAFile = me.not + "x" },
		"--kafka-cert-file: tls":             func(c *Config) { c.KafkaCertFile, c.KafkaKeyFile = me.cert, me.not },
		"--kafka-password-file: open":        func(c *Config) { c.KafkaSASL, c.KafkaPasswordFile = saslPlain, me.not+"x" },
		"--kafka-password-file: " + os.DevNull + " is empty": func(c *Config) {
			c.KafkaSASL, c.KafkaPasswordFile = saslPlain, os.DevNull
		},
	} {
		config := DefaultConfig()
		config.KafkaTLS = true
		change(&config)
		if _, err := config.KafkaOptions(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestSecureMongo wants a stand-in with TLS and SCRAM: users are made without, then it is started
// again.
func TestSecureMongo(t *testing.T) {
	t.Parallel()
	for _, s := range servers {
		if !strings.HasPrefix(s.kind, "secantusd") {
			continue
		}
		t.Run(s.kind, func(t *testing.T) {
			t.Parallel()
			program, err := s.find()
			if err != nil {
				t.Skip(err)
			}
			secureMongo(t, program)
		})
	}
}

func secureMongo(t *testing.T, program string) {
	me, folder := newIdentity(t), t.TempDir()
	plainly := DefaultConfig()
	plainly.Database = freshDatabase(t)
	var end func()
	plainly.MongoURI, end = startMongo(t, program, folder)
	m := openTestMongo(t, plainly)
	err := m.client.Database("admin").RunCommand(context.Background(), bson.D{{Key: "createUser", Value: "cdc"},
		{Key: "pwd", Value: "geheim"}, {Key: "roles", Value: bson.A{"root"}}}).Err()
	if err != nil {
		t.Fatal(err)
	}
	m.close(context.Background())
	end()
	config := plainly
	config.MongoURI, end = startMongo(t, program, folder, "--auth", "--tls-cert-file", me.cert, "--tls-key-file", me.key,
		"--tls-ca-file", me.ca, "--tls-require-client-cert")
	defer end()
	config.MongoUser, config.MongoPassword = "cdc", "geheim"
	config.MongoCAFile, config.MongoCertFile = me.ca, me.both
	m = openTestMongo(t, config)
	outcomes := m.apply(context.Background(), oneWrite())
	if outcomes[0].err != nil {
		t.Errorf("a write with TLS and SCRAM: %v", outcomes[0].err)
	}
	for name, change := range map[string]func(*Config){
		"no CA":          func(c *Config) { c.MongoCAFile = "" },
		"no certificate": func(c *Config) { c.MongoCertFile = "" },
		"no user":        func(c *Config) { c.MongoUser = "" },
		"wrong password": func(c *Config) { c.MongoPassword = "geheim?" },
	} {
		wrong := config
		wrong.MongoSelectTimeout, wrong.MongoTimeout = time.Second, 2*time.Second
		change(&wrong)
		m := openTestMongo(t, wrong)
		err := m.apply(context.Background(), oneWrite())[0].err
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: the write says %v", name, err)
		}
	}
}

// oneWrite is a write of a customer.
func oneWrite() []write {
	p := newPipeline()
	p.planner.plan(&p.job, []arrival{{record: customer(insert, 1, 1, "a@x")}})
	d := p.job.drafts[0]
	return []write{{change: d.changes(&held{})[0]}}
}

func openTestMongo(t *testing.T, config Config) *mongoStore {
	t.Helper()
	m, err := openMongo(config, entity.Default(), newMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close(context.Background()) })
	return m
}

// startMongo waits until the port is served.
func startMongo(t *testing.T, program, folder string, more ...string) (uri string, end func()) {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	_, end, err = run("", program, append([]string{"--host", "127.0.0.1", "--port", port, "--storage-path", folder,
		"--sync-on-commit"}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	eventually(t, program+" serves", func() bool {
		connection, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			connection.Close()
		}
		return err == nil
	})
	return "mongodb://127.0.0.1:" + port + "/?directConnection=true", end
}

func TestMongoOptions(t *testing.T) {
	t.Parallel()
	me := newIdentity(t)
	for want, change := range map[string]func(*Config){
		"--mongo-ca-file: no certificate": func(c *Config) { c.MongoCAFile = me.not },
		"--mongo-cert-file: tls":          func(c *Config) { c.MongoCertFile = me.cert }, // without its key
		"--mongo-password-file: open":     func(c *Config) { c.MongoUser, c.MongoPasswordFile = "u", me.not+"x" },
		"--mongo-uri: not valid": func(c *Config) {
			c.MongoURI = "mongodb://h/?tlsCertificateKeyFilePassword=geheim&maxPoolSize=x"
		},
	} {
		config := DefaultConfig()
		change(&config)
		if _, err := mongoOptions(config, newMetrics()); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v, want %q and no secret", err, want)
		}
	}
	config := DefaultConfig()
	config.MongoURI = "mongodb://" + url.UserPassword("other", "x").String() +
		"@h/?authSource=users&readPreference=secondary&tls=true"
	config.MongoUser, config.MongoPassword = "cdc", "geheim"
	o, err := mongoOptions(config, newMetrics())
	if err != nil {
		t.Fatal(err)
	}
	if o.Auth.Username != "cdc" || o.Auth.Password != "geheim" || o.Auth.AuthSource != "users" || o.TLSConfig == nil {
		t.Errorf("the credential is %s of %s", o.Auth.Username, o.Auth.AuthSource)
	}
	if o.ReadConcern.Level != "majority" || o.WriteConcern.W != "majority" || o.ReadPreference.Mode() != 1 {
		t.Error("not a majority of the primary's")
	}
	if _, err := mongo.Connect(o); err != nil {
		t.Error(err)
	}
}
