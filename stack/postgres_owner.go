package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// postgresOwner is the user to run PostgreSQL as when the lab is root, which it refuses: nobody, or
// where there is none, a number that has no name. Nil is the lab's own user.
func postgresOwner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	const overflow = 65534
	owner := &syscall.Credential{Uid: overflow, Gid: overflow}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return owner, nil
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user nobody has uid %q: %w", nobody.Uid, err)
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user nobody has gid %q: %w", nobody.Gid, err)
	}
	owner.Uid, owner.Gid = uint32(uid), uint32(gid)
	return owner, nil
}

// own gives a folder to the user that PostgreSQL runs as.
func (p *postgresServer) own(path string) error {
	if p.owner == nil {
		return nil
	}
	if err := os.Chown(path, int(p.owner.Uid), int(p.owner.Gid)); err != nil {
		return fmt.Errorf("give the database's folder to its user: %w", err)
	}
	return nil
}

// makeReachable sees to it that the other user gets to the programs: those below root's home are
// copied into the data folder.
func (p *postgresServer) makeReachable() error {
	if p.owner == nil || openToAll(p.binDir) {
		return nil
	}
	copied := p.folder.file("postgres-programs")
	if err := os.RemoveAll(copied); err != nil {
		return fmt.Errorf("copy PostgreSQL's programs: %w", err)
	}
	if err := os.CopyFS(copied, os.DirFS(filepath.Dir(p.binDir))); err != nil {
		return fmt.Errorf("copy PostgreSQL's programs: %w", err)
	}
	// CopyFS makes folders and files under the umask, which may shut others out.
	err := filepath.WalkDir(copied, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		const readable, searchable = 0o444, 0o111
		mode := info.Mode().Perm() | readable
		if mode&searchable != 0 {
			mode |= searchable
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		return fmt.Errorf("copy PostgreSQL's programs: %w", err)
	}
	p.binDir = filepath.Join(copied, filepath.Base(p.binDir))
	return nil
}

// openToAll says whether any user gets to the path.
func openToAll(path string) bool {
	for {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(path)
		if parent == path {
			return true
		}
		path = parent
	}
}

// toolLimit is far more than any tool takes.
const toolLimit = time.Minute

// runPostgresTool runs one of PostgreSQL's programs to its end; the error holds what it printed. A
// cancelled ctx waits for that end, about a second: a killed initdb leaves shared memory behind.
func runPostgresTool(
	ctx context.Context, owner *syscall.Credential, path string, args ...string,
) error {
	running, cancel := context.WithTimeout(context.WithoutCancel(ctx), toolLimit)
	defer cancel()
	tool := exec.CommandContext(running, path, args...)
	tool.Dir = string(filepath.Separator)
	tool.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: owner}
	// It runs postgres itself, which must not outlive it.
	tool.Cancel = func() error { return syscall.Kill(-tool.Process.Pid, syscall.SIGKILL) }
	tool.WaitDelay = killGrace
	text, err := tool.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), ctx.Err())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), errors.New(strings.TrimSpace(string(text))))
	}
	return nil
}
