package servertest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// killedEnv makes the test below the test binary to be killed.
const killedEnv = "CDCLAB_TEST_IS_KILLED"

// running lists everything started by the binary to be killed.
type running struct {
	Folders   []string
	Processes []process.Identity
	// Memory are identifiers of shared memory (ipcs -m).
	Memory []string
}

// TestServersEndWithTheirTests: also where nothing is left to end the servers, as after a test that
// hangs.
func TestServersEndWithTheirTests(t *testing.T) {
	t.Parallel()
	if os.Getenv(killedEnv) != "" {
		told, err := json.Marshal(start(t))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(string(told))
		<-t.Context().Done()
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program,
		"-test.run=^TestServersEndWithTheirTests$", "-test.v")
	guardLog := filepath.Join(t.TempDir(), "guard.log")
	child.Env = append(os.Environ(), killedEnv+"=1", guardLogEnv+"="+guardLog, mongoURIEnv+"=",
		expect.SkippedEnv+"=")
	output, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	var told running
	for lines := bufio.NewScanner(output); told.Processes == nil && lines.Scan(); {
		said = append(said, lines.Text())
		if text := lines.Text(); strings.HasPrefix(text, "{") {
			if err := json.Unmarshal([]byte(text), &told); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	if told.Processes == nil {
		expect.Lacking(t, "PostgreSQL and MongoDB's protocol", errors.New(strings.Join(said, "\n")))
	}
	if len(told.Processes) < 4 || len(told.Folders) != 2 || len(told.Memory) != 1 {
		t.Errorf("the killed test has %+v", told)
	}
	expect.Soon(t, "all is gone", func() error {
		err := told.gone()
		if err != nil {
			said, _ := os.ReadFile(guardLog) // absent while the guard is at work
			err = fmt.Errorf("%w; the guard said %q", err, said)
		}
		return err
	})
}

// start starts the servers shared by all tests.
func start(t *testing.T) (r running) {
	p := SharedPostgres(t)
	MongoURI(t)
	pids := p.PIDs()
	r.Folders = []string{p.Folder.Path}
	text, err := os.ReadFile(filepath.Join(p.Folder.Path, "postgres", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	// pidfile.h of PostgreSQL: line 7 holds the key and the identifier of the shared memory.
	r.Memory = strings.Fields(strings.Split(string(text), "\n")[6])[1:]
	for _, m := range Mongos(t)[:1] {
		r.Folders = append(r.Folders, m.folder.Path)
		for _, child := range m.folder.Started() {
			pids = append(pids, child.PIDs()...)
		}
	}
	for _, pid := range pids {
		if seen, err := process.Find(pid); err == nil { // PostgreSQL's workers come and go
			r.Processes = append(r.Processes, seen.Identity)
		}
	}
	return r
}

func (r running) gone() error {
	for _, p := range r.Processes {
		if p.Alive() {
			program, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
			return fmt.Errorf("process %d is there: %q", p.PID, program)
		}
	}
	for _, folder := range r.Folders {
		if _, err := os.Stat(folder); err == nil {
			return fmt.Errorf("%s is there", folder)
		}
	}
	segments, err := exec.Command("ipcs", "-m").Output()
	if err != nil {
		return nil // not every machine has ipcs
	}
	for _, id := range r.Memory {
		if regexp.MustCompile(`(?m)^\S+\s+` + id + `\s`).Match(segments) {
			return fmt.Errorf("shared memory %s is there", id)
		}
	}
	return nil
}
