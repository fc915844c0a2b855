package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/stack"
	child "github.com/cdclab/cdclab/stack/process"
)

func resourceKinds() []Kind {
	kinds := []Kind{
		{Name: "cpu-stress", Does: "keeps processors of the machine busy beside the target",
			Targets: everyPart, Parameters: []Parameter{{Name: "workers", Type: numberType,
				Default: "1", Least: 1, Most: 64,
				Does: "processes that each take as much of a processor as they get"}},
			Verified: "the workers took processor time",
			Undone:   "the workers are killed; after a dead lab the next start kills them",
			bind:     stressCPU},
		{Name: "memory-pressure", Does: "holds memory of the machine beside the target",
			Targets: everyPart, Parameters: []Parameter{{Name: "megabytes", Type: numberType,
				Default: "256", Least: 1, Most: 65536, Does: "the memory to hold"}},
			LeastFor: 2 * time.Second,
			Verified: "a process of the lab's has so much resident memory",
			Undone:   "the process is killed; after a dead lab the next start kills the process",
			bind:     holdMemory},
		{Name: "descriptors-exhausted", Does: "lowers the target's limit of file descriptors " +
			"(RLIMIT_NOFILE) to half of the open ones",
			// No MongoDB: WiredTiger panics without descriptors, and stays broken until a restart.
			Targets:  []string{stack.Postgres, stack.Consumer},
			Verified: "the limit stands, and the process has at least as many open files",
			Undone:   "the limit from before is set", unable: limitable, bind: exhaustDescriptors},
		{Name: "disk-full", Does: "leaves no room on the target's own small file system (tmpfs): " +
			"PostgreSQL refuses rows that need a new page, and ends where the log needs room; " +
			"Kafka ends",
			Targets: []string{stack.Postgres, stack.Kafka}, OnDisk: true,
			Verified: "PostgreSQL refuses a write for want of room (SQLSTATE 53100), or the " +
				"target logs that no space is left",
			Undone: "there is room again, and the target is started if gone",
			notOn:  map[string][]string{stack.Embedded: {stack.Kafka}},
			lacks:  child.DiskImpossible, unable: hasDisk, bind: fillDisk},
		{Name: "slow-disk", Does: "has each sync of the target's files take longer, as on a slow " +
			"disk (strace delays the system calls)",
			Targets: []string{stack.Postgres, stack.Mongo},
			Parameters: []Parameter{{Name: "by", Type: lengthType, Default: "100ms", Least: 1,
				Does: "how much longer"}},
			LeastFor: 2 * time.Second,
			Verified: "strace says which syncs were delayed", Undone: "strace ends",
			lacks: lacksTracer, unable: hasProcess,
			bind: func(s Site) *Injection { return slowDisk(s, s.Stack) }},
		{Name: "cpu-limited", Does: "leaves the target's container a part of one processor (a " +
			"quota of the control group)", Targets: everyPart,
			Parameters: []Parameter{{Name: "percent", Type: numberType, Default: "20", Least: 1,
				Most: 99, Does: "per cent of one processor"}},
			LeastFor: 2 * time.Second,
			Verified: "the kernel kept the container from running",
			Undone:   "the container has no quota", Stacks: []string{stack.Compose},
			unable: needs[container](" is in no container"), bind: limitCPU},
	}
	for i := range kinds {
		kinds[i].Family, kinds[i].Ends = "resources", Lasts
		// A part without room cannot start, nor take what other faults write.
		kinds[i].Shared = !kinds[i].OnDisk
		if kinds[i].Stacks == nil {
			kinds[i].Stacks = []string{stack.Embedded, stack.Native}
		}
	}
	return kinds
}

// stressCPU starts processes that only count. The processes are the Stack's children, so that none
// outlives the lab for long.
func stressCPU(s Site) *Injection {
	var workers []*child.Process
	var began time.Time
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(context.Context) error {
		began = time.Now()
		for n := range s.With.Number("workers") {
			worker, err := s.Stack.Start(child.Command{Name: "chaos-cpu-" + strconv.Itoa(n+1),
				Path: "/bin/sh", Args: []string{"-c", "while :; do :; done"}})
			if err != nil {
				return err
			}
			workers = append(workers, worker)
		}
		return nil
	}
	i.During = func(ctx context.Context) (string, error) {
		var took float64
		for _, worker := range workers {
			times, err := (&process.Process{Pid: int32(worker.PID())}).TimesWithContext(ctx)
			if err != nil {
				return "", fmt.Errorf("read the processor time of pid %d: %w", worker.PID(), err)
			}
			took += times.User + times.System
		}
		if took == 0 {
			return "", errors.New("the workers took no processor time")
		}
		return fmt.Sprintf("%d workers took %.1f s of processor time in %.1f s", len(workers), took,
			time.Since(began).Seconds()), nil
	}
	i.Undo = func(context.Context) error {
		var failed []error
		for _, worker := range workers {
			failed = append(failed, worker.Kill())
		}
		workers = nil
		return errors.Join(failed...)
	}
	return i
}

// container is a part whose container the engine can limit and take out of the networks.
type container interface {
	Starts() int
	LimitCPU(ctx context.Context, percent int) error
	FreeCPU(context.Context) error
	Usage(context.Context) (stack.Usage, error)
	Networks(context.Context) (stack.Networks, error)
	Unplug(context.Context, stack.Networks) error
	Plug(context.Context, stack.Networks) error
}

// limitCPU sets a quota, which the kernel enforces by keeping the container from running.
func limitCPU(s Site) *Injection {
	part, _ := s.Part.(container) // the Kind needs one
	var before stack.Usage
	i := &Injection{Healthy: s.healthy, Undo: part.FreeCPU}
	i.Inject = func(ctx context.Context) (err error) {
		if before, err = part.Usage(ctx); err != nil {
			return err
		}
		return part.LimitCPU(ctx, s.With.Number("percent"))
	}
	i.During = func(ctx context.Context) (string, error) {
		now, err := part.Usage(ctx)
		if err != nil {
			return "", err
		}
		took := now.ThrottledSeconds - before.ThrottledSeconds
		if took <= 0 {
			return "", fmt.Errorf("%s was never kept from running: the quota was enough", s.Target)
		}
		return fmt.Sprintf("%s was kept from running for %.1f s", s.Target, took), nil
	}
	return i
}

// memoryScript holds so many bytes until its end: tail keeps a line that has no end yet.
const memoryScript = "{ head -c %d /dev/zero; sleep 1000000; } | tail -n 1"

// holdMemory starts a process of the Stack's, so that none outlives the lab for long.
func holdMemory(s Site) *Injection {
	var holder *child.Process
	megabytes := s.With.Number("megabytes")
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(context.Context) (err error) {
		holder, err = s.Stack.Start(child.Command{Name: "chaos-memory", Path: "/bin/sh",
			Args: []string{"-c", fmt.Sprintf(memoryScript, megabytes<<20)}})
		return err
	}
	i.During = func(ctx context.Context) (string, error) {
		held, err := treeMemory(ctx, holder.PID())
		if err != nil {
			return "", err
		}
		if held < uint64(megabytes)<<20 {
			return "", fmt.Errorf("%d MB were held, want %d", held>>20, megabytes)
		}
		return fmt.Sprintf("%d MB held", held>>20), nil
	}
	i.Undo = func(context.Context) error { return holder.Kill() }
	return i
}

// treeMemory adds up the resident memory of a process and the process's children.
func treeMemory(ctx context.Context, pid int) (bytes uint64, err error) {
	parent := &process.Process{Pid: int32(pid)}
	children, err := parent.ChildrenWithContext(ctx)
	if err != nil {
		return 0, fmt.Errorf("look for the children of pid %d: %w", pid, err)
	}
	for _, p := range append(children, parent) {
		memory, err := p.MemoryInfoWithContext(ctx)
		if err != nil {
			return 0, fmt.Errorf("read the memory of pid %d: %w", p.Pid, err)
		}
		bytes += memory.RSS
	}
	return bytes, nil
}

// limitable refuses a target whose limits the lab cannot set.
func limitable(s Site) error {
	if runtime.GOOS != "linux" {
		return errors.New("the limits of another process can be set on Linux alone")
	}
	if err := hasProcess(s); err != nil {
		return err
	}
	_, err := readDescriptors(s.Part.PIDs()[0])
	return err
}

// descriptors are the limit of one process, and the open files.
type descriptors struct{ limit, open uint64 }

// exhaustDescriptors limits the first process of the target: the root of its tree.
func exhaustDescriptors(s Site) *Injection {
	var pid int
	var before, set descriptors
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(context.Context) error {
		pids := s.Part.PIDs()
		if len(pids) == 0 {
			return errors.New(s.Target + " has no process")
		}
		pid = pids[0]
		var err error
		if before, err = readDescriptors(pid); err != nil {
			return err
		}
		// Half, so that a file which is closed meanwhile leaves no room for another.
		set.limit = max(1, before.open/2)
		return setDescriptors(pid, set.limit)
	}
	i.During = func(context.Context) (string, error) {
		now, err := readDescriptors(pid)
		if err != nil {
			return "", err
		}
		if now.limit != set.limit || now.open < now.limit {
			return "", fmt.Errorf("pid %d may have %d files and has %d: it is not short of any",
				pid, now.limit, now.open)
		}
		return fmt.Sprintf("pid %d may have %d files and has %d", pid, now.limit, now.open), nil
	}
	i.Undo = func(context.Context) error {
		if set.limit == 0 {
			return nil
		}
		return setDescriptors(pid, before.limit)
	}
	return i
}

// tracer is the program that delays system calls of another process.
const tracer = "strace"

// lacksTracer returns why the lab cannot trace another process.
func lacksTracer() error {
	if _, err := exec.LookPath(tracer); err != nil || runtime.GOOS != "linux" {
		return errors.New("strace is not on this machine; a package of this name is to be had")
	}
	scope, err := namedfile.Read("/proc/sys/kernel/yama/ptrace_scope", namedfile.Small)
	if err == nil && strings.TrimSpace(string(scope)) != "0" && os.Geteuid() != 0 {
		return errors.New("the kernel lets root alone trace another process (ptrace_scope)")
	}
	return nil
}

// starter is a stack.Stack, or a process.Folder.
type starter interface {
	Start(c child.Command) (*child.Process, error)
}

// slowDisk traces every process of the target, and the processes that come of them. A tracer that
// is killed lets go of all.
func slowDisk(s Site, lab starter) *Injection {
	const syncs = "fsync,fdatasync,sync_file_range,msync"
	by := s.With.Length("by")
	var tracing *child.Process
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(context.Context) (err error) {
		// The shell stays when strace ends with the last traced process.
		args := []string{"-c", `"$@"; sleep 1000000`, "sh", tracer, "-f", "-e", "trace=" + syncs,
			"-e", fmt.Sprintf("inject=%s:delay_enter=%d", syncs, by.Microseconds())}
		for _, pid := range s.Part.PIDs() {
			args = append(args, "-p", strconv.Itoa(pid))
		}
		tracing, err = lab.Start(child.Command{Name: "chaos-slow-disk-" + s.Target,
			Path: "/bin/sh", Args: args})
		return err
	}
	i.During = func(context.Context) (string, error) {
		text, err := tracing.Logged()
		if err != nil {
			return "", fmt.Errorf("read what strace says: %w", err)
		}
		delayed := bytes.Count(text, []byte("(DELAYED)"))
		if delayed == 0 {
			return "", fmt.Errorf("no sync of %s was delayed; strace says last: %s", s.Target,
				text[max(0, len(text)-300):])
		}
		return fmt.Sprintf("%d syncs of %s took %v longer", delayed, s.Target, by), nil
	}
	i.Undo = func(context.Context) error { return tracing.Kill() }
	return i
}

// diskPart is a part whose data may be on a Disk of its own.
type diskPart interface {
	Disk() *child.Disk
	MayEnd(may bool)
	LogEnd() (int64, error)
	Logged(words string, from int64) (bool, error)
}

func hasDisk(s Site) error {
	part, is := s.Part.(diskPart)
	if !is || part.Disk() == nil {
		return fmt.Errorf("the data of %s is on no file system of its own: the stack was brought "+
			"up without", s.Target)
	}
	return nil
}

// fillDisk takes the room from the target. PostgreSQL refuses a row for want of a page, and panics
// for want of room in the log: then the start after the panic may fail as well, and PostgreSQL is
// gone until Undo. Kafka ends with the first append that fails.
func fillDisk(s Site) *Injection {
	part, _ := s.Part.(diskPart) // checked by hasDisk
	var from int64
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(context.Context) (err error) {
		if from, err = part.LogEnd(); err != nil {
			return err
		}
		part.MayEnd(true)
		return part.Disk().Fill()
	}
	i.During = func(ctx context.Context) (string, error) {
		var refused error // of Kafka the load alone writes
		if s.Target == stack.Postgres {
			refused = writeMuch(ctx, s.At.PostgresDSN)
			switch {
			case refused == nil:
				return "", errors.New(s.Target + " had room for 100,000 rows")
			case isRefused(refused, "53100"): // disk_full
				return "a write was refused: " + refused.Error(), nil
			}
		}
		said, err := part.Logged(noSpace, from)
		if err == nil && !said {
			err = errors.Join(errors.New(s.Target+" says nothing of a full disk"), refused)
		}
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("the log of %s says %q", s.Target, noSpace), nil
	}
	i.Undo = func(ctx context.Context) error {
		if err := part.Disk().Free(); err != nil {
			return err
		}
		defer part.MayEnd(false)
		return until(ctx, func() error {
			if len(s.Part.PIDs()) == 0 {
				return s.Part.Start(ctx)
			}
			return s.healthy(ctx)
		})
	}
	return i
}

// noSpace is strerror(3) of ENOSPC in the locale C, which the lab's servers log in.
const noSpace = "No space left on device"

// writeMuch writes more than the free pages of any file take. The table goes with the connection.
func writeMuch(ctx context.Context, dsn string) error {
	own := &session{dsn: dsn}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	err := own.open(ctx)
	if err == nil {
		err = own.exec(ctx, "CREATE TEMP TABLE chaos_room AS SELECT generate_series(1, 100000)")
	}
	return errors.Join(err, own.close(context.WithoutCancel(ctx)))
}
