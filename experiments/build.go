package experiments

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs are the paths of the programs that a Run starts as children.
type Programs struct {
	Consumer, K6 string
}

// FindRoot is the folder of the lab's sources: the nearest folder upwards from the working
// directory whose go.mod is this module's. Children are built from it and scenarios are found in it.
func FindRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the lab's sources: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		_, consumerErr := os.Stat(filepath.Join(dir, "consumer", "cmd", "consumer"))
		_, modErr := os.Stat(filepath.Join(dir, "go.mod"))
		if consumerErr == nil && modErr == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the lab's sources: no cdclab checkout at or above the working directory")
		}
	}
}

// Build compiles the consumer and k6 into root/bin unless given is already set, so that the
// measured consumer is always the one in the tree. Two labs may build at once.
func Build(ctx context.Context, root string, given Programs, log io.Writer) (Programs, error) {
	built := given
	for _, program := range []struct {
		path *string
		name string
		pkg  string
	}{
		{&built.Consumer, "consumer", "./consumer/cmd/consumer"},
		{&built.K6, "k6", "./xk6-cdc/cmd/k6"},
	} {
		if *program.path != "" {
			if _, err := os.Stat(*program.path); err != nil {
				return built, fmt.Errorf("find the %s program: %w", program.name, err)
			}
			continue
		}
		path, err := buildOne(ctx, root, program.name, program.pkg, log)
		if err != nil {
			return built, err
		}
		*program.path = path
	}
	return built, nil
}

// buildLog is where a build says what is wrong: among JSON lines, as such lines.
func (c *Config) buildLog() io.Writer {
	if c.JSON && c.Terminal != nil {
		return linesTo(c.Say)
	}
	return c.Terminal
}

// linesTo says each line that is written to it; what the compiler writes at once has whole lines.
type linesTo func(string)

func (say linesTo) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		say(strings.TrimRight(line, "\n"))
	}
	return len(text), nil
}

func buildOne(ctx context.Context, root, name, pkg string, log io.Writer) (string, error) {
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	temp, err := os.MkdirTemp(bin, ".build-")
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	defer os.RemoveAll(temp)
	command := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(temp, name), pkg)
	command.Dir, command.Stdout, command.Stderr = root, log, log
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("build %s (go build %s in %s): %w", name, pkg, root, err)
	}
	path := filepath.Join(bin, name)
	if err := os.Rename(filepath.Join(temp, name), path); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return path, nil
}

// fileSHA256 is the SHA-256 of a file's content in hex.
func fileSHA256(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("hash %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
