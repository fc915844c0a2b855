package consumer

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// Config is everything the consumer can be told. Each field is a flag of the program and, where the
// flag is not given, the environment variable CDC_CONSUMER_<FLAG>; but Output is neither, and a
// Secret is only a variable.
type Config struct {
	Brokers         string // Kafka, host:port, several with commas
	Group           string
	Instance        string // static group membership: a restart takes its partitions back at once
	Topics          string // regular expression
	DeadLetterTopic string
	MongoURI        string
	Database        string
	Listen          string // address of /metrics, /healthz and /readyz
	ListenFile      string // where to write the address that was chosen; "" = nowhere
	Specs           string // folder of entity specs; "" = the built-in ones
	LogLevel        string // debug, info, warn, error

	SpecsReload time.Duration // how often that folder is looked at again; 0 = never
	NoValidate  bool          // store without rules
	Epoch       int           // of the positions: raised where the log began anew
	Pprof       bool          // serve /debug/pprof

	BatchMax       int           // records folded into one bulk write, per partition
	QueueMax       int           // records waiting per partition before its fetching pauses
	CommitInterval time.Duration // how often the offsets of acknowledged work are committed
	MetadataMaxAge time.Duration // how soon a new topic is noticed
	SessionTimeout time.Duration // how soon the group gives up a member that was killed
	RecordMaxBytes int           // of one key, value or header
	NestingMax     int           // levels of objects and arrays in a record

	ParkedMax      int           // records of one partition that wait for another row
	ParkedMaxBytes int           // of all partitions together; each may have a 16th whatever others have
	ParkedRetry    time.Duration // between looks for what they wait for

	KafkaTLS          bool
	KafkaCAFile       string // PEM; "" = the system's roots
	KafkaCertFile     string // PEM, the client's, with KafkaKeyFile
	KafkaKeyFile      string
	KafkaSASL         string // plain, scram-sha-256, scram-sha-512; "" = none
	KafkaUser         string
	KafkaPassword     Secret // only from the environment
	KafkaPasswordFile string

	MongoCAFile       string // PEM; it and MongoCertFile turn on TLS, as the URI's tls=true does
	MongoCertFile     string // PEM, the client's, with its key
	MongoUser         string // SCRAM, in place of what the URI says
	MongoPassword     Secret // only from the environment
	MongoPasswordFile string

	OTLPEndpoint string  // where spans go, OTLP over HTTP; "" = nothing is traced
	OTLPHeaders  Secret  // key=value,..., only from OTEL_EXPORTER_OTLP_HEADERS
	TraceRatio   float64 // of the records that carry no trace context of their own

	MongoPoolMax        int
	MongoConnectTimeout time.Duration
	MongoSelectTimeout  time.Duration // waiting for a primary
	MongoTimeout        time.Duration // one bulk write, the driver's own retries included
	TombstoneTTL        time.Duration // must exceed the longest replay: the topics' retention

	RetryMin        time.Duration // first back-off of a partition after a transient error
	RetryMax        time.Duration
	ShutdownTimeout time.Duration // for the batches in flight; then they are left uncommitted

	Output io.Writer // of the log
}

// DefaultConfig is a consumer of a lab on this machine.
func DefaultConfig() Config {
	return Config{
		Brokers:             "127.0.0.1:9092",
		Group:               "cdclab",
		Topics:              `^cdc\.public\..*`,
		DeadLetterTopic:     "cdc.dead-letter",
		MongoURI:            "mongodb://127.0.0.1:27017",
		Database:            "cdc",
		Listen:              "127.0.0.1:0",
		LogLevel:            "info",
		SpecsReload:         time.Second,
		RecordMaxBytes:      debezium.DefaultMaxBytes,
		NestingMax:          debezium.DefaultMaxDepth,
		ParkedMax:           10_000,
		ParkedMaxBytes:      32 << 20,
		ParkedRetry:         250 * time.Millisecond,
		TraceRatio:          0.01,
		BatchMax:            500,
		QueueMax:            500,
		CommitInterval:      200 * time.Millisecond,
		MetadataMaxAge:      2 * time.Second,
		SessionTimeout:      6 * time.Second,
		MongoPoolMax:        64,
		MongoConnectTimeout: 2 * time.Second,
		MongoSelectTimeout:  2 * time.Second,
		MongoTimeout:        10 * time.Second,
		TombstoneTTL:        14 * 24 * time.Hour,
		RetryMin:            50 * time.Millisecond,
		RetryMax:            2 * time.Second,
		ShutdownTimeout:     3 * time.Second,
		Output:              os.Stderr,
	}
}

func (c *Config) flags() *flag.FlagSet {
	f := flag.NewFlagSet("consumer", flag.ContinueOnError)
	f.StringVar(&c.Brokers, "brokers", c.Brokers, "Kafka brokers, `host:port`, several with commas")
	f.StringVar(&c.Group, "group", c.Group, "consumer group")
	f.StringVar(&c.Instance, "instance", c.Instance,
		"static membership: a restarted consumer of this `name` takes its partitions back at once")
	f.StringVar(&c.Topics, "topics", c.Topics, "`regexp` of the topics")
	f.StringVar(&c.DeadLetterTopic, "dead-letter-topic", c.DeadLetterTopic,
		"`topic` for records that can never be written")
	f.StringVar(&c.MongoURI, "mongo-uri", c.MongoURI,
		"MongoDB; `uri` with a password: use CDC_CONSUMER_MONGO_URI, not the flag")
	f.StringVar(&c.Database, "database", c.Database, "database of the documents")
	f.StringVar(&c.Listen, "listen", c.Listen, "`address` of /metrics, /healthz and /readyz")
	f.StringVar(&c.ListenFile, "listen-file", c.ListenFile, "`file` to write that address to")
	f.StringVar(&c.Specs, "specs", c.Specs, "`folder` of entity specs instead of the built-in ones")
	f.DurationVar(&c.SpecsReload, "specs-reload", c.SpecsReload,
		"how often --specs is looked at again; 0 = never")
	f.BoolVar(&c.NoValidate, "no-validate", c.NoValidate, "store without rules")
	f.IntVar(&c.Epoch, "epoch", c.Epoch,
		"of the positions, 0 to 65535: raise it after PostgreSQL was restored or failed over")
	f.BoolVar(&c.Pprof, "pprof", c.Pprof, "serve /debug/pprof besides /metrics")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	f.IntVar(&c.BatchMax, "batch-max", c.BatchMax, "records in one bulk write of a partition")
	f.IntVar(&c.QueueMax, "queue-max", c.QueueMax, "waiting records that pause a partition's fetching")
	f.DurationVar(&c.CommitInterval, "commit-interval", c.CommitInterval,
		"how often the offsets of acknowledged work are committed")
	f.DurationVar(&c.MetadataMaxAge, "metadata-max-age", c.MetadataMaxAge,
		"how soon a new topic is noticed")
	f.DurationVar(&c.SessionTimeout, "session-timeout", c.SessionTimeout,
		"how soon the group gives up a member that was killed")
	f.IntVar(&c.RecordMaxBytes, "record-max-bytes", c.RecordMaxBytes,
		"of one key, value or header; more is a dead letter")
	f.IntVar(&c.NestingMax, "nesting-max", c.NestingMax, "levels in a record; more is a dead letter")
	f.IntVar(&c.ParkedMax, "parked-max", c.ParkedMax,
		"records of a partition that wait for another row; more hold it up")
	f.IntVar(&c.ParkedMaxBytes, "parked-max-bytes", c.ParkedMaxBytes,
		"of such records in all partitions; a 16th of it each partition may have whatever others have")
	f.DurationVar(&c.ParkedRetry, "parked-retry", c.ParkedRetry,
		"between looks for the rows they wait for")
	f.IntVar(&c.MongoPoolMax, "mongo-pool-max", c.MongoPoolMax, "connections to MongoDB")
	f.DurationVar(&c.MongoConnectTimeout, "mongo-connect-timeout", c.MongoConnectTimeout,
		"for one connection")
	f.DurationVar(&c.MongoSelectTimeout, "mongo-select-timeout", c.MongoSelectTimeout,
		"for finding a primary")
	f.DurationVar(&c.MongoTimeout, "mongo-timeout", c.MongoTimeout, "for one bulk write")
	f.DurationVar(&c.TombstoneTTL, "tombstone-ttl", c.TombstoneTTL,
		"how long deletes are remembered; longer than the topics' retention")
	f.DurationVar(&c.RetryMin, "retry-min", c.RetryMin, "first back-off after a transient error")
	f.DurationVar(&c.RetryMax, "retry-max", c.RetryMax, "longest back-off after a transient error")
	f.DurationVar(&c.ShutdownTimeout, "shutdown-timeout", c.ShutdownTimeout,
		"for the batches in flight when asked to stop")
	c.securityFlags(f)
	f.StringVar(&c.OTLPEndpoint, "otlp-endpoint", c.OTLPEndpoint,
		"`url` for traces, OTLP over HTTP (default $OTEL_EXPORTER_OTLP_ENDPOINT; none: no traces)")
	f.Float64Var(&c.TraceRatio, "trace-ratio", c.TraceRatio,
		"0 to 1, of the records without a trace context")
	return f
}

// ParseConfig reads the program's arguments over DefaultConfig, and the environment (getenv is
// os.Getenv) for the flags that are not among them. usage receives the help text. The error is
// flag.ErrHelp after -h, else it names the flag or the variable that is wrong.
func ParseConfig(args []string, getenv func(string) string, usage io.Writer) (Config, error) {
	c := DefaultConfig()
	f := c.flags()
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		f.SetOutput(usage)
		f.PrintDefaults()
		return Config{}, err
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the flags: %w", err)
	}
	if f.NArg() > 0 {
		return Config{}, fmt.Errorf("read the flags: %q is not a flag", f.Arg(0))
	}
	given := map[string]bool{}
	f.Visit(func(one *flag.Flag) { given[one.Name] = true })
	f.VisitAll(func(one *flag.Flag) {
		name := "CDC_CONSUMER_" + strings.ToUpper(strings.ReplaceAll(one.Name, "-", "_"))
		value := getenv(name)
		if value == "" || given[one.Name] {
			return
		}
		if set := f.Set(one.Name, value); set != nil {
			err = errors.Join(err, fmt.Errorf("read %s: %w", name, set))
		}
	})
	if err != nil {
		return Config{}, err
	}
	c.secrets(getenv)
	if c.OTLPEndpoint == "" {
		c.OTLPEndpoint = getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	return c, c.validate()
}

// faults collects what is wrong with the flags.
type faults []error

func (f *faults) add(flag, format string, args ...any) {
	*f = append(*f, fmt.Errorf("--%s: "+format, append([]any{flag}, args...)...))
}

func (c *Config) validate() error {
	var wrong faults
	for flag, text := range map[string]string{"brokers": c.Brokers, "group": c.Group,
		"topics": c.Topics, "dead-letter-topic": c.DeadLetterTopic, "mongo-uri": c.MongoURI,
		"database": c.Database, "listen": c.Listen} {
		if text == "" {
			wrong.add(flag, "must not be empty")
		}
	}
	if topics, err := regexp.Compile(c.Topics); err != nil {
		wrong.add("topics", "%w", err)
	} else if c.Topics != "" && topics.MatchString(c.DeadLetterTopic) {
		wrong.add("topics", "matches the dead-letter topic %s: each dead letter would come back",
			c.DeadLetterTopic)
	}
	for flag, number := range map[string]int{"batch-max": c.BatchMax,
		"mongo-pool-max": c.MongoPoolMax, "record-max-bytes": c.RecordMaxBytes,
		"nesting-max": c.NestingMax, "parked-max": c.ParkedMax,
		"parked-max-bytes": c.ParkedMaxBytes} {
		if number < 1 {
			wrong.add(flag, "%d: must be at least 1", number)
		}
	}
	if c.QueueMax < c.BatchMax {
		wrong.add("queue-max", "%d: must be at least --batch-max (%d)", c.QueueMax, c.BatchMax)
	}
	if c.Epoch < 0 || c.Epoch > math.MaxUint16 {
		wrong.add("epoch", "%d: must be 0 to %d", c.Epoch, math.MaxUint16)
	}
	c.validateTimes(&wrong)
	c.validateSecurity(&wrong)
	c.validateTracing(&wrong)
	slices.SortFunc(wrong, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(wrong...)
}

func (c *Config) validateTimes(wrong *faults) {
	for flag, d := range map[string]time.Duration{"mongo-timeout": c.MongoTimeout,
		"mongo-connect-timeout": c.MongoConnectTimeout, "retry-min": c.RetryMin,
		"mongo-select-timeout": c.MongoSelectTimeout, "shutdown-timeout": c.ShutdownTimeout,
		"parked-retry": c.ParkedRetry} {
		if d <= 0 {
			wrong.add(flag, "%s: must be above 0", d)
		}
	}
	for flag, limit := range map[string]struct{ is, least time.Duration }{
		"commit-interval":  {c.CommitInterval, commitIntervalMin},
		"metadata-max-age": {c.MetadataMaxAge, metadataMinAge},
		"tombstone-ttl":    {c.TombstoneTTL, time.Second},
	} {
		if limit.is < limit.least {
			wrong.add(flag, "%s: must be at least %s", limit.is, limit.least)
		}
	}
	if c.RetryMax < c.RetryMin {
		wrong.add("retry-max", "%s: must be at least --retry-min (%s)", c.RetryMax, c.RetryMin)
	}
	if c.SessionTimeout < 6*time.Second {
		wrong.add("session-timeout", "%s: Kafka's brokers refuse less than 6s", c.SessionTimeout)
	}
	if c.SpecsReload != 0 && c.SpecsReload < specsReloadMin {
		wrong.add("specs-reload", "%s: must be 0 or at least %s", c.SpecsReload, specsReloadMin)
	}
}

func (c *Config) registry() (*entity.Registry, error) {
	if c.Specs == "" {
		return entity.Default(), nil
	}
	registry, err := entity.Load(os.DirFS(c.Specs))
	if err != nil {
		return nil, fmt.Errorf("--specs %s: %w", c.Specs, err)
	}
	return registry, nil
}

// backoff doubles from RetryMin to RetryMax. It has no jitter: partitions that wait for the same
// server are few, and a run must be repeatable.
func (c *Config) backoff(attempt int) time.Duration {
	d := c.RetryMin
	for range attempt {
		if d *= 2; d >= c.RetryMax {
			return c.RetryMax
		}
	}
	return d
}
