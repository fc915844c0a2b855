package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cdclab/cdclab/stack/process"
)

// owners are the users for PostgreSQL when the lab is root, the best first. PostgreSQL's own user
// has no other programs on the machine; every program that wants no rights runs as nobody, and all
// of them would read the data.
var owners = []string{"postgres", "nobody"}

// owner returns the user for PostgreSQL when the lab is root, because PostgreSQL refuses root. Nil
// is the lab's own user.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range owners {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(found.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s has uid %q: %w", name, found.Uid, err)
		}
		group, err := namelessGroup()
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: group}, nil
	}
	return nil, fmt.Errorf("PostgreSQL refuses root, and the machine has no user %s",
		strings.Join(owners, " or "))
}

// Owner is the user of the server's processes; nil is the lab's own.
func (p *Server) Owner() *syscall.Credential { return p.owner }

// namelessGroup returns a group for PostgreSQL alone, so that no other program of PostgreSQL's user
// gets into the lab's folders. Neither distributions nor systemd hand out the numbers of the range.
func namelessGroup() (uint32, error) {
	const first, last = 65520, 65533
	for group := last; group >= first; group-- {
		if _, err := user.LookupGroupId(strconv.Itoa(group)); err != nil {
			return uint32(group), nil
		}
	}
	return 0, fmt.Errorf("find a group without a name: none from %d to %d", first, last)
}

// uid is the number of PostgreSQL's user.
func (p *Server) uid() int {
	if p.owner == nil {
		return os.Geteuid()
	}
	return int(p.owner.Uid)
}

// own gives a folder to the user of PostgreSQL.
func (p *Server) own(path string) error {
	if p.owner == nil {
		return nil
	}
	if err := os.Lchown(path, p.uid(), int(p.owner.Gid)); err != nil {
		return fmt.Errorf("give the database's folder to its user: %w", err)
	}
	return nil
}

// makeReachable lets the other user pass to the data folder, and copies programs out of a place
// closed to that user, such as root's home, into the folder.
func (p *Server) makeReachable() error {
	copied := p.Folder.File("postgres-programs")
	if p.owner == nil || filepath.Dir(p.binDir) == copied {
		return nil
	}
	if err := p.Folder.Admit(p.owner.Gid); err != nil {
		return err
	}
	// PostgreSQL looks for the rest of its files from where links lead.
	program, err := filepath.EvalSymlinks(filepath.Join(p.binDir, "postgres"))
	if err != nil {
		return fmt.Errorf("find PostgreSQL's programs: %w", err)
	}
	bin := filepath.Dir(program)
	roots := map[string]string{} // by the name in the copy
	reachable := openToAll(program)
	for _, part := range []string{filepath.Base(bin), "lib", "share"} {
		root, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(bin), part))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a distribution has one part elsewhere
		}
		if err != nil {
			return fmt.Errorf("find PostgreSQL's programs: %w", err)
		}
		roots[part] = root
		reachable = reachable && openToAll(root)
	}
	if reachable {
		p.binDir = bin
		return nil
	}
	if err := p.copyPrograms(roots, copied); err != nil {
		return fmt.Errorf("copy PostgreSQL's programs: %w", err)
	}
	p.binDir = filepath.Join(copied, filepath.Base(bin))
	return nil
}

// copyPrograms copies the folders, by their names in the copy, readable by PostgreSQL's user alone.
func (p *Server) copyPrograms(roots map[string]string, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := p.makeFolder(to); err != nil {
		return err
	}
	for part, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			into := filepath.Join(to, part, name)
			if d.IsDir() {
				return p.makeFolder(into)
			}
			return p.copyFile(path, into)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Server) makeFolder(path string) error {
	return errors.Join(os.Mkdir(path, 0o700), p.lend(path, 0o750))
}

// lend lets PostgreSQL's user alone read a file of the lab.
func (p *Server) lend(path string, mode fs.FileMode) error {
	return errors.Join(os.Lchown(path, -1, int(p.owner.Gid)), os.Chmod(path, mode))
}

// copyFile copies what a regular file, or a link to one, holds.
func (p *Server) copyFile(path, into string) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(into, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	mode := fs.FileMode(0o640)
	if info.Mode()&0o111 != 0 {
		mode = 0o750
	}
	return errors.Join(err, to.Close(), p.lend(into, mode))
}

// openToAll returns true if any user gets to the path, which has no link, and reads there.
func openToAll(path string) bool {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil || info.Mode().Perm()&0o001 == 0 && (info.IsDir() || at == path) {
			return false
		}
		if at == filepath.Dir(at) {
			return true
		}
	}
}

// toolLimit is far more than any tool takes.
const toolLimit = time.Minute

// runTool runs one of PostgreSQL's programs to its end as the owner. A cancelled ctx waits for the
// end, about a second, because a killed initdb leaves shared memory behind.
func runTool(ctx context.Context, owner *syscall.Credential, path string, args ...string) error {
	running, cancel := context.WithTimeout(context.WithoutCancel(ctx), toolLimit)
	defer cancel()
	err := process.RunTool(running, process.Command{Path: path, Args: args,
		Dir: string(filepath.Separator), Owner: owner, Quit: syscall.SIGTERM})
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), ctx.Err())
	}
	return err
}
