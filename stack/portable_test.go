package stack

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// tied matches text that ties a configuration to one place: an address, a port, a path, a number of
// brokers.
var tied = regexp.MustCompile(`(?i)localhost|\d+\.\d+\.\d+\.\d+|:\d|(^|[\s"=,:])[./~]*/|` +
	`(port|host|hostname|host\.name|address|servers|` +
	`replication\.factor|isr|insync\.replicas|node\.id)"?[=:] ?"?[^$\s"]`)

// TestConfigurationIsPortable: the files of broker, worker and connector hold no address, port,
// path or number of replicas of their own, and the native stack fills in every variable in the
// files.
func TestConfigurationIsPortable(t *testing.T) {
	t.Parallel()
	k, err := kafka.NewNative(&process.Folder{}, &programs.JVM{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	broker, err := os.ReadFile("kafka/broker.properties")
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDebezium(&process.Folder{}, nil, TunedProfile,
		sources{brokers: "k:1", database: "p:1"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	connectors := ""
	for _, name := range Profiles() {
		text, err := debeziumProfiles.ReadFile("debezium/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		connectors += string(text)
	}
	for name, c := range map[string]struct {
		text string
		env  []string
	}{
		"broker":               {string(broker), k.Environment()},
		"worker and connector": {string(workerProperties) + connectors, d.env},
	} {
		wanted, given := map[string]bool{}, map[string]bool{}
		for line := range strings.Lines(c.text) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "#") {
				continue
			}
			variables := regexp.MustCompile(`\$\{env:(\w+)\}`).FindAllStringSubmatch(line, -1)
			for _, variable := range variables {
				wanted[variable[1]] = true
			}
			// Only the scheme of Connect's own listener stands before a variable.
			if found := tied.FindString(strings.ReplaceAll(line, "http://${", "${")); found != "" {
				t.Errorf("%s: %q in %s", name, found, line)
			}
		}
		for _, variable := range c.env {
			name, _, _ := strings.Cut(variable, "=")
			given[name] = true
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(wanted)),
			slices.Sorted(maps.Keys(given))); diff != "" {
			t.Errorf("%s: variables (-of the files +of the native stack):\n%s", name, diff)
		}
	}
}

// TestTied: the pattern of the test above finds every tie.
func TestTied(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"bootstrap.servers=kafka", "listeners=LAB://0.0.0.0",
		"advertised.listeners=LAB://localhost", "x=kafka:9092", "log.dirs=/data",
		"log.dirs=../data", `"database.hostname": "db"`, `"database.port": "5432"`,
		"rest.advertised.host.name=connect", "node.id=1",
		"offsets.topic.replication.factor=1", "min.insync.replicas=2",
		"transaction.state.log.min.isr=1",
		`"topic.creation.default.replication.factor": "3"`,
	} {
		if !tied.MatchString(line) {
			t.Errorf("%s is not found", line)
		}
	}
	if found := tied.FindString("plugin.path=connect"); found != "" {
		t.Errorf("%q in plugin.path", found)
	}
}
