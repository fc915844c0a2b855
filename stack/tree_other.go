//go:build unix && !linux

package stack

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// lookAt asks ps for one process.
func lookAt(pid int) (seen, error) {
	all := ps("-p", strconv.Itoa(pid))
	if len(all) != 1 {
		return seen{}, fmt.Errorf("look at process %d: %w", pid, os.ErrProcessDone)
	}
	return all[0], nil
}

// processes lists all processes.
func processes() []seen { return ps("-A") }

// ps lists processes with their start times, in the C locale so that the words are always the same.
func ps(which ...string) []seen {
	list := exec.Command("ps", append(which, "-o", "pid=,ppid=,state=,lstart=")...)
	list.Env = append(os.Environ(), "LC_ALL=C")
	// ps fails when it finds nothing, which is an empty list.
	text, _ := list.Output()
	var all []seen
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
		all = append(all, seen{
			identity: identity{PID: id, Start: strings.Join(fields[start:], " ")},
			parent:   ppid,
			state:    fields[state][:1],
		})
	}
	return all
}
