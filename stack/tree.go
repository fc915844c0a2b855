package stack

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// identity names a process beyond doubt: a pid is reused, a pid with its start time is not.
type identity struct {
	PID int `json:"pid"`
	// Start is when it was started, in the words of the operating system; only compared.
	Start string `json:"start"`
}

// seen is one process as the operating system lists it.
type seen struct {
	identity
	parent int
	// state is one letter: T is stopped, Z a zombie.
	state string
}

// alive says whether this very process still runs. A zombie does not: it holds nothing, and where
// nobody reaps orphans it stays for ever.
func (i identity) alive() bool {
	now, err := lookAt(i.PID)
	return err == nil && now.identity == i && now.state != "Z"
}

// descendants are the children of a process, their children and so on, parents first. Processes
// that end while it looks are left out.
func descendants(pid int) []identity {
	children := map[int][]identity{}
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p.identity)
	}
	var found []identity
	for next := children[pid]; len(next) > 0; {
		child := next[0]
		next = append(next[1:], children[child.PID]...)
		found = append(found, child)
	}
	return found
}

// killTree ends a process that startProcess started, and its descendants, and waits until they are
// gone. The signal goes to the process group first, which even a child that is being forked cannot
// escape; those that left the group, as the backends of PostgreSQL do, come after it.
func killTree(pid int) error {
	var tree []identity
	if root, err := lookAt(pid); err == nil {
		tree = append(tree, root.identity)
	}
	tree = append(tree, descendants(pid)...)
	if err := signalPID(-pid, syscall.SIGKILL); err != nil {
		return err
	}
	return killAll(tree)
}

// killAll ends the processes with SIGKILL, those that are still the same ones, and waits until
// they are gone.
func killAll(all []identity) error {
	for _, i := range all {
		if !i.alive() {
			continue
		}
		if err := signalPID(i.PID, syscall.SIGKILL); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(killGrace)
	for _, i := range all {
		for i.alive() {
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d is still there %v after SIGKILL", i.PID, killGrace)
			}
			time.Sleep(pollEvery)
		}
	}
	return nil
}

// signalPID signals a process; one that is gone already is no error.
func signalPID(pid int, signal syscall.Signal) error {
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", signal, pid, err)
	}
	return nil
}
