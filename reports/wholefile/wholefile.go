// Package wholefile replaces a file in one step. Whatever ends the process or the machine, and
// whichever write fails, the file is the old one or the new one, never a part. Start reading at
// Write.
package wholefile

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Write makes text the content of the file at path. Write fills a new file in the same folder,
// syncs the new file, renames the new file over path, and syncs the folder, so that the new content
// also survives a power cut after Write has returned. On an error before the rename the old file
// stays, and nothing else is left. The error names the file.
func Write(path string, text []byte) error { return writeTo(disk{}, path, text) }

// fileSystem is what Write asks of the operating system.
type fileSystem interface {
	// create makes a file for writing, which must not exist.
	create(path string) (file, error)
	rename(from, to string) error
	remove(path string) error
	// open opens a folder, to sync its entries.
	open(folder string) (file, error)
}

// file is an open file or folder.
type file interface {
	io.WriteCloser
	Sync() error
}

// disk is the real file system.
type disk struct{}

func (disk) create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}
func (disk) rename(from, to string) error     { return os.Rename(from, to) }
func (disk) remove(path string) error         { return os.Remove(path) }
func (disk) open(folder string) (file, error) { return os.Open(folder) }

func writeTo(fs fileSystem, path string, text []byte) error {
	folder := filepath.Dir(path)
	// The name is short however long the file's own name is.
	temporary := filepath.Join(folder, fmt.Sprintf(".new-%016x", rand.Uint64()))
	created, err := fs.create(temporary)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err = fill(created, text); err == nil {
		err = fs.rename(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, fs.remove(temporary)))
	}
	opened, err := fs.open(folder)
	if err != nil {
		return fmt.Errorf("sync the folder of %s: %w", path, err)
	}
	if err := errors.Join(opened.Sync(), opened.Close()); err != nil {
		return fmt.Errorf("sync the folder of %s: %w", path, err)
	}
	return nil
}

// fill writes, syncs and closes a new file; the first error counts.
func fill(created file, text []byte) error {
	_, err := created.Write(text)
	if err == nil {
		err = created.Sync()
	}
	return errors.Join(err, created.Close())
}
