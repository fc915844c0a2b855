package faults

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// readDescriptors reads the soft limit and the open files of a process.
func readDescriptors(pid int) (descriptors, error) {
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		return descriptors{}, fmt.Errorf("read the limits of pid %d: %w", pid, err)
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return descriptors{}, fmt.Errorf("count the open files of pid %d: %w", pid, err)
	}
	return descriptors{limit.Cur, uint64(len(open))}, nil
}

// setDescriptors sets the soft limit of a process.
func setDescriptors(pid int, most uint64) error {
	var limit unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit)
	if err == nil {
		limit.Cur = most
		err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil)
	}
	if err != nil {
		return fmt.Errorf("limit the files of pid %d to %d: %w", pid, most, err)
	}
	return nil
}
