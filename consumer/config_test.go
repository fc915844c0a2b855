package consumer

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestParseConfig(t *testing.T) {
	t.Parallel()
	env := map[string]string{"CDC_CONSUMER_GROUP": "from-env", "CDC_CONSUMER_BATCH_MAX": "7"}
	config, err := ParseConfig([]string{"--batch-max", "9", "--retry-max=3s"},
		func(name string) string { return env[name] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if config.Group != "from-env" || config.BatchMax != 9 || config.RetryMax != 3*time.Second ||
		config.Mongo.Database != DefaultConfig().Mongo.Database {
		t.Errorf("got %+v", config)
	}
}

func TestParseConfigErrors(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--nonsense":             "-nonsense",
		"extra":                  `"extra" is not a flag`,
		"--batch-max=many":       "-batch-max",
		"--batch-max=0":          "--batch-max: 0: must be at least 1",
		"--topics=(":             "--topics: error parsing regexp",
		"--topics=^cdc":          "matches the dead-letter topic",
		"--mongo-uri=":           "--mongo-uri: must not be empty",
		"--queue-max=1":          "--queue-max: 1: must be at least --batch-max",
		"--retry-min=0s":         "--retry-min: 0s: must be above 0",
		"--retry-max=1ms":        "--retry-max: 1ms",
		"--session-timeout=1s":   "--session-timeout: 1s",
		"--metadata-max-age=1ms": "--metadata-max-age: 1ms",
		"--tombstone-ttl=1ms":    "--tombstone-ttl: 1ms",
		"--group= --listen=": "--group: must not be empty\n" +
			"--listen: must not be empty",
		"--mongo-ca-file= --specs=": "--mongo-ca-file: must not be empty\n" +
			"--specs: must not be empty",
		"--commit-interval=-1s":               "--commit-interval: -1s",
		"--dead-letter-topic=cdc.public.dead": "matches the dead-letter topic",
		"--epoch=65536":                       "--epoch: 65536: must be 0 to 65535",
		"--epoch=-1":                          "--epoch: -1",
		"--record-max-bytes=0":                "--record-max-bytes: 0: must be at least 1",
		"--nesting-max=0":                     "--nesting-max: 0",
		"--parked-max=0":                      "--parked-max: 0",
		"--held-max-bytes=0":                  "--held-max-bytes: 0",
		"--tables-max=0":                      "--tables-max: 0",
		"--topic-tables=a":                    "topic-tables",
		"--fetch-max-bytes=7":                 "--fetch-max-bytes: 7: must be at least --record",
		"--fetch-max-bytes=99614721":          "must be at most 99614720",
		"--parked-retry=0s":                   "--parked-retry: 0s",
		"--specs-reload=1ms":                  "--specs-reload: 1ms: must be 0 or at least 100ms",
		"--trace-ratio=2":                     "--trace-ratio: 2: must be 0 to 1",
		"--trace-ratio=NaN":                   "--trace-ratio: NaN",
		"--otlp-endpoint=localhost:4317":      "--otlp-endpoint: must be http://",
		"--otlp-endpoint=http://u:geheim@c":   "--otlp-endpoint: must not hold a password",
		"--kafka-ca-file=ca.pem":              "--kafka-ca-file: needs --kafka-tls",
		"--kafka-tls --kafka-key-file=k.pem":  "--kafka-cert-file: goes with --kafka-key-file",
		"--kafka-sasl=kerberos":               `--kafka-sasl: "kerberos": must be plain`,
		"--kafka-sasl=scram-sha-256":          "--kafka-sasl: needs --kafka-user",
		"--kafka-user=u":                      "--kafka-user: needs --kafka-sasl",
		"--kafka-sasl=plain --brokers=k:9092": "needs --kafka-tls",
		"--kafka-sasl=plain --kafka-user=u":   "--kafka-user: needs --kafka-password-file",
		"--mongo-user=u":                      "--mongo-user: needs --mongo-password-file",
		"--kafka-password=geheim":             "flag provided but not defined: -kafka-password",
	} {
		_, err := ParseConfig(strings.Fields(args), func(string) string { return "" }, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v, want %q and no secret", args, err, want)
		}
	}
	bad := func(name string) string {
		return map[string]string{"CDC_CONSUMER_QUEUE_MAX": "lots"}[name]
	}
	if _, err := ParseConfig(nil, bad, io.Discard); err == nil ||
		!strings.Contains(err.Error(), "CDC_CONSUMER_QUEUE_MAX") {
		t.Errorf("a wrong variable: %v", err)
	}
}

// TestSecrets: secrets come from the environment, and nothing shows a secret.
func TestSecrets(t *testing.T) {
	t.Parallel()
	env := map[string]string{"CDC_CONSUMER_KAFKA_PASSWORD": "geheim",
		"OTEL_EXPORTER_OTLP_HEADERS":  "key=geheim",
		"CDC_CONSUMER_MONGO_PASSWORD": "geheim",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
	getenv := func(name string) string { return env[name] }
	args := []string{"--mongo-user=u", "--kafka-user=u", "--kafka-sasl=scram-sha-512"}
	config, err := ParseConfig(args, getenv, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if config.Kafka.Password != "geheim" || config.Mongo.Password != "geheim" ||
		config.Trace.Endpoint != "http://collector:4318" {
		t.Errorf("the environment is not read: %+v", config)
	}
	config.Output = nil
	var log, usage strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", config, "password",
		config.Kafka.Password)
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	ParseConfig([]string{"-h"}, getenv, &usage)
	printed := fmt.Sprintf("%v %+v %#v %s %x %d", config, config, config,
		config.Mongo.Password, config.Mongo.Password, config.Mongo.Password)
	for _, text := range []string{printed, log.String(), usage.String(), string(encoded)} {
		if text == "" || strings.Contains(text, "geheim") ||
			strings.Contains(text, "67656865696d") {
			t.Errorf("a secret in %s", text)
		}
	}
	env["OTEL_EXPORTER_OTLP_HEADERS"] = "geheim"
	if _, err := ParseConfig(nil, getenv, io.Discard); err == nil ||
		strings.Contains(err.Error(), "geheim") {
		t.Errorf("wrong headers: %v", err)
	}
	file := []string{"--mongo-user=u", "--mongo-password-file=f"}
	if _, err := ParseConfig(file, getenv, io.Discard); err == nil ||
		!strings.Contains(err.Error(), "CDC_CONSUMER_MONGO_PASSWORD is set, too") {
		t.Errorf("two passwords: %v", err)
	}
}

func TestParseConfigHelp(t *testing.T) {
	t.Parallel()
	var usage strings.Builder
	_, err := ParseConfig([]string{"-h"}, func(string) string { return "" }, &usage)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(usage.String(), "-mongo-uri") {
		t.Errorf("-h: %v\n%s", err, usage.String())
	}
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"--log-level": func(c *Config) { c.LogLevel = "loud" },
		"--specs":     func(c *Config) { c.Specs = t.TempDir() + "/none" },
		"--mongo-uri": func(c *Config) { c.Mongo.URI = "mongodb://user:sec@ret@host" },
		"--topics":    func(c *Config) { c.Topics = "(" },
	} {
		config := DefaultConfig()
		config.Output = io.Discard
		change(&config)
		_, err := New(config)
		if err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "ret") &&
				want == "--mongo-uri" && strings.Contains(err.Error(), "sec@") {
			t.Errorf("%v, want %q and no secret", err, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	for attempt, want := range map[int]time.Duration{0: 50 * time.Millisecond,
		1: 100 * time.Millisecond, 5: 1600 * time.Millisecond, 6: 2 * time.Second,
		1 << 40: 2 * time.Second} {
		if got := config.backoffBefore(attempt); got != want {
			t.Errorf("attempt %d waits %v, want %v", attempt, got, want)
		}
	}
}
