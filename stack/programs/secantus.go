package programs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/cdclab/cdclab/stack/process"
)

const (
	secantusPyPackage = "secantusdb==0.7.0b3"
	secantusRSCrate   = "secantus-mdb"
	secantusRSVersion = "0.5.3-beta.196"
)

// secantusPy is the virtual environment of secantusd-py.
type secantusPy struct {
	root, program string
	// mark names the installed version; without it the installation is done again.
	mark string
}

func secantusPyIn(cacheDir string) secantusPy {
	root := filepath.Join(cacheDir, SecantusPy)
	return secantusPy{root, filepath.Join(root, "bin", SecantusPy),
		filepath.Join(root, "installed-"+secantusPyPackage)}
}

// installed is true when the installation came to its end and nothing is missing since.
func (s secantusPy) installed() bool {
	if _, err := os.Stat(s.mark); err != nil {
		return false
	}
	err := checkWhole(s.root)
	if errors.Is(err, errUnsealed) {
		err = adopt(s.root, []string{"bin/" + SecantusPy, "bin/python"}, func() error {
			_, err := os.Stat(filepath.Join(s.root, "bin", "python"))
			return err
		})
	}
	return err == nil
}

// installSecantusPy puts secantusd-py into a virtual environment in the cache, unless already
// there, and returns the program's path.
func installSecantusPy(ctx context.Context, cacheDir string, say func(string)) (string, error) {
	slow := secantusPyIn(cacheDir)
	if slow.installed() {
		return slow.program, nil
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", fmt.Errorf("install %s: %w", SecantusPy, errNoPython)
	}
	root := slow.root
	err = process.Alone(ctx, root, func() error {
		if slow.installed() {
			return nil
		}
		say("installing " + SecantusPy + " into " + root + " (once, some seconds)")
		if err := os.RemoveAll(root); err != nil {
			return err
		}
		if err := process.RunTool(ctx, process.Command{Kind: process.Tool, Path: python,
			Args: []string{"-m", "venv", root}}); err != nil {
			return fmt.Errorf("%w: %w", errNoPython, err)
		}
		list := filepath.Join(root, "requirements.txt")
		if err := os.WriteFile(list, requirements(), 0o644); err != nil {
			return err
		}
		pip := process.Command{Kind: process.Tool, Path: filepath.Join(root, "bin", "python"),
			Args: []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check",
				"--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", list}}
		if err := process.RunTool(ctx, pip); err != nil {
			return err
		}
		if err := os.WriteFile(slow.mark, nil, 0o644); err != nil {
			return err
		}
		return seal(root)
	})
	if err != nil {
		return "", fmt.Errorf("install %s: %w", SecantusPy, err)
	}
	return slow.program, nil
}

// requirements lists the packages of secantusd-py with the sums of their files, for pip.
func requirements() []byte {
	var list bytes.Buffer
	packages := sumsOf("python/")
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		list.WriteString(name)
		for _, sum := range packages[name] {
			list.WriteString(" --hash=sha256:" + sum)
		}
		list.WriteByte('\n')
	}
	return list.Bytes()
}

// installSecantusRS builds secantusd-rs into the cache, unless there is one to be found.
func installSecantusRS(ctx context.Context, cacheDir string, say func(string)) error {
	root := secantusRSRoot(cacheDir)
	return process.Alone(ctx, root, func() error {
		path, err := findSecantusRS(cacheDir)
		var damaged *damagedError
		if errors.As(err, &damaged) {
			say(damaged.Error())
			err = os.RemoveAll(root)
		}
		if err != nil {
			return err
		}
		if path != "" {
			say(SecantusRS + " is there: " + path)
			return nil
		}
		cargo, err := exec.LookPath("cargo")
		if err != nil {
			return fmt.Errorf("install %s: cargo is not on PATH: "+
				"install Rust (https://rustup.rs), "+
				"or do without: the slow stand-in works", SecantusRS)
		}
		say("building " + SecantusRS + " with cargo: about 6 minutes on 2 cores, once")
		source, err := fetchCrate(ctx, cargo, root)
		if err != nil {
			return fmt.Errorf("install %s: %w", SecantusRS, err)
		}
		install := process.Command{Kind: process.Tool, Path: cargo, Args: []string{"install",
			"--path", source, "--locked", "--ignore-rust-version", "--root", root}}
		if err := process.RunTool(ctx, install); err != nil {
			return fmt.Errorf("install %s: %w", SecantusRS, err)
		}
		say(SecantusRS + " is built: " + filepath.Join(root, "bin", SecantusRS))
		return seal(root)
	})
}

// fetchCrate has cargo bring the crate, checks the crate and unpacks the crate below root. The
// crate's Cargo.lock has the sums of all its dependencies.
func fetchCrate(ctx context.Context, cargo, root string) (source string, err error) {
	const name = secantusRSCrate + "-" + secantusRSVersion
	bring := process.Command{Kind: process.Tool, Path: cargo,
		Args: []string{"info", secantusRSCrate + "@" + secantusRSVersion}}
	if err := process.RunTool(ctx, bring); err != nil {
		return "", err
	}
	home := os.Getenv("CARGO_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		home = filepath.Join(user, ".cargo")
	}
	// Each registry and mirror has a folder of its own.
	found, err := filepath.Glob(filepath.Join(home, "registry", "cache", "*", name+".crate"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("cargo brought no %s.crate: %w", name, cmp.Or(err, fs.ErrNotExist))
	}
	var wrong error
	for _, crate := range found {
		if wrong = checkFile(crate, "crate/"+filepath.Base(crate)); wrong == nil {
			into := filepath.Join(root, "source")
			if err := os.RemoveAll(into); err != nil {
				return "", err
			}
			if err := os.MkdirAll(root, 0o755); err != nil {
				return "", err
			}
			return filepath.Join(into, name), unpackGzip(crate, into)
		}
	}
	return "", wrong
}
