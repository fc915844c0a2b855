//go:build unix && !linux

package process

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Find asks ps for one process.
func Find(pid int) (Seen, error) {
	all := ps("-p", strconv.Itoa(pid))
	if len(all) != 1 {
		return Seen{}, fmt.Errorf("look at process %d: %w", pid, os.ErrProcessDone)
	}
	return all[0], nil
}

// List lists all processes.
func List() []Seen { return ps("-A") }

// ps lists processes with their start times, in the C locale so that the words are always the same.
func ps(which ...string) []Seen {
	list := NewCommand(context.Background(), Server, []string{"LC_ALL=C"}, "ps",
		append(which, "-o", "pid=,ppid=,state=,lstart=")...)
	// ps fails when it finds nothing, which is an empty list.
	text, _ := list.Output()
	var all []Seen
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		const pid, parent, state, start = 0, 1, 2, 3
		if len(fields) <= start {
			continue
		}
		id, idErr := strconv.Atoi(fields[pid])
		ppid, parentErr := strconv.Atoi(fields[parent])
		if idErr != nil || parentErr != nil {
			continue
		}
		all = append(all, Seen{
			Identity: Identity{PID: id, Start: strings.Join(fields[start:], " ")},
			parent:   ppid,
			State:    fields[state][:1],
		})
	}
	return all
}

// signalMainThread signals a process, because only Linux signals a thread of another process.
func signalMainThread(pid int, signal syscall.Signal) error { return Signal(pid, signal) }

// marked returns nothing: other systems show the environment of a process to nobody.
func marked(string) []Identity { return nil }
