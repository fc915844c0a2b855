package faults

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// readDescriptors reads the soft limit and the open files of a process.
func readDescriptors(pid int) (descriptors, error) {
	var limit unix.Rlimit
	if err := limitFiles(pid, nil, &limit); err != nil {
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
	err := limitFiles(pid, nil, &limit)
	if err == nil {
		limit.Cur = most
		err = limitFiles(pid, &limit, nil)
	}
	if err != nil {
		return fmt.Errorf("limit the files of pid %d to %d: %w", pid, most, err)
	}
	return nil
}

// limitFiles sets and reads the limit of a process, as prlimit(2). Root in a container may lack the
// right to do so with other users' processes (CAP_SYS_RESOURCE), and then does so as their user.
func limitFiles(pid int, set, got *unix.Rlimit) error {
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, set, got)
	if !errors.Is(err, unix.EPERM) || os.Geteuid() != 0 {
		return err
	}
	return asOwner(pid, func() error {
		return unix.Prlimit(pid, unix.RLIMIT_NOFILE, set, got)
	})
}

// asOwner calls do as the user and the group of a process, on a thread that ends after the call.
func asOwner(pid int, do func() error) error {
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and no unlock: Go ends the thread with the goroutine
		// Of this thread alone; the group first, because another user may not change the group.
		gid, uid := uintptr(owner.Gid), uintptr(owner.Uid)
		_, _, number := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid)
		if number == 0 {
			_, _, number = unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid)
		}
		if number != 0 {
			done <- fmt.Errorf("become the user of pid %d: %w", pid, number)
			return
		}
		done <- do()
	}()
	return <-done
}
