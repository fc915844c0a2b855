package servertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/stack/process"
)

// guardEnv makes a test binary the guard of another test binary, whose process.Identity is the
// value.
const guardEnv = "CDCLAB_TEST_GUARDED"

// guardLogEnv names a file for the words of the guard, who outlives all other readers.
const guardLogEnv = "CDCLAB_TEST_GUARD_LOG"

func init() {
	if guarded := os.Getenv(guardEnv); guarded != "" {
		guard(guarded)
		os.Exit(0)
	}
}

// guard waits until its input ends, because the pipe ends with the test binary at the other end,
// and then cleans up as after any other dead lab.
func guard(guarded string) {
	var lab process.Identity
	if err := json.Unmarshal([]byte(guarded), &lab); err != nil {
		return
	}
	io.Copy(io.Discard, os.Stdin)
	for tick := time.Tick(process.PollEvery); lab.Alive(); {
		<-tick
	}
	var said []string
	err := process.CleanUp(process.FolderBases(), func(line string) { said = append(said, line) })
	if path := os.Getenv(guardLogEnv); path != "" {
		text := fmt.Sprintf("%s\nerror %v\n", strings.Join(said, "\n"), err)
		_ = os.WriteFile(path, []byte(text), 0o600) // nobody is there to be told
	}
}

// guarded starts the guard of this test binary, once, and holds the pipe; the pipe's end tells the
// guard of the test binary's end.
var guarded = sync.OnceValues(func() (io.Closer, error) {
	self, err := process.Find(os.Getpid())
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(self.Identity)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := process.NewCommand(context.Background(), process.Lab,
		[]string{guardEnv + "=" + string(text), guardLogEnv + "=" + os.Getenv(guardLogEnv)},
		program)
	command.Dir = "/"
	// A signal for all processes of a terminal, or of a test over its time limit, misses the guard.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start the guard of the tests' servers: %w", err)
	}
	return pipe, nil
})

// newFolder makes a folder for servers; the servers end with the test binary, however the test
// binary ends.
func newFolder() (*process.Folder, error) {
	if _, err := guarded(); err != nil {
		return nil, err
	}
	return process.NewFolder()
}

// Folder makes a folder for servers; the servers end with the test, or with the test binary,
// however the test binary ends.
func Folder(t testing.TB) *process.Folder {
	t.Helper()
	f, err := newFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(false); err != nil {
			t.Error(err)
		}
	})
	return f
}
