package faults

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// fileCommands break a part, which is broken while the file is there.
func fileCommands(file string) Values {
	return Values{"do": "touch " + file, "proof": "test -e " + file + " && echo it is there",
		"undo": "rm " + file}
}

func boundCommands(with Values) *Injection {
	kind, _ := Find("command")
	return kind.Bind(Site{Target: "consumer", With: with})
}

func isThere(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// TestCommand: the proof is a person's command, which has to fail before and afterwards.
func TestCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "broken")
	i := boundCommands(fileCommands(file))
	proven(t, i, "", "proof: exit status 1")
	for range 2 {
		must(t, i.Inject(t.Context()))
		proven(t, i, "proof succeeds: it is there", "")
		must(t, i.Undo(t.Context()))
		proven(t, i, "", "proof: exit status 1")
		must(t, i.Undo(t.Context())) // nothing is left to undo
	}
}

// TestCommandRefuses: a proof that proves nothing, and a command that cannot be run or fails, are
// no fault; whatever was done is undone.
func TestCommandRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ member, line, inject, undo string }{
		"proof of nothing":   {"proof", "echo always", "proves nothing: always", ""},
		"no such proof":      {"proof", "no-such-program", "proof: exit status 127", ""},
		"proof by a signal":  {"proof", "kill -9 $$", "proof: signal: killed", ""},
		"do fails":           {"do", "touch FILE; echo why; exit 3", "do: exit status 3: why", ""},
		"do hangs":           {"do", "touch FILE; sleep 300; exit 4", "deadline exceeded", ""},
		"undo fails":         {"undo", "rm FILE; echo why; exit 5", "", "exit status 5: why"},
		"undo mends nothing": {"undo", "true", "", "succeeded, and proof did not fail"},
		"undo hangs":         {"undo", "sleep 2; rm FILE", "", "the command has not ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "broken")
			with := fileCommands(file)
			with[c.member] = strings.ReplaceAll(c.line, "FILE", file)
			i := boundCommands(with)
			short, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			wants(t, i.Inject(short), c.inject)
			if c.member == "proof" && isThere(file) {
				t.Error("do was run")
			}
			brief, end := t.Context(), context.CancelFunc(func() {})
			if c.undo != "" {
				brief, end = context.WithTimeout(t.Context(), time.Second)
			}
			defer end()
			wants(t, i.Undo(brief), c.undo)
			if c.undo == "" && isThere(file) {
				t.Error("do was not undone")
			}
		})
	}
}

// wants compares an error with a part of its words; "" is no error.
func wants(t *testing.T, err error, words string) {
	t.Helper()
	if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
		t.Errorf("%v, want %q", err, words)
	}
}

// commandEnv makes the test binary a lab that breaks the file of the value, and never comes to the
// undoing.
const commandEnv = "CDCLAB_TEST_BREAKS_FILE"

func TestMain(m *testing.M) {
	if file := os.Getenv(commandEnv); file != "" {
		if err := boundCommands(fileCommands(file)).Inject(context.Background()); err != nil {
			panic(err)
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // until killed
	}
	os.Exit(m.Run())
}

// TestCommandOfADeadLab: undo runs although the lab was killed.
func TestCommandOfADeadLab(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	must(t, err)
	file := filepath.Join(t.TempDir(), "broken")
	lab := exec.CommandContext(t.Context(), program)
	lab.Env = append(os.Environ(), commandEnv+"="+file)
	_, err = lab.StdinPipe()
	must(t, errors.Join(err, lab.Start()))
	expect.True(t, "the file is broken", func() bool { return isThere(file) })
	must(t, lab.Process.Kill())
	_ = lab.Wait() // killed
	expect.True(t, "the file is mended", func() bool { return !isThere(file) })
}
