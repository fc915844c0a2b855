package consumer

import (
	"errors"
	"flag"
	"io"
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
		config.Database != DefaultConfig().Database {
		t.Errorf("got %+v", config)
	}
}

func TestParseConfigErrors(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--nonsense":                          "-nonsense",
		"extra":                               `"extra" is not a flag`,
		"--batch-max=many":                    "-batch-max",
		"--batch-max=0":                       "--batch-max: 0: must be at least 1",
		"--topics=(":                          "--topics: error parsing regexp",
		"--topics=^cdc":                       "matches the dead-letter topic",
		"--mongo-uri=":                        "--mongo-uri: must not be empty",
		"--queue-max=1":                       "--queue-max: 1: must be at least --batch-max",
		"--retry-min=0s":                      "--retry-min: 0s: must be above 0",
		"--retry-max=1ms":                     "--retry-max: 1ms",
		"--session-timeout=1s":                "--session-timeout: 1s",
		"--metadata-max-age=1ms":              "--metadata-max-age: 1ms",
		"--tombstone-ttl=1ms":                 "--tombstone-ttl: 1ms",
		"--group= --listen=":                  "--group: must not be empty\n--listen: must not be empty",
		"--commit-interval=-1s":               "--commit-interval: -1s",
		"--dead-letter-topic=cdc.public.dead": "matches the dead-letter topic",
	} {
		_, err := ParseConfig(strings.Fields(args), func(string) string { return "" }, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
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
		"--mongo-uri": func(c *Config) { c.MongoURI = "mongodb://user:sec@ret@host" },
		"--topics":    func(c *Config) { c.Topics = "(" },
	} {
		config := DefaultConfig()
		config.Output = io.Discard
		change(&config)
		_, err := New(config)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "ret") &&
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
		if got := config.backoff(attempt); got != want {
			t.Errorf("attempt %d waits %v, want %v", attempt, got, want)
		}
	}
}
