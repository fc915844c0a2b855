package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process has the lock.
var ErrLocked = errors.New("another process has the lock")

// Lock takes the lock of an open file or folder, or returns ErrLocked. The lock ends with the file,
// and with the process.
func Lock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// TryLock takes the lock file beside a path, root.lock, or returns ErrLocked. The lock ends with
// the file, and with the process.
func TryLock(root string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", root, err)
	}
	lock, err := os.OpenFile(root+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK,
		0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", root, err)
	}
	if err = Lock(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", root, err), lock.Close())
	}
	return lock, nil
}

// Alone runs do while holding the lock of root, so that labs started at once make each thing once.
func Alone(ctx context.Context, root string, do func() error) error {
	const lookAgain = 200 * time.Millisecond
	for {
		lock, err := TryLock(root)
		if err == nil {
			defer lock.Close()
			return do()
		}
		if !errors.Is(err, ErrLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another lab that makes %s: %w", root, ctx.Err())
		case <-time.After(lookAgain):
		}
	}
}
