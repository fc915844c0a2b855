package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// bootID tells one boot from the next: start times count from boot.
var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
})

// Find reads /proc/PID/stat (proc_pid_stat(5)): field 3 is the state, 4 the parent, 22 the start
// in clock ticks since boot.
func Find(pid int) (Seen, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Seen{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	// Field 2 is the program's name in parentheses and may hold anything, parentheses too: the text
	// after the last parenthesis begins with field 3.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, parent, start = 0, 1, 19
	if len(fields) <= start {
		return Seen{}, fmt.Errorf("look at process %d: %d fields in stat", pid, len(fields))
	}
	ppid, err := strconv.Atoi(string(fields[parent]))
	if err != nil {
		return Seen{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return Seen{
		Identity: Identity{PID: pid, Start: bootID() + "/" + string(fields[start])},
		parent:   ppid,
		State:    string(fields[state]),
	}, nil
}

// List lists all processes.
func List() []Seen {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []Seen
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if p, err := Find(pid); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// signalMainThread signals the main thread of a process, because Python acts on a signal there
// alone; a process already gone is no error.
func signalMainThread(pid int, signal syscall.Signal) error {
	if err := unix.Tgkill(pid, pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", signal, pid, err)
	}
	return nil
}

// marked lists the processes started with the setting, NAME=value, in their environment, as far as
// this user may look.
func marked(setting string) (found []Identity) {
	for _, p := range List() {
		environment, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/environ")
		if err != nil || p.PID == os.Getpid() {
			continue
		}
		for one := range bytes.SplitSeq(environment, []byte{0}) {
			if string(one) == setting {
				found = append(found, p.Identity)
			}
		}
	}
	return found
}
