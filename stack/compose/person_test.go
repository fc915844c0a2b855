package compose

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
)

// recordingDocker puts a docker on PATH that has a Compose and the address of an engine, and writes
// down the arguments of every other command of Compose and the lab's variables. With a failure each
// such command ends with 1 and the failure's words.
func recordingDocker(t *testing.T, host, failure string) (said func() string) {
	t.Helper()
	folder := t.TempDir()
	record := filepath.Join(folder, "record")
	script := fmt.Sprintf(`#!/bin/sh
case "$1 $2" in
"compose version") echo 2.40.3 ;;
"context inspect") echo "%[1]s" ;;
*)
    { echo "$@"; env | grep ^CDCLAB_ || :; } >>"%[2]s"
    [ -z "%[3]s" ] || { echo "%[3]s" >&2; exit 1; } ;;
esac
`, host, record, failure)
	if err := os.WriteFile(filepath.Join(folder, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":/usr/bin:/bin")
	return func() string {
		text, err := os.ReadFile(record)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(record); err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// runCommand runs a person's command in a tree of its own.
func runCommand(t *testing.T, observe bool, args ...string) error {
	t.Helper()
	tree := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, "stack", "compose"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := Command{Tree: tree, Observe: observe, Args: args, Out: io.Discard, Err: io.Discard}
	return c.Run(context.Background())
}

// TestCommandsOnWhatIsThere: whoever says `down` or `ps` means the containers of each profile, and
// whoever says `up` means the profiles named.
func TestCommandsOnWhatIsThere(t *testing.T) {
	said := recordingDocker(t, fakeEngine(t, 16<<30), "")
	for _, c := range []struct {
		args     []string
		observe  bool
		profiles []string
	}{
		{nil, false, []string{"core"}},
		{nil, true, []string{"core", "observe"}},
		{[]string{"up", "--wait"}, false, []string{"core"}},
		{[]string{"run", "--rm", "k6"}, false, []string{"core"}},
		{[]string{"build"}, false, []string{"core"}},
		{[]string{"down", "--volumes"}, false, []string{"core", "observe", "load"}},
		{[]string{"ps"}, false, []string{"core", "observe", "load"}},
		{[]string{"stop"}, true, []string{"core", "observe", "load"}},
		{[]string{"logs", "grafana"}, false, []string{"core", "observe", "load"}},
	} {
		if err := runCommand(t, c.observe, c.args...); err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(said(), "\n")
		var got []string
		words := strings.Fields(first)
		for i, word := range words[:len(words)-1] {
			if word == "--profile" {
				got = append(got, words[i+1])
			}
		}
		if !slices.Equal(got, c.profiles) {
			t.Errorf("%q (observe %v): profiles %q, want %q", c.args, c.observe, got, c.profiles)
		}
	}
}

// TestCommandOnATakenPort: after Compose's own lines comes one sentence.
func TestCommandOnATakenPort(t *testing.T) {
	recordingDocker(t, fakeEngine(t, 16<<30), "Error response from daemon: driver failed "+
		"programming external connectivity on endpoint x: Error starting userland proxy: listen "+
		"tcp4 127.0.0.1:9090: bind: address already in use")
	err := runCommand(t, true)
	wantError(t, err, "127.0.0.1:9090 is in use by something else")
	if strings.Contains(fmt.Sprint(err), "daemon") {
		t.Errorf("Compose's lines come twice: %v", err)
	}
}

// TestEngineFolder: the collector reads the containers' logs where this engine keeps its data.
func TestEngineFolder(t *testing.T) {
	said := recordingDocker(t, fakeEngine(t, 16<<30), "")
	if err := runCommand(t, true); err != nil {
		t.Fatal(err)
	}
	if text := said(); !strings.Contains(text, "\nCDCLAB_ENGINE_DATA=/srv/engine\n") {
		t.Errorf("Compose was called with\n%s", text)
	}
	for _, volume := range readFile(t).Services["otel-collector"].Volumes {
		if strings.HasPrefix(volume, "${CDCLAB_ENGINE_DATA:-/var/lib/docker}/containers:") {
			return
		}
	}
	t.Error("the collector does not mount the logs of CDCLAB_ENGINE_DATA")
}

// TestVariablesReachCompose: what compose.yaml leaves open reaches Compose from the shell; the lab
// itself says where secrets and logs are.
func TestVariablesReachCompose(t *testing.T) {
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\$\{(CDCLAB_\w+):-`).FindAllStringSubmatch(string(text), -1)
	if len(found) < 10 {
		t.Fatalf("%d variables: the test reads the wrong thing", len(found))
	}
	for _, one := range found {
		name := one[1]
		t.Setenv(name, "x")
		isPassed := slices.Contains(process.Environment(process.Tool), name+"=x")
		ofTheLab := name == "CDCLAB_SECRETS" || name == "CDCLAB_ENGINE_DATA"
		if isPassed == ofTheLab {
			t.Errorf("%s: passed on %v, the lab's own %v", name, isPassed, ofTheLab)
		}
	}
}
