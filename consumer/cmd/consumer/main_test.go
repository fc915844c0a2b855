package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the tests start this program: themselves, told so by the environment.
func TestMain(m *testing.M) {
	if os.Getenv("CDCLAB_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(args ...string) *exec.Cmd {
	command := exec.Command(os.Args[0], args...)
	command.Env = append(os.Environ(), "CDCLAB_TEST_MAIN=1")
	return command
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"-h", 0, "-mongo-uri"},
		{"--nonsense", 1, "consumer: read the flags: flag provided but not defined: -nonsense"},
		{"--batch-max=0", 1, "consumer: --batch-max: 0: must be at least 1"},
		{"--listen=nowhere", 1, "consumer: --listen: "},
	} {
		output, err := program(strings.Fields(c.args)...).CombinedOutput()
		var exit *exec.ExitError
		code := 0
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != c.code || !strings.Contains(string(output), c.says) {
			t.Errorf("%s: exit code %d, want %d and %q in\n%s", c.args, code, c.code, c.says,
				output)
		}
	}
}

// TestSignals: a request to end also ends a program that reaches no server.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		command := program("--mongo-uri", "mongodb://127.0.0.1:1", "--brokers", "127.0.0.1:1",
			"--mongo-select-timeout", "50ms")
		stderr, err := command.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		defer command.Process.Kill()
		lines := bufio.NewScanner(stderr)
		for lines.Scan() && !strings.Contains(lines.Text(), "waiting for a server") {
		}
		if err := command.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		io.Copy(io.Discard, stderr)
		if err := command.Wait(); err != nil {
			t.Errorf("%v: %v", signal, err)
		}
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("%v: the end took %v", signal, took)
		}
	}
}
