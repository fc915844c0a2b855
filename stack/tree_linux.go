package stack

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// bootID tells one boot from the next: start times count from boot.
var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
})

// lookAt reads /proc/PID/stat (proc_pid_stat(5)): field 3 is the state, 4 the parent, 22 the start
// in clock ticks since boot.
func lookAt(pid int) (seen, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return seen{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	// Field 2 is the program's name in parentheses and may hold anything, parentheses too: what is
	// cut here begins with field 3.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, parent, start = 0, 1, 19
	if len(fields) <= start {
		return seen{}, fmt.Errorf("look at process %d: %d fields in stat", pid, len(fields))
	}
	ppid, err := strconv.Atoi(string(fields[parent]))
	if err != nil {
		return seen{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return seen{
		identity: identity{PID: pid, Start: bootID() + "/" + string(fields[start])},
		parent:   ppid,
		state:    string(fields[state]),
	}, nil
}

// processes lists all processes.
func processes() []seen {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []seen
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if p, err := lookAt(pid); err == nil {
			all = append(all, p)
		}
	}
	return all
}
