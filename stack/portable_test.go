package stack

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tied is what ties a configuration to one place: an address, a port, a path, how many brokers there are.
var tied = regexp.MustCompile(`(?i)localhost|\d+\.\d+\.\d+\.\d+|:\d|(^|[\s"=,:])[./~]*/|(port|host|hostname|host\.name|address|servers|replication\.factor|isr|insync\.replicas|node\.id)"?[=:] ?"?[^$\s"]`)

// TestConfigurationIsPortable: the files of broker, worker and connector hold no address, port, path or
// number of replicas of their own, and the native stack fills in every variable that they take those from.
func TestConfigurationIsPortable(t *testing.T) {
	t.Parallel()
	k := &kafkaServer{child: child{folder: &folder{}}}
	d, err := newDebezium(&folder{}, nil, TunedProfile, "k:1", "p:1", "", 1)
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
		"broker":               {string(brokerProperties), k.environment()},
		"worker and connector": {string(workerProperties) + connectors, d.env},
	} {
		wanted, given := map[string]bool{}, map[string]bool{}
		for line := range strings.Lines(c.text) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "#") {
				continue
			}
			for _, variable := range regexp.MustCompile(`\$\{env:(\w+)\}`).FindAllStringSubmatch(line, -1) {
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
		if diff := cmp.Diff(slices.Sorted(maps.Keys(wanted)), slices.Sorted(maps.Keys(given))); diff != "" {
			t.Errorf("%s: variables (-of the files +of the native stack):\n%s", name, diff)
		}
	}
}

// TestTied: the test above finds what it looks for.
func TestTied(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"bootstrap.servers=kafka", "listeners=LAB://0.0.0.0", "advertised.listeners=LAB://localhost", "x=kafka:9092", "log.dirs=/data",
		"log.dirs=../data", `"database.hostname": "db"`, `"database.port": "5432"`, "rest.advertised.host.name=connect", "node.id=1",
		"offsets.topic.replication.factor=1", "min.insync.replicas=2", "transaction.state.log.min.isr=1",
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
