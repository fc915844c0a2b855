package compose

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/proxy"
)

// composeFile is the part of compose.yaml that the tests ask for.
type composeFile struct {
	Services map[string]struct {
		Profiles    []string
		Image       string
		Build       map[string]string
		Ports       []string
		Networks    []string
		Secrets     []string
		Volumes     []string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		Restart     string
		MemLimit    string         `yaml:"mem_limit"`
		Security    []string       `yaml:"security_opt"`
		Health      map[string]any `yaml:"healthcheck"`
		Environment map[string]string
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	}
	Secrets map[string]map[string]string
}

func readFile(t *testing.T) composeFile {
	t.Helper()
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file composeFile
	// A service may have a key twice: merged and own.
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) < 9 {
		t.Fatalf("%d services: the test reads the wrong thing", len(file.Services))
	}
	return file
}

// TestServices holds what every service has to have.
func TestServices(t *testing.T) {
	t.Parallel()
	loopback := regexp.MustCompile(`^127\.0\.0\.1:\$\{CDCLAB_[A-Z_]+:-[\d-]+\}:`)
	for name, s := range readFile(t).Services {
		_, tag, tagged := strings.Cut(s.Image, ":")
		if len(s.Build) == 0 && (!tagged || tag == "latest") {
			t.Errorf("%s: image %q is not pinned", name, s.Image)
		}
		for _, port := range s.Ports {
			if !loopback.MatchString(port) {
				t.Errorf("%s: port %s is open to other machines, or cannot be chosen", name, port)
			}
		}
		if s.MemLimit == "" || len(s.Profiles) != 1 || s.Restart == "" {
			t.Errorf("%s has no limit of memory, no restart, or profiles %v", name, s.Profiles)
		}
		if s.Restart != "no" && s.Health == nil {
			t.Errorf("%s has no health check", name)
		}
		if !slices.Equal(s.Security, []string{"no-new-privileges:true"}) {
			t.Errorf("%s may get new privileges", name)
		}
		ours := slices.Contains([]string{"consumer", "toxiproxy", "k6"}, s.Build["target"])
		if ours && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"})) {
			t.Errorf("%s is of ours, and may write or has capabilities", name)
		}
		for _, volume := range s.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			from = strings.ReplaceAll(from, "${CDCLAB_PROFILE", "tuned.json")
			if !strings.HasPrefix(from, ".") {
				continue
			}
			if _, err := os.Stat(filepath.FromSlash(from)); err != nil {
				t.Errorf("%s mounts what is not there: %v", name, err)
			}
		}
	}
}

// TestWhoEndsIsAwaited: Compose's `--wait` fails on a service that has ended, unless a service of
// the same profile waits for the end.
func TestWhoEndsIsAwaited(t *testing.T) {
	t.Parallel()
	services, ending := readFile(t).Services, 0
	for name, s := range services {
		if s.Restart != "no" || !slices.Contains(s.Profiles, "core") {
			continue
		}
		ending++
		isAwaited := false
		for _, other := range services {
			on := other.DependsOn[name].Condition
			isAwaited = isAwaited || slices.Contains(other.Profiles, "core") &&
				on == "service_completed_successfully"
		}
		if !isAwaited {
			t.Errorf("nobody of the core waits for the end of %s", name)
		}
	}
	if ending != 2 {
		t.Errorf("%d services end, want topics and connector", ending)
	}
}

// TestCollectorIsSilent: a collector that writes a line for each batch reads that line, too.
func TestCollectorIsSilent(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("local/no-loki.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Exporters struct {
			Debug struct {
				Logger bool     `yaml:"use_internal_logger"`
				Paths  []string `yaml:"output_paths"`
			}
		}
	}
	file.Exporters.Debug.Logger = true // the exporter's default
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	d := file.Exporters.Debug
	if d.Logger || !slices.Equal(d.Paths, []string{os.DevNull}) {
		t.Errorf("the exporter writes: %+v", d)
	}
}

// TestNoWayRoundAProxy: who goes through Toxiproxy shares no network with whom Toxiproxy goes to.
func TestNoWayRoundAProxy(t *testing.T) {
	t.Parallel()
	file := readFile(t)
	text, err := os.ReadFile("config/toxiproxy.json")
	if err != nil {
		t.Fatal(err)
	}
	var proxies []struct{ Name, Upstream string }
	if err := json.Unmarshal(text, &proxies); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, one := range proxies {
		names = append(names, one.Name)
		client, _, _ := strings.Cut(one.Name, "-")
		if client == "connector" {
			client = Connect
		}
		server, _, _ := strings.Cut(one.Upstream, ":")
		through := file.Services[Toxiproxy].Networks
		for _, network := range file.Services[client].Networks {
			if slices.Contains(file.Services[server].Networks, network) {
				t.Errorf("%s reaches %s on network %s, round the proxy", client, server, network)
			}
			if !slices.Contains(through, network) {
				t.Errorf("Toxiproxy is not on network %s", network)
			}
		}
		if len(file.Services[client].Networks) == 0 || len(file.Services[server].Networks) == 0 {
			t.Errorf("proxy %s: %s or %s has no network of its own", one.Name, client, server)
		}
	}
	slices.Sort(names)
	if want := slices.Sorted(slices.Values(proxy.Names())); !slices.Equal(names, want) {
		t.Errorf("proxies %v, want %v", names, want)
	}
}

func TestFileAgreesWithTheLab(t *testing.T) {
	t.Parallel()
	file := readFile(t)
	version, err := programs.KafkaVersion()
	if err != nil {
		t.Fatal(err)
	}
	if want := "cdclab/kafka:" + version; file.Services[Kafka].Image != want {
		t.Errorf("Kafka is %s, and the native stack's %s", file.Services[Kafka].Image, want)
	}
	for _, name := range secretNames {
		if _, there := file.Secrets[name]; !there {
			t.Errorf("secret %s is made for nobody", name)
		}
	}
	for name := range channels {
		if _, there := file.Secrets[name]; !there {
			t.Errorf("channel %s is made for nobody", name)
		}
	}
	for name := range file.Secrets {
		if !slices.Contains(secretNames, name) && channels[name] == "" {
			t.Errorf("nobody makes secret %s", name)
		}
	}
}

// TestOverrides reads the changes to compose.yaml that a lab makes.
func TestOverrides(t *testing.T) {
	t.Parallel()
	folder := &process.Folder{Path: t.TempDir()}
	for _, local := range []bool{false, true} {
		p := &Project{folder: folder, options: Options{Local: local, Tree: "/tree",
			Consumers: []string{Consumer, "consumer-2"}, ConsumerPath: `/odd "path"`,
			ConsumerArgs: []string{"--log-level", "warn"}}}
		// Compose alone knows this tag.
		text := strings.ReplaceAll(string(p.overrides()), "!reset ", "")
		var got struct {
			Services map[string]struct {
				Restart string
				Labels  map[string]string
				Command []string
				Extends map[string]string
				Image   string
				Volumes []struct{ Source, Target string }
			}
		}
		if err := yaml.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if len(got.Services) != 7 {
			t.Errorf("%d services, want 7", len(got.Services))
		}
		for name, s := range got.Services {
			if s.Restart != "no" || s.Labels[folderLabel] != folder.Path {
				t.Errorf("%s: restart %q, labels %v", name, s.Restart, s.Labels)
			}
		}
		second := got.Services["consumer-2"]
		want := "[--instance consumer-2 --log-level warn]"
		if fmt.Sprint(second.Command) != want || second.Extends["service"] != Consumer ||
			second.Volumes[0].Source != `/odd "path"` || second.Volumes[0].Target != "/consumer" ||
			(second.Image != "") != local {
			t.Errorf("local %v: the second consumer is %+v", local, second)
		}
	}
}

// TestUsage reads what engines with control groups of both versions answer.
func TestUsage(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"version 1": `{"cpu_stats": {"cpu_usage": {"total_usage": 2500000000},
				"throttling_data": {"throttled_time": 700000000}},
			"memory_stats": {"usage": 300, "limit": 1000,
				"stats": {"total_inactive_file": 100, "inactive_file": 7}},
			"blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 5},
				{"op": "Write", "value": 6}, {"op": "Total", "value": 11}]}}`,
		"version 2": `{"cpu_stats": {"cpu_usage": {"total_usage": 2500000000},
				"throttling_data": {"throttled_time": 700000000}},
			"memory_stats": {"usage": 300, "limit": 1000, "stats": {"inactive_file": 100}},
			"blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 5},
				{"op": "write", "value": 6}]}}`,
	} {
		got, err := readUsage(strings.NewReader(text))
		want := Usage{CPUSeconds: 2.5, ThrottledSeconds: 0.7, MemoryBytes: 200,
			MemoryLimit: 1000, DiskReadBytes: 5, DiskWritten: 6}
		if err != nil || got != want {
			t.Errorf("%s: %+v (%v), want %+v", name, got, err, want)
		}
	}
}
