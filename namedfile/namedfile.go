// Package namedfile reads files that somebody names: a run, a plan, a recording, a password's file.
// The name may lead anywhere: a folder, a device without an end and a pipe without a writer are
// errors, never a wait. Start reading at Open.
package namedfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Small bounds, in bytes, a file that somebody writes by hand, and a certificate.
const Small = 4 << 20

// File is an open file with an end, or a pipe with a writer.
type File struct {
	file *os.File
	// isPipe is true for a pipe, which may be silent for ever; any is true after the first byte.
	isPipe, any bool
}

// Open opens a regular file, or a pipe that somebody writes to, such as the shell's <(command).
// Anything else is an error with the path. Open does not wait, and a wait in Read ends with SIGINT
// or SIGTERM.
func Open(path string) (*File, error) {
	// Without O_NONBLOCK a pipe without a writer would be waited for.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = refuse(path, info.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &File{file: file, isPipe: info.Mode()&fs.ModeNamedPipe != 0}, nil
}

// refuse returns an error for a file that may have no end.
func refuse(path string, mode fs.FileMode) error {
	if mode.IsRegular() || mode&fs.ModeNamedPipe != 0 {
		return nil
	}
	kind := "no regular file"
	switch {
	case mode.IsDir():
		kind = "a folder"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	}
	return fmt.Errorf("%s is %s: want a regular file", path, kind)
}

// Read reads as io.Reader. A pipe in which nobody writes, and a wait ended by a signal, are errors
// with the path.
func (f *File) Read(into []byte) (int, error) {
	if !f.isPipe {
		return f.file.Read(into)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = f.file.SetReadDeadline(time.Unix(1, 0)) })()
	n, err := f.file.Read(into)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%s: ended while the pipe was read", f.file.Name())
	case err == io.EOF && !f.any:
		err = fmt.Errorf("%s is a pipe, and nobody writes to the pipe", f.file.Name())
	}
	f.any = f.any || n > 0
	return n, err
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Read returns the content of a file that Open opens; more than most bytes are an error with the
// path.
func Read(path string, most int64) ([]byte, error) {
	file, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAll(file, path, most)
}

// CheckRegular returns an error with the path for anything but a regular file: for what is read
// more than once.
func CheckRegular(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = cmp.Or(refuse(path, info.Mode()), fmt.Errorf("%s is a pipe: want a regular file",
			path))
	}
	return err
}

// ReadEnd returns the content of a regular file behind a position, at most the last so many bytes.
func ReadEnd(path string, from, most int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(file, max(from, end-most), most))
}

// ReadIn is Read for a regular file of a file system.
func ReadIn(files fs.FS, path string, most int64) ([]byte, error) {
	info, err := fs.Stat(files, path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	file, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAll(file, path, most)
}

func readAll(from io.Reader, path string, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	if err != nil {
		return nil, err
	}
	return text, nil
}
