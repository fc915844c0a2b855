package gating

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports/gate"
	"github.com/cdclab/cdclab/stack/process"
)

// wanted is a build: of a revision, with a planted slowdown, "" for none; or the program at given,
// which nobody builds.
type wanted struct{ revision, planted, given string }

// String names a revision and what is planted in it, such as "main sleep=5ms".
func (w wanted) String() string { return strings.TrimSpace(w.revision + " " + w.planted) }

// check returns an error for a given program that cannot be a program.
func (w wanted) check() error {
	if w.given == "" {
		return nil
	}
	info, err := os.Stat(w.given)
	if err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0) {
		err = fmt.Errorf("%s is no executable file", w.given)
	}
	return err
}

// builds are consumers built from git worktrees, or copies of given programs, in a folder of their
// own.
type builds struct {
	folder string
	builds []gate.Build
	paths  []string
}

func (b *builds) remove() { _ = os.RemoveAll(b.folder) }

// makeBuilds makes a consumer for each wanted. The lab's own checkout stays as it is.
func makeBuilds(ctx context.Context, all []wanted, say func(string)) (made *builds, err error) {
	root, err := experiments.FindRoot()
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if err := one.check(); err != nil {
			return nil, fmt.Errorf("find the consumer on trial: %w", err)
		}
	}
	made = &builds{}
	if made.folder, err = os.MkdirTemp("", "cdclab-gate-"); err != nil {
		return nil, fmt.Errorf("make the builds: %w", err)
	}
	for i, one := range all {
		makeOne := made.build
		if one.given != "" {
			makeOne = made.keep
		} else {
			say("building the consumer of " + one.String())
		}
		build, path, err := makeOne(ctx, root, fmt.Sprint(i), one)
		if err != nil {
			made.remove()
			return nil, fmt.Errorf("build the consumer of %s: %w", build.Revision, err)
		}
		made.builds, made.paths = append(made.builds, build), append(made.paths, path)
	}
	return made, nil
}

// build compiles a consumer in a worktree, and removes the worktree. All worktrees have the same
// path, so that equal sources become equal programs, and the second build is quick.
func (b *builds) build(ctx context.Context, root, name string, one wanted) (build gate.Build,
	path string, err error) {
	build.Revision, path = one.revision, filepath.Join(b.folder, "consumer-"+name)
	source := root
	if build.Commit, err = resolve(ctx, root, one.revision); err != nil {
		return build, "", err
	}
	if one.revision != Tree {
		source = filepath.Join(b.folder, "source")
		if err := git(ctx, root, "worktree", "add", "--detach", source, build.Commit); err != nil {
			return build, "", err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx),
				experiments.DownTimeout)
			defer cancel()
			err = errors.Join(err, git(ctx, root, "worktree", "remove", "--force", source))
		}()
	}
	args := []string{"build", "-buildvcs=false", "-o", path}
	if one.planted != "" {
		args = append(args, "-tags", plantTag, "-ldflags", "-X "+plantVariable+"="+one.planted)
	}
	err = process.RunTool(ctx, process.Command{Kind: process.Tool, Path: "go",
		Args: append(args, "."), Dir: filepath.Join(source, "consumer", "cmd", "consumer")})
	if err != nil {
		return build, "", err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return build, "", err
	}
	build.SHA256 = sumOf(program)
	return build, path, nil
}

func sumOf(program []byte) string {
	sum := sha256.Sum256(program)
	return hex.EncodeToString(sum[:])
}

// mostProgram bounds a given program, in bytes.
const mostProgram = 1 << 30

// keep copies a given program, so that a compiler that writes the file again under the gate changes
// no side.
func (b *builds) keep(_ context.Context, _, name string, one wanted) (gate.Build, string, error) {
	build, path := gate.Build{Revision: one.given}, filepath.Join(b.folder, "consumer-"+name)
	program, err := namedfile.Read(one.given, mostProgram)
	if err != nil {
		return build, "", err
	}
	build.SHA256 = sumOf(program)
	return build, path, os.WriteFile(path, program, 0o700)
}

// resolve returns the commit of a revision; of Tree the commit beneath.
func resolve(ctx context.Context, root, revision string) (string, error) {
	if revision == Tree {
		commit, _ := experiments.Commit(root)
		return commit, nil
	}
	out, err := process.ReadTool(ctx, process.Command{Kind: process.Tool, Path: "git",
		Args: []string{"-C", root, "rev-parse", "--verify", "--quiet", "--end-of-options",
			revision + "^{commit}"}})
	if err != nil {
		return "", fmt.Errorf("no revision %q in %s: %w", revision, root, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func git(ctx context.Context, root string, args ...string) error {
	return process.RunTool(ctx, process.Command{Kind: process.Tool, Path: "git",
		Args: append([]string{"-C", root}, args...)})
}
