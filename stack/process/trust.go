package process

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// othersWrite are the bits by which other users write.
const othersWrite = 0o022

// untrusted says why the lab leaves a file or a folder alone.
type untrusted struct{ path, why string }

// Error quotes the path, because another user may have chosen the name.
func (u *untrusted) Error() string { return fmt.Sprintf("%q %s", u.path, u.why) }

// trustOf is nil where info is of the user's own folder or regular file, and no other user writes
// there.
func trustOf(path string, info fs.FileInfo, folder bool, user int) error {
	refuse := func(why string, about ...any) error {
		return &untrusted{path, fmt.Sprintf(why, about...)}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case folder && !info.IsDir():
		return refuse("is no folder: %v", info.Mode())
	case !folder && !info.Mode().IsRegular():
		return refuse("is no regular file: %v", info.Mode())
	case !ok || int(stat.Uid) != user:
		return refuse("belongs to user %d", stat.Uid)
	case info.Mode().Perm()&othersWrite != 0:
		return refuse("is open to writes of other users: %v", info.Mode())
	case !folder && stat.Nlink > 1: // another user may have given a file of this user the name
		return refuse("has %d names", stat.Nlink)
	}
	return nil
}

// trustFolder is nil for this user's own folder: no link, and without writes of other users.
func trustFolder(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return trustOf(path, info, true, os.Geteuid())
}

// OpenOf opens a regular file of the user with the number. OpenOf follows no link at the end of the
// path, waits for no other end of a FIFO, and refuses a file where other users write, or with a
// second name. A file is emptied only after that. A new file is for its owner alone.
func OpenOf(user int, path string, flags int) (*os.File, error) {
	const careful = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	file, err := os.OpenFile(path, flags&^os.O_TRUNC|careful, 0o600)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, &untrusted{path, "is a link"}
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR):
		return nil, &untrusted{path, "is no regular file"}
	case err != nil:
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = trustOf(path, info, false, user)
	}
	if err == nil && flags&os.O_TRUNC != 0 {
		err = file.Truncate(0)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// readBounded reads a file of at most so many bytes.
func readBounded(file *os.File, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(text)) > most {
		err = &untrusted{file.Name(), fmt.Sprintf("has more than %d bytes", most)}
	}
	return text, err
}

// ReadOf reads a regular file of the user, of at most so many bytes, as OpenOf opens the file.
func ReadOf(user int, path string, most int64) ([]byte, error) {
	file, err := OpenOf(user, path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readBounded(file, most)
}

// trustBase is nil where no other user but the machine's administrator may replace a folder below
// base: in every folder on the way other users write nothing, or, as in /tmp, replace only what
// belongs to them.
func trustBase(base string) error {
	real, err := filepath.EvalSymlinks(base)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return err
	}
	root, err := os.Stat(string(filepath.Separator))
	if err != nil {
		return err
	}
	for path := real; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		mode := info.Mode()
		// A group of this user's own is a group without others on most machines.
		ownGroup := ok && int(stat.Gid) == os.Getegid() && mode.Perm()&0o002 == 0
		switch {
		case !ok || int(stat.Uid) != os.Geteuid() && stat.Uid != root.Sys().(*syscall.Stat_t).Uid:
			return &untrusted{path, fmt.Sprintf("belongs to user %d", stat.Uid)}
		case mode.Perm()&othersWrite != 0 && mode&fs.ModeSticky == 0 && !ownGroup:
			return &untrusted{path, fmt.Sprintf("is open to writes of other users: %v", mode)}
		case path == filepath.Dir(path):
			return nil
		}
	}
}

// TrustPath is nil where no other user but the machine's administrator may replace what is at the
// path, or, where nothing is there, the folder in which the path will be made.
func TrustPath(path string) error {
	for ; ; path = filepath.Dir(path) {
		if err := trustBase(path); !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return err
		}
	}
}

// userPrefix is the name of this user's folder in a base; a longer name follows where a stranger
// took the name.
func userPrefix() string { return fmt.Sprintf("cdclab-%d", os.Geteuid()) }

// userFolder returns this user's folder below base and makes the folder where missing. Everything
// of the user's runs is below, and no other user enters.
func userFolder(base string) (string, error) {
	if err := trustBase(base); err != nil {
		return "", fmt.Errorf("put data below %s: %w; set TMPDIR to a folder of your own", base,
			err)
	}
	path := filepath.Join(base, userPrefix())
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := trustFolder(path); err == nil {
		return path, nil
	}
	return os.MkdirTemp(base, userPrefix()+"-*")
}
