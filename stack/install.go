package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	secantusPyPackage = "SecantusDB==0.7.0b3"
	secantusRSCrate   = "secantus-mdb"
	secantusRSVersion = "0.5.3-beta.196"
	prometheusModule  = "github.com/prometheus/prometheus"
	prometheusVersion = "v0.313.5"
)

// installSecantusPy puts secantusd-py into a virtual environment in the cache, unless it is there,
// and returns the program's path.
func installSecantusPy(ctx context.Context, cacheDir string, say func(string)) (string, error) {
	root := filepath.Join(cacheDir, SecantusPy)
	program := filepath.Join(root, "bin", SecantusPy)
	// The mark is made last: an interrupted installation is done again.
	mark := filepath.Join(root, "installed-"+secantusPyPackage)
	if _, err := os.Stat(mark); err == nil {
		return program, nil
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", fmt.Errorf("install %s: %w", SecantusPy, errNoPython)
	}
	err = alone(ctx, root, func() error {
		if _, err := os.Stat(mark); err == nil {
			return nil
		}
		say("installing " + SecantusPy + " into " + root + " (once, some seconds)")
		if err := os.RemoveAll(root); err != nil {
			return err
		}
		if err := runTool(ctx, python, "-m", "venv", root); err != nil {
			return fmt.Errorf("%w: %w", errNoPython, err)
		}
		pip := filepath.Join(root, "bin", "python")
		if err := runTool(ctx, pip, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			secantusPyPackage); err != nil {
			return err
		}
		return os.WriteFile(mark, nil, 0o644)
	})
	if err != nil {
		return "", fmt.Errorf("install %s: %w", SecantusPy, err)
	}
	return program, nil
}

// installSecantusRS builds secantusd-rs into the cache, unless there is one to be found.
func installSecantusRS(ctx context.Context, cacheDir string, say func(string)) error {
	root := secantusRSRoot(cacheDir)
	return alone(ctx, root, func() error {
		path, err := findSecantusRS(cacheDir)
		if err != nil {
			return err
		}
		if path != "" {
			say(SecantusRS + " is there: " + path)
			return nil
		}
		cargo, err := exec.LookPath("cargo")
		if err != nil {
			return fmt.Errorf("install %s: cargo is not on PATH: install Rust (https://rustup.rs), "+
				"or do without: the slow stand-in works", SecantusRS)
		}
		say("building " + SecantusRS + " with cargo: about 6 minutes on 2 cores, once")
		if err := runTool(ctx, cargo, "install", secantusRSCrate, "--version", secantusRSVersion,
			"--ignore-rust-version", "--root", root); err != nil {
			return fmt.Errorf("install %s: %w", SecantusRS, err)
		}
		say(SecantusRS + " is built: " + filepath.Join(root, "bin", SecantusRS))
		return nil
	})
}

// installPrometheus builds Prometheus into the cache, unless there is one to be found. It is a program in a
// module of its own, for its dependencies are not the lab's.
func installPrometheus(ctx context.Context, cacheDir string, say func(string)) error {
	root := prometheusRoot(cacheDir)
	return alone(ctx, root, func() error {
		path, err := FindPrometheus(cacheDir)
		if err == nil {
			say(prometheusName + " is there: " + path)
		}
		if !errors.Is(err, ErrNoPrometheus) {
			return err
		}
		golang, err := exec.LookPath("go")
		if err != nil {
			return fmt.Errorf("install %s: %w", prometheusName, err)
		}
		say("building " + prometheusName + " with go: some minutes on 2 cores, once")
		module := filepath.Join(root, "module")
		if err := errors.Join(os.RemoveAll(module), os.MkdirAll(module, 0o755),
			os.WriteFile(filepath.Join(module, "go.mod"), []byte("module prometheus\n"), 0o644)); err != nil {
			return err
		}
		const program = prometheusModule + "/cmd/" + prometheusName
		env := []string{"GOFLAGS=-mod=mod", "GOWORK=off"}
		// The program gets its name last: an interrupted build is done again.
		for _, args := range [][]string{
			{"get", program + "@" + prometheusVersion},
			{"build", "-tags", "remove_all_sd", "-o", prometheusName, program},
		} {
			if err := runToolIn(ctx, module, env, golang, args...); err != nil {
				return fmt.Errorf("install %s: %w", prometheusName, err)
			}
		}
		path = filepath.Join(root, prometheusName)
		if err := os.Rename(filepath.Join(module, prometheusName), path); err != nil {
			return err
		}
		say(prometheusName + " is built: " + path)
		return nil
	})
}

// runTool runs an installer to its end; the error holds the last lines it printed.
func runTool(ctx context.Context, path string, args ...string) error {
	return runToolIn(ctx, "", nil, path, args...)
}

// runToolIn is runTool in a folder and with more in its environment.
func runToolIn(ctx context.Context, dir string, env []string, path string, args ...string) error {
	tool := exec.CommandContext(ctx, path, args...)
	tool.Dir, tool.Env = dir, append(os.Environ(), env...)
	// Installers start children of their own; a cancelled one must take them with it.
	tool.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	tool.Cancel = func() error { return syscall.Kill(-tool.Process.Pid, syscall.SIGKILL) }
	tool.WaitDelay = killGrace
	text, err := tool.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), ctx.Err())
	}
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("%s %s: %w\n  %s", filepath.Base(path), strings.Join(args, " "), err,
			strings.Join(lines[max(0, len(lines)-logLines):], "\n  "))
	}
	return nil
}

// alone runs do while holding the lock file beside root, so that labs that start at once install
// something once.
func alone(ctx context.Context, root string, do func() error) error {
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return fmt.Errorf("lock %s: %w", root, err)
	}
	lock, err := os.OpenFile(root+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("lock %s: %w", root, err)
	}
	defer lock.Close()
	const lookAgain = 200 * time.Millisecond
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return do()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", root, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another lab that installs %s: %w", root, ctx.Err())
		case <-time.After(lookAgain):
		}
	}
}
