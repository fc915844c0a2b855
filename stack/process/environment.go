package process

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/cdclab/cdclab/shown"
)

// Kind says which variables of the lab's own environment a child needs.
type Kind uint8

// The kinds of children. A Server is any program without need of the person's settings.
const (
	Server Kind = 1 << iota
	// A Consumer is under test, and its settings are part of the run.
	Consumer
	// K6 generates the load and may send metrics to the person's own servers.
	K6
	// A Tool fetches, compiles or asks git.
	Tool
	// Lab is the lab itself.
	Lab

	everyone = Server | Consumer | K6 | Tool | Lab
)

// variable is one row of the table of variables passed on.
type variable struct {
	// names are separated by blanks; a name with * at the end is a prefix.
	names string
	to    Kind
	why   string
	// recorded is true if a run keeps the values, because the values may change the measurement.
	recorded bool
}

// passedOn is the whole table: a variable without a row reaches no child, and no library in the
// lab, because the lab starts itself again without such variables.
var passedOn = []variable{
	{"PATH", everyone, "finds programs", false},
	{"TMPDIR", everyone, "a folder for temporary files with enough room", false},
	{"HOME USER LOGNAME", Tool | Lab, "caches, and git's list of safe folders", false},
	{"XDG_CACHE_HOME", Tool | Lab, "where the caches are", false},
	{"HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy", Tool | Lab | K6,
		"the way out of a company's network; loopback never takes it", false},
	{"SSL_CERT_FILE SSL_CERT_DIR", Tool | Lab | K6, "whom to trust beyond loopback", false},
	{"REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO NODE_EXTRA_CA_CERTS", Tool,
		"whom to trust when fetching", false},
	{"PIP_* UV_* PYENV_* ASDF_* MISE_*", Tool, "where Python and its packages come from", false},
	{"GOPROXY GOSUMDB GOPRIVATE GONOPROXY GONOSUMDB GOINSECURE GOAUTH GOPATH GOCACHE GOMODCACHE " +
		"GOTMPDIR GOROOT GOTOOLCHAIN", Tool, "where Go and its modules come from", false},
	{"CARGO_HOME CARGO_HTTP_* CARGO_NET_* CARGO_REGISTRIES_* CARGO_SOURCE_* RUSTUP_*", Tool,
		"where Rust and its crates come from", false},
	{"JAVA_HOME", Tool | Lab, "which Java runs Kafka; the run names its version", false},
	{"JAVA_TOOL_OPTIONS MAVEN_OPTS MAVEN_ARGS", Tool, "Maven's way out and its trust", false},
	{"DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_TLS_VERIFY DOCKER_CERT_PATH " +
		"DOCKER_API_VERSION DOCKER_BUILDKIT", Tool | Lab,
		"which Docker engine runs containers, and how it is reached", false},
	{"KUBECONFIG", Tool | Lab, "which cluster a plan's commands reach", false},
	{"CDCLAB_POSTGRES_PORT CDCLAB_KAFKA_PORT CDCLAB_KAFKA_METRICS_PORT CDCLAB_MONGO_PORT " +
		"CDCLAB_TOXIPROXY_PORT CDCLAB_CONNECT_PORT CDCLAB_CONNECT_METRICS_PORT " +
		"CDCLAB_CONSUMER_PORTS CDCLAB_PARTITIONS CDCLAB_PROFILE CDCLAB_TRACES " +
		"CDCLAB_OTLP_PORT CDCLAB_PROMETHEUS_PORT CDCLAB_ALERTMANAGER_PORT " +
		"CDCLAB_GRAFANA_PORT CDCLAB_LOADTEST_ID CDCLAB_ALERT_EMAIL", Tool,
		"what stack/compose/compose.yaml leaves open", false},
	{"CDCLAB_*", Lab, "the lab's own settings", false},
	{"CDC_*", Lab, "addresses and secrets that flags default to", false},
	{"TERM COLUMNS LINES NO_COLOR", Lab, "how to draw on the terminal", false},
	{"GOCOVERDIR", Lab, "where a build with coverage counts", false},
	{"CDC_CONSUMER_*", Consumer, "settings of the consumer under test", true},
	{"OTEL_*", Consumer | K6 | Lab, "where traces and metrics go", true},
	{"K6_OUT K6_PROMETHEUS_RW_* K6_OTEL_* K6_STATSD_* K6_INFLUXDB_* K6_WEB_DASHBOARD*",
		K6 | Lab, "where k6 sends its metrics besides; they change no load", true},
}

// matches is true if the row names the variable.
func (v variable) matches(name string) bool {
	return slices.ContainsFunc(strings.Fields(v.names), func(pattern string) bool {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		return name == pattern || isPrefix && strings.HasPrefix(name, prefix)
	})
}

// passed returns the variables of whole for children of the kind; 0 is Server.
func passed(whole []string, to Kind) []string {
	to = cmp.Or(to, Server)
	return slices.DeleteFunc(slices.Clone(whole), func(setting string) bool {
		name, _, _ := strings.Cut(setting, "=")
		return !slices.ContainsFunc(passedOn, func(v variable) bool {
			return v.to&to != 0 && v.matches(name)
		})
	})
}

// Environment returns the whole environment of a child: the variables passed on to its kind (0 is
// Server), the locale, and then own, each NAME=value. A later value of a name wins. The time zone
// is UTC for all but tools.
func Environment(kind Kind, own ...string) []string {
	locale := "C.UTF-8"
	if runtime.GOOS != "linux" {
		locale = "C"
	}
	made := append(passed(os.Environ(), kind), "LC_ALL="+locale)
	if kind != Tool {
		// A file of passwords beside a DSN would be one more input that no run shows.
		made = append(made, "TZ=UTC", "PGPASSFILE="+os.DevNull)
	}
	return append(made, own...)
}

// NewCommand is exec.CommandContext with the environment of the kind and own. No other function of
// the lab makes a child's environment.
func NewCommand(ctx context.Context, kind Kind, own []string, path string,
	args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, path, args...)
	command.Env = Environment(kind, own...)
	return command
}

// Recorded returns, by name, the recorded variables of the table for children of the kinds, with
// the values that shown.Setting keeps.
func Recorded(kinds Kind) map[string]string {
	recorded := map[string]string{}
	for _, setting := range os.Environ() {
		name, value, _ := strings.Cut(setting, "=")
		if slices.ContainsFunc(passedOn, func(v variable) bool {
			return v.recorded && v.to&kinds != 0 && v.matches(name)
		}) {
			recorded[name] = shown.Setting(name, value)
		}
	}
	return recorded
}

// fooling names variables obeyed by programs of a pipeline, which a person may believe to be in
// force.
var fooling = variable{names: "K6_* PG* GODEBUG GOGC GOMEMLIMIT GOMAXPROCS GOFLAGS GIT_DIR " +
	"GIT_WORK_TREE RATE DURATION WARMUP MIX SEED"}

// Restart replaces this process by itself without the variables outside the table, because Go's
// runtime and libraries in the lab read variables before any code of the lab runs. Restart returns
// nil where no such variable is set. say receives the dropped variables a person may miss.
func Restart(say func(names []string)) error {
	whole := os.Environ()
	clean := passed(whole, everyone) // the lab passes on
	if len(clean) == len(whole) {
		return nil
	}
	var dropped []string
	for _, setting := range whole {
		name, _, _ := strings.Cut(setting, "=")
		if fooling.matches(name) && !slices.Contains(clean, setting) {
			dropped = append(dropped, name)
		}
	}
	if len(dropped) > 0 {
		slices.Sort(dropped)
		say(dropped)
	}
	program, err := os.Executable()
	if err == nil {
		err = syscall.Exec(program, os.Args, clean)
	}
	return fmt.Errorf("start again without the shell's other variables: %w", err)
}
