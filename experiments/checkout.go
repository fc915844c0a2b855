package experiments

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cdclab/cdclab/stack/process"
)

// Programs are the paths of the programs that a Run starts as children.
type Programs struct {
	Consumer, K6 string
}

// FindRoot finds the folder of the lab's sources: the checkout that this program was built in, as
// bin/cdclab, else the nearest folder upwards from the working directory with this module's go.mod.
// The lab builds children from the folder and finds scenarios there.
func FindRoot() (string, error) {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if bin := filepath.Dir(program); err == nil && filepath.Base(bin) == "bin" {
		if root := filepath.Dir(bin); isCheckout(root) {
			return root, nil
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the lab's sources: %w", err)
	}
	for ; !isCheckout(dir); dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the lab's sources: " +
				"no cdclab checkout at or above the working directory")
		}
	}
	return dir, nil
}

func isCheckout(dir string) bool {
	_, consumerErr := os.Stat(filepath.Join(dir, "consumer", "cmd", "consumer"))
	_, modErr := os.Stat(filepath.Join(dir, "go.mod"))
	return consumerErr == nil && modErr == nil
}

// BaselineDir returns the folder of the stored baselines, in the checkout, so that baselines are
// reviewed.
func BaselineDir(root string) string { return filepath.Join(root, "baselines") }

// Build compiles the consumer and k6 into root/bin unless given is already set, so that the
// measured consumer is always the tree's. Two labs may build at once.
func Build(ctx context.Context, root string, given Programs) (Programs, error) {
	var built Programs
	var err error
	if built.Consumer, err = BuildConsumer(ctx, root, given.Consumer); err != nil {
		return given, err
	}
	built.K6, err = findOrBuild(ctx, root, given.K6, "k6", "xk6-cdc/cmd/k6")
	return built, err
}

// BuildConsumer compiles the consumer alone, unless given is the consumer's path.
func BuildConsumer(ctx context.Context, root, given string) (string, error) {
	return findOrBuild(ctx, root, given, "consumer", "consumer/cmd/consumer")
}

func findOrBuild(ctx context.Context, root, given, name, pkg string) (string, error) {
	if given == "" {
		return buildOne(ctx, root, name, pkg)
	}
	if _, err := os.Stat(given); err != nil {
		return "", fmt.Errorf("find the %s program: %w", name, err)
	}
	return given, nil
}

// buildOne compiles the program with sources in root/folder. The compiler runs in the folder,
// because k6 belongs to another module than the consumer.
func buildOne(ctx context.Context, root, name, folder string) (string, error) {
	path := filepath.Join(root, "bin", name)
	err := process.Alone(ctx, path, func() error {
		// A file of a build that was killed is built over.
		unfinished := path + ".new"
		build := process.Command{Kind: process.Tool, Path: "go",
			Args: []string{"build", "-o", unfinished, "."},
			Dir:  filepath.Join(root, filepath.FromSlash(folder))}
		if err := process.RunTool(ctx, build); err != nil {
			return err
		}
		return os.Rename(unfinished, path)
	})
	if err != nil {
		return "", fmt.Errorf("build %s in %s: %w", name, filepath.Join(root, folder), err)
	}
	return path, nil
}
