package process

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seenEnv makes the test binary print its environment after Restart, and those of children.
const seenEnv = "CDCLAB_TEST_SEEN"

func init() {
	if os.Getenv(seenEnv) == "" {
		return
	}
	var told []string
	// The lab speaks before the restart and says nothing after it.
	if err := Restart(func(names []string) { told = names }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	seen := map[string]any{"lab": os.Environ(), "recorded": Recorded(K6 | Consumer)}
	for name, kind := range map[string]Kind{
		"server": 0, "consumer": Consumer, "k6": K6, "tool": Tool,
	} {
		seen[name] = Environment(kind)
	}
	if told != nil {
		seen["told"] = told
	}
	text, err := json.Marshal(seen)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(text)
	os.Exit(0)
}

// seen holds the environments of a lab and of its children, by kind.
type seen struct {
	Lab, Server, Consumer, K6, Tool []string
	Recorded                        map[string]string
}

func seeEnvironment(t *testing.T, environment ...string) (seen, string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append([]string{"PATH=" + os.Getenv("PATH"), seenEnv + "=1"}, environment...)
	var errorText strings.Builder
	child.Stderr = &errorText
	text, err := child.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errorText.String())
	}
	var all seen
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return all, errorText.String()
}

// odd are variables that programs of a pipeline, their libraries and runtimes read: libpq's and
// pgx's, k6's, git's, Go's, Python's, Java's, the loader's, the scenarios' own. Real runs get them
// in the lab's TestOddRuns.
//
//go:embed testdata/odd.txt
var oddText string

var odd = strings.Fields(oddText)

// TestOddEnvironments: of each of 300 random parts of the odd variables no child gets any; with 20
// of the parts a real lab and its children have the same environments as without.
func TestOddEnvironments(t *testing.T) {
	t.Parallel()
	clean, _ := seeEnvironment(t)
	random := rand.New(rand.NewPCG(1, 1))
	for n := range 300 {
		var these []string
		for _, setting := range odd {
			if random.IntN(3) == 0 {
				these = append(these, setting)
			}
		}
		for _, kind := range []Kind{Server, Consumer, K6, Tool, Lab} {
			if left := passed(these, kind); slices.ContainsFunc(left, func(setting string) bool {
				return kind != Lab || !strings.HasPrefix(setting, "CDC_")
			}) {
				t.Fatalf("kind %b gets %q of %q", kind, left, these)
			}
		}
		if n%15 != 0 { // a lab of its own takes a second under the race detector
			continue
		}
		got, _ := seeEnvironment(t, these...)
		got.Lab = slices.DeleteFunc(got.Lab, func(setting string) bool {
			return strings.HasPrefix(setting, "CDC_") // the lab's flags default to some
		})
		if d := cmp.Diff(clean, got); d != "" {
			t.Fatalf("with %q: %s", these, d)
		}
	}
}

// TestPassedOn: a variable reaches the kinds of its row alone; settings are recorded, secrets only
// as "set" and a digest of 16 bits.
func TestPassedOn(t *testing.T) {
	t.Parallel()
	got, _ := seeEnvironment(t, "CDC_CONSUMER_BATCH_ROWS=7",
		"CDC_CONSUMER_KAFKA_SASL_PASSWORD=hidden",
		"K6_OUT=experimental-prometheus-rw", "GOPROXY=https://proxy", "K6_DURATION=5s",
		"JAVA_TOOL_OPTIONS=-Dx")
	want := map[string]string{"CDC_CONSUMER_BATCH_ROWS": "7",
		"CDC_CONSUMER_KAFKA_SASL_PASSWORD": "set (e88f)", "K6_OUT": "experimental-prometheus-rw"}
	if d := cmp.Diff(want, got.Recorded); d != "" {
		t.Error(d)
	}
	for _, c := range []struct {
		setting string
		kinds   [4]bool // server, consumer, k6, tool
	}{
		{"CDC_CONSUMER_BATCH_ROWS=7", [4]bool{false, true, false, false}},
		{"K6_OUT=experimental-prometheus-rw", [4]bool{false, false, true, false}},
		{"GOPROXY=https://proxy", [4]bool{false, false, false, true}},
		{"JAVA_TOOL_OPTIONS=-Dx", [4]bool{false, false, false, true}},
		{"K6_DURATION=5s", [4]bool{}},
		{"PATH=" + os.Getenv("PATH"), [4]bool{true, true, true, true}},
	} {
		kinds := [4][]string{got.Server, got.Consumer, got.K6, got.Tool}
		for i, environment := range kinds {
			if slices.Contains(environment, c.setting) != c.kinds[i] {
				t.Errorf("%s, kind %d: want %v in %q", c.setting, i, c.kinds[i], environment)
			}
		}
	}
}
