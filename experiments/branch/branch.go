// Package branch lends a git branch as a folder, and commits the changes: a history of runs then
// outlives the machine, and no checkout is touched. The package pushes and fetches nothing. Start
// reading at Lend.
package branch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cdclab/cdclab/stack/process"
)

// cleanUp bounds the removal of the folder, also after an interrupt.
const cleanUp = 30 * time.Second

// repository is a git repository.
type repository struct{ root string }

func (r repository) run(ctx context.Context, args ...string) error {
	return process.RunTool(ctx, process.Command{Kind: process.Tool, Path: "git",
		Args: append([]string{"-C", r.root}, args...)})
}

func (r repository) has(ctx context.Context, ref string) bool {
	return r.run(ctx, "rev-parse", "--verify", "--quiet", ref) == nil
}

// Lend gives use a folder with the files of a branch of the repository at root, and afterwards
// commits the folder's changes to the branch with the message. A branch that is nowhere begins
// empty; a branch that only the remote origin has begins there. Where use fails, or the message is
// empty, nothing is committed.
func Lend(ctx context.Context, root, name, message string, use func(dir string) error) (err error) {
	r := repository{root}
	if err := r.run(ctx, "check-ref-format", "refs/heads/"+name); err != nil ||
		strings.HasPrefix(name, "-") {
		return fmt.Errorf("%q cannot be a branch", name)
	}
	folder, err := os.MkdirTemp("", "cdclab-branch-")
	if err != nil {
		return fmt.Errorf("lend branch %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	dir := filepath.Join(folder, "files")
	if err := r.checkOut(ctx, name, dir); err != nil {
		return fmt.Errorf("lend branch %s: %w", name, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()
		err = errors.Join(err, r.run(ctx, "worktree", "remove", "--force", dir))
	}()
	if err := use(dir); err != nil || message == "" {
		return err
	}
	if err := (repository{dir}).commit(ctx, message); err != nil {
		return fmt.Errorf("keep the changes in branch %s: %w", name, err)
	}
	return nil
}

// checkOut makes dir a worktree of the branch.
func (r repository) checkOut(ctx context.Context, name, dir string) error {
	local, remote := "refs/heads/"+name, "refs/remotes/origin/"+name
	switch {
	case r.has(ctx, local):
		return r.run(ctx, "worktree", "add", dir, name)
	case r.has(ctx, remote):
		return r.run(ctx, "worktree", "add", "-b", name, dir, remote)
	}
	there := repository{dir}
	err := r.run(ctx, "worktree", "add", "--detach", "--no-checkout", dir)
	if err == nil {
		err = there.run(ctx, "symbolic-ref", "HEAD", local)
	}
	if err == nil { // the files of the commit before are no part of the branch
		err = there.run(ctx, "read-tree", "--empty")
	}
	return err
}

// commit commits every change, if there is a change; without a name of the user's, as cdclab.
func (r repository) commit(ctx context.Context, message string) error {
	if err := r.run(ctx, "add", "--all", "--force"); err != nil {
		return err
	}
	if r.has(ctx, "HEAD") && r.run(ctx, "diff", "--cached", "--quiet") == nil {
		return nil
	}
	args := []string{"commit", "--quiet", "--allow-empty", "--no-verify", "--no-gpg-sign", "-m",
		message}
	if r.run(ctx, "var", "GIT_COMMITTER_IDENT") != nil {
		args = append([]string{"-c", "user.name=cdclab", "-c", "user.email=cdclab@localhost"},
			args...)
	}
	return r.run(ctx, args...)
}
