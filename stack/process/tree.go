package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Identity names a process beyond doubt: a pid is reused, a pid with its start time is not.
type Identity struct {
	PID int `json:"pid"`
	// Start is the time of the start, in the words of the operating system; only compared.
	Start string `json:"start"`
}

// Seen is one process as the operating system lists it.
type Seen struct {
	Identity
	parent int
	// State is one letter: T is stopped, Z a zombie.
	State string
}

// Alive is true if this very process still runs. A zombie is not alive: a zombie holds nothing, and
// where nobody reaps orphans it stays for ever.
func (i Identity) Alive() bool {
	now, err := Find(i.PID)
	return err == nil && now.Identity == i && now.State != "Z"
}

// descendants lists the children of a process, their children and so on, parents first. Processes
// ended meanwhile are left out.
func descendants(pid int) []Identity {
	children := map[int][]Identity{}
	for _, p := range List() {
		children[p.parent] = append(children[p.parent], p.Identity)
	}
	var found []Identity
	for next := children[pid]; len(next) > 0; {
		child := next[0]
		next = append(next[1:], children[child.PID]...)
		found = append(found, child)
	}
	return found
}

// leadsSession is true if the process leads a session and a group of its own, as every child does
// that the lab starts and records.
func (i Identity) leadsSession() bool {
	group, groupErr := unix.Getpgid(i.PID)
	session, sessionErr := unix.Getsid(i.PID)
	return i.PID > 1 && groupErr == nil && sessionErr == nil && group == i.PID && session == i.PID
}

// quitGrace is how long a child may take to end by Command.Quit, and restGrace how much longer the
// child's own children may take.
const (
	quitGrace = 5 * time.Second
	restGrace = time.Second / 2
)

// endTree ends a child, and the descendants, at once: by Command.Quit, where not 0, and then as
// killTree does.
func endTree(root Identity, quit syscall.Signal) error {
	if quit == 0 {
		return killTree(root)
	}
	tree := append([]Identity{root}, descendants(root.PID)...)
	// A frozen child would act on the signal only after a thaw.
	if err := errors.Join(root.Signal(quit), root.Signal(syscall.SIGCONT)); err != nil {
		return err
	}
	waitUntilGone(tree[:1], quitGrace)
	waitUntilGone(tree, restGrace)
	return killAll(tree)
}

// killTree ends a process of startProcess, and the descendants, and waits until all are gone. The
// signal goes to the process group first, so that even a child just being forked cannot escape;
// then comes every process outside the group, such as the backends of PostgreSQL.
func killTree(root Identity) error {
	// A frozen root forks no more behind the list of its descendants, and neither ends nor leaves
	// its number to another process. A surviving backend would keep PostgreSQL's shared memory.
	if err := root.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	tree := append([]Identity{root}, descendants(root.PID)...)
	if root.Alive() && root.leadsSession() {
		if err := Signal(-root.PID, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return killAll(tree)
}

// killAll ends the processes with SIGKILL, unless a pid now names another process, and waits until
// all are gone.
func killAll(all []Identity) error {
	for _, i := range all {
		if err := i.Signal(syscall.SIGKILL); err != nil {
			return err
		}
	}
	if i, there := waitUntilGone(all, killGrace); there {
		return fmt.Errorf("process %d is still there %v after SIGKILL", i.PID, killGrace)
	}
	return nil
}

// waitUntilGone waits until all processes are gone, and returns one that is there after the limit.
func waitUntilGone(all []Identity, limit time.Duration) (left Identity, there bool) {
	deadline := time.Now().Add(limit)
	for _, i := range all {
		for i.Alive() {
			if time.Now().After(deadline) {
				return i, true
			}
			time.Sleep(PollEvery)
		}
	}
	return Identity{}, false
}

// Signal signals this very process and no other; a process already gone is no error. FindProcess
// holds a pidfd where the kernel has them, so that a look at the process and the signal mean the
// same process.
func (i Identity) Signal(signal syscall.Signal) error {
	if i.PID <= 1 {
		return fmt.Errorf("send %v to process %d: no process of the lab", signal, i.PID)
	}
	held, err := os.FindProcess(i.PID)
	if err != nil {
		return fmt.Errorf("send %v to process %d: %w", signal, i.PID, err)
	}
	defer held.Release()
	if !i.Alive() {
		return nil
	}
	if err := held.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to process %d: %w", signal, i.PID, err)
	}
	return nil
}

// Signal signals a process; a process already gone is no error.
func Signal(pid int, signal syscall.Signal) error {
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", signal, pid, err)
	}
	return nil
}
