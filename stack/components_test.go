package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/compose"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// containersEnv lets the tests with a Docker engine run: "local" takes the images that
// compose/local/build.sh built, any other value those of the registries.
const containersEnv = "CDCLAB_CONTAINERS"

// containerOptions are testOptions for a Compose Stack.
func containerOptions(t *testing.T) Options {
	t.Helper()
	images := os.Getenv(containersEnv)
	if images == "" {
		t.Skipf("starts containers: set %s=1 or, for the images of compose/local, =local",
			containersEnv)
	}
	if err := compose.Usable(t.Context()); err != nil {
		expect.Lacking(t, "containers", err)
	}
	options := testOptions(t)
	options.Kind, options.LocalImages, options.Tree = Compose, images == "local", ".."
	return options
}

// TestComponentsEmbedded, TestComponentsNative and TestComponentsContainers: each part of each kind
// of Stack does what Component says.
func TestComponentsEmbedded(t *testing.T) {
	if os.Getenv(containersEnv)+os.Getenv(nativeEnv) == "" {
		t.Skipf("ends each part twice: set %s=1 or %s=1", nativeEnv, containersEnv)
	}
	componentsConform(t, testOptions(t))
}

func TestComponentsNative(t *testing.T) { componentsConform(t, nativeOptions(t)) }

func TestComponentsContainers(t *testing.T) { componentsConform(t, containerOptions(t)) }

func componentsConform(t *testing.T, options Options) {
	s := upForTest(t, options)
	rows := int64(0)
	for _, c := range s.Components() {
		t.Run(c.Name(), func(t *testing.T) {
			componentConforms(t, c)
			mustExec(t, s, insertCustomers, 10)
			rows += 10
			if err := s.Drained(nativeContext(t)); err != nil {
				t.Fatal(err)
			}
			if n := countDocuments(t, s, "customers"); n != rows {
				t.Errorf("%d documents, want %d", n, rows)
			}
		})
	}
	select {
	case death := <-s.Died():
		t.Errorf("the lab's own doing was reported as a death: %s", death)
	default:
	}
}

// componentConforms ends, freezes and starts one part, which serves in the end.
func componentConforms(t *testing.T, c Component) {
	t.Helper()
	ctx := nativeContext(t)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	wantIll := func(when string) {
		t.Helper()
		err := c.Health(ctx)
		if err == nil {
			t.Errorf("%s is healthy %s", c.Name(), when)
		} else if !strings.Contains(strings.ToLower(err.Error()), c.Name()) {
			t.Errorf("the error %s does not name %s: %v", when, c.Name(), err)
		}
	}
	must("health", c.Health(ctx))
	if c.Version() == "" && !strings.HasPrefix(c.Name(), Consumer) {
		t.Error("no version after the start")
	}
	if err := c.Start(ctx); err == nil {
		t.Error("a started part was started")
	}
	must("health after the second start", c.Health(ctx))
	err := c.Pause()
	pauses := !errors.Is(err, errNotFrozen)
	if pauses {
		must("pause", err)
		wantIll("while paused")
		must("resume", c.Resume())
		expect.Before(ctx, t, "healthy again", func() error { return c.Health(ctx) })
	}
	must("kill", c.Kill())
	wantIll("after the kill")
	if err := c.Kill(); err == nil {
		t.Error("a dead part was killed")
	}
	must("start after the kill", c.Start(ctx))
	must("health after the kill", c.Health(ctx))
	if pauses {
		must("pause", c.Pause())
	}
	must("stop while paused", c.Stop(ctx))
	wantIll("after the stop")
	must("second stop", c.Stop(ctx))
	must("start after the stop", c.Start(ctx))
	must("health after the stop", c.Health(ctx))
}

// TestContainerThatDies: the lab tells of a container that ends by itself, at the start and later,
// with the end of the log. Down leaves no container, volume or network.
func TestContainerThatDies(t *testing.T) {
	options := containerOptions(t)
	broken := options
	broken.ConsumerArgs = []string{"--no-such-flag"}
	_, err := Up(nativeContext(t), broken)
	expect.Error(t, err, "consumer (container ", "ended by itself: exit status", "its log ends",
		"no-such-flag")
	s := upForTest(t, options)
	project := "cdclab-" + strings.ToLower(s.folder.Path[strings.LastIndex(s.folder.Path, "/")+1:])
	docker(t, "kill", project+"-consumer-1")
	select {
	case death := <-s.Died():
		for _, part := range []string{"consumer (container ", "ended by itself: exit status 137",
			"its log ends"} {
			if !strings.Contains(death, part) {
				t.Errorf("told was %q, want %q in it", death, part)
			}
		}
	case <-nativeContext(t).Done():
		t.Fatal("nothing was told")
	}
	if err := s.Down(nativeContext(t)); err != nil {
		t.Error(err)
	}
	filter := "label=com.docker.compose.project=" + project
	for _, list := range [][]string{{"ps", "--all", "--quiet"}, {"volume", "ls", "--quiet"},
		{"network", "ls", "--quiet"}} {
		if left := docker(t, append(list, "--filter", filter)...); left != "" {
			t.Errorf("docker %s after Down: %s", strings.Join(list, " "), left)
		}
	}
}

// docker returns the output of a command.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	text, err := exec.CommandContext(nativeContext(t), "docker", args...).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("docker %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(text))
}
