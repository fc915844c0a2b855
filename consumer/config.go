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

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/kafka"
	"github.com/cdclab/cdclab/consumer/settings"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// Config is everything the consumer can be told. Each field is a flag of the program and, where the
// flag is not given, the environment variable CDC_CONSUMER_<FLAG>; but Output is neither, and a
// Secret is only a variable.
type Config struct {
	Group           string
	Instance        string // static group membership: a restart takes the partitions back at once
	Topics          string // regular expression
	DeadLetterTopic string
	Listen          string // address of /metrics, /healthz and /readyz
	ListenFile      string // where to write the address chosen; "" = nowhere
	Specs           string // folder of entity specs; "" = the built-in ones
	LogLevel        string // debug, info, warn, error

	SpecsReload time.Duration // between two looks at the folder; 0 = never
	Pprof       bool          // serve /debug/pprof

	BatchMax       int           // records folded into one bulk write, per partition
	QueueMax       int           // records waiting per partition before the fetching pauses
	FetchMaxBytes  int           // of a decompressed batch; all of a fetch hardly more
	CommitInterval time.Duration // how often the offsets of acknowledged work are committed
	MetadataMaxAge time.Duration // how soon a new topic is noticed
	SessionTimeout time.Duration // how soon the group gives up a killed member
	ParkedRetry    time.Duration // between looks for the rows parked records wait for

	apply.Config

	Kafka kafka.Config
	Mongo documents.Config
	Trace telemetry.TraceConfig

	RetryMin        time.Duration // first back-off of a partition after a transient error
	RetryMax        time.Duration
	ShutdownTimeout time.Duration // for the batches in flight; the rest stays uncommitted

	Output io.Writer // of the log
}

// DefaultConfig is a consumer of a lab on this machine.
func DefaultConfig() Config {
	return Config{
		Group:           "cdclab",
		Topics:          `^cdc\.public\..*`,
		DeadLetterTopic: "cdc.dead-letter",
		Listen:          "127.0.0.1:0",
		LogLevel:        "info",
		SpecsReload:     time.Second,
		Config:          apply.DefaultConfig(),
		Kafka:           kafka.Config{Brokers: "127.0.0.1:9092"},
		Mongo:           documents.DefaultConfig(),
		Trace:           telemetry.TraceConfig{Ratio: 0.01},
		ParkedRetry:     250 * time.Millisecond,
		BatchMax:        500,
		QueueMax:        500,
		FetchMaxBytes:   64 << 20,
		CommitInterval:  200 * time.Millisecond,
		MetadataMaxAge:  2 * time.Second,
		SessionTimeout:  6 * time.Second,
		RetryMin:        50 * time.Millisecond,
		RetryMax:        2 * time.Second,
		ShutdownTimeout: 3 * time.Second,
		Output:          os.Stderr,
	}
}

func (c *Config) defineFlags() *flag.FlagSet {
	f := flag.NewFlagSet("consumer", flag.ContinueOnError)
	f.StringVar(&c.Group, "group", c.Group, "consumer group")
	f.StringVar(&c.Instance, "instance", c.Instance,
		"static membership: a restarted consumer of this `name` takes its partitions back at once")
	f.StringVar(&c.Topics, "topics", c.Topics, "`regexp` of the topics")
	f.StringVar(&c.DeadLetterTopic, "dead-letter-topic", c.DeadLetterTopic,
		"`topic` for records that can never be written")
	f.StringVar(&c.Listen, "listen", c.Listen, "`address` of /metrics, /healthz and /readyz")
	f.StringVar(&c.ListenFile, "listen-file", c.ListenFile, "`file` to write that address to")
	f.StringVar(&c.Specs, "specs", c.Specs, "`folder` of entity specs instead of the built-in ones")
	f.DurationVar(&c.SpecsReload, "specs-reload", c.SpecsReload,
		"how often --specs is looked at again; 0 = never")
	f.BoolVar(&c.NoValidate, "no-validate", c.NoValidate, "store without rules")
	f.IntVar(&c.Epoch, "epoch", c.Epoch,
		"of the positions, 0 to 65535: raise it after PostgreSQL was restored or failed over")
	f.BoolVar(&c.Pprof, "pprof", c.Pprof, "serve /debug/pprof besides /metrics, "+
		"to this machine's loopback alone")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	f.IntVar(&c.BatchMax, "batch-max", c.BatchMax, "records in one bulk write of a partition")
	f.IntVar(&c.QueueMax, "queue-max", c.QueueMax,
		"waiting records that pause a partition's fetching")
	f.DurationVar(&c.CommitInterval, "commit-interval", c.CommitInterval,
		"how often the offsets of acknowledged work are committed")
	f.DurationVar(&c.MetadataMaxAge, "metadata-max-age", c.MetadataMaxAge,
		"how soon a new topic is noticed")
	f.DurationVar(&c.SessionTimeout, "session-timeout", c.SessionTimeout,
		"how soon the group gives up a member that was killed")
	f.IntVar(&c.RecordMaxBytes, "record-max-bytes", c.RecordMaxBytes,
		"of one key, value or header; more is a dead letter")
	f.IntVar(&c.NestingMax, "nesting-max", c.NestingMax,
		"levels in a record; more is a dead letter")
	f.IntVar(&c.ParkedMax, "parked-max", c.ParkedMax,
		"records of a partition that wait for another row; more hold it up")
	f.IntVar(&c.HeldMaxBytes, "held-max-bytes", c.HeldMaxBytes,
		"of records fetched or parked in all partitions; more pause a partition; "+
			"a 16th of it each partition may have whatever others have")
	f.IntVar(&c.FetchMaxBytes, "fetch-max-bytes", c.FetchMaxBytes,
		"of a batch of a producer, decompressed, at most 95 MiB; "+
			"a larger batch blocks its partition")
	f.IntVar(&c.TablesMax, "tables-max", c.TablesMax,
		"tables without a spec; rows of more tables are dead letters")
	f.Var(&c.TopicTables, "topic-tables",
		"`pairs` TOPIC=SCHEMA.TABLE with commas, where a transformation renames topics: "+
			"rows of any other table are dead letters")
	f.DurationVar(&c.ParkedRetry, "parked-retry", c.ParkedRetry,
		"between looks for the rows they wait for")
	f.DurationVar(&c.RetryMin, "retry-min", c.RetryMin, "first back-off after a transient error")
	f.DurationVar(&c.RetryMax, "retry-max", c.RetryMax, "longest back-off after a transient error")
	f.DurationVar(&c.ShutdownTimeout, "shutdown-timeout", c.ShutdownTimeout,
		"for the batches in flight when asked to stop")
	c.Kafka.Flags(f)
	c.Mongo.Flags(f)
	c.Trace.Flags(f)
	return f
}

// readSecrets come from the environment only: arguments can be read by every user of the machine.
func (c *Config) readSecrets(getenv func(string) string) {
	c.Kafka.Password = settings.Secret(getenv("CDC_CONSUMER_KAFKA_PASSWORD"))
	c.Mongo.Password = settings.Secret(getenv("CDC_CONSUMER_MONGO_PASSWORD"))
	c.Trace.Headers = settings.Secret(getenv("OTEL_EXPORTER_OTLP_HEADERS"))
}

// ParseConfig reads the program's arguments over DefaultConfig, and the environment (getenv is
// os.Getenv) for the flags not among the arguments. usage receives the help text. The error is
// flag.ErrHelp after -h, else the error names the wrong flag or variable.
func ParseConfig(args []string, getenv func(string) string, usage io.Writer) (Config, error) {
	c := DefaultConfig()
	f := c.defineFlags()
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
	f.Visit(func(one *flag.Flag) {
		given[one.Name] = true
		if one.Value.String() == "" {
			err = errors.Join(err, fmt.Errorf("--%s: must not be empty", one.Name))
		}
	})
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
	c.readSecrets(getenv)
	if c.Trace.Endpoint == "" {
		c.Trace.Endpoint = getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	return c, c.validateAll()
}

func (c *Config) validateAll() error {
	var wrong settings.Faults
	for flag, text := range map[string]string{"group": c.Group, "topics": c.Topics,
		"dead-letter-topic": c.DeadLetterTopic, "listen": c.Listen} {
		if text == "" {
			wrong.Add(flag, "must not be empty")
		}
	}
	if topics, err := regexp.Compile(c.Topics); err != nil {
		wrong.Add("topics", "%w", err)
	} else if c.Topics != "" && topics.MatchString(c.DeadLetterTopic) {
		wrong.Add("topics", "matches the dead-letter topic %s: each dead letter would come back",
			c.DeadLetterTopic)
	}
	for flag, number := range map[string]int{"batch-max": c.BatchMax,
		"record-max-bytes": c.RecordMaxBytes,
		"nesting-max":      c.NestingMax, "parked-max": c.ParkedMax,
		"held-max-bytes": c.HeldMaxBytes, "tables-max": c.TablesMax} {
		if number < 1 {
			wrong.Add(flag, "%d: must be at least 1", number)
		}
	}
	if c.FetchMaxBytes < c.RecordMaxBytes {
		wrong.Add("fetch-max-bytes", "%d: must be at least --record-max-bytes (%d)",
			c.FetchMaxBytes, c.RecordMaxBytes)
	}
	if c.FetchMaxBytes > deadletter.MaxRecordBytes {
		wrong.Add("fetch-max-bytes", "%d: must be at most %d, so that every record can become a "+
			"dead letter", c.FetchMaxBytes, deadletter.MaxRecordBytes)
	}
	if c.QueueMax < c.BatchMax {
		wrong.Add("queue-max", "%d: must be at least --batch-max (%d)", c.QueueMax, c.BatchMax)
	}
	if c.Epoch < 0 || c.Epoch > math.MaxUint16 {
		wrong.Add("epoch", "%d: must be 0 to %d", c.Epoch, math.MaxUint16)
	}
	c.validateTimes(&wrong)
	wrong = slices.Concat(wrong, c.Kafka.Validate(), c.Mongo.Validate(), c.Trace.Validate())
	slices.SortFunc(wrong, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(wrong...)
}

func (c *Config) validateTimes(wrong *settings.Faults) {
	for flag, d := range map[string]time.Duration{"retry-min": c.RetryMin,
		"shutdown-timeout": c.ShutdownTimeout, "parked-retry": c.ParkedRetry} {
		if d <= 0 {
			wrong.Add(flag, "%s: must be above 0", d)
		}
	}
	for flag, limit := range map[string]struct{ is, least time.Duration }{
		"commit-interval":  {c.CommitInterval, commitIntervalMin},
		"metadata-max-age": {c.MetadataMaxAge, metadataMinAge},
	} {
		if limit.is < limit.least {
			wrong.Add(flag, "%s: must be at least %s", limit.is, limit.least)
		}
	}
	if c.RetryMax < c.RetryMin {
		wrong.Add("retry-max", "%s: must be at least --retry-min (%s)", c.RetryMax, c.RetryMin)
	}
	if c.SessionTimeout < 6*time.Second {
		wrong.Add("session-timeout", "%s: Kafka's brokers refuse less than 6s", c.SessionTimeout)
	}
	if c.SpecsReload != 0 && c.SpecsReload < specsReloadMin {
		wrong.Add("specs-reload", "%s: must be 0 or at least %s", c.SpecsReload, specsReloadMin)
	}
}

// backoffBefore doubles from RetryMin to RetryMax, without jitter, because few partitions wait for
// the same server and a run must be repeatable.
func (c *Config) backoffBefore(attempt int) time.Duration {
	d := c.RetryMin
	for range attempt {
		if d *= 2; d >= c.RetryMax {
			return c.RetryMax
		}
	}
	return d
}
