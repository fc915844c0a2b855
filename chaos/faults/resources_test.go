package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// TestHeldMemory: the memory of a fault's process counts with the process's children, and is gone
// with the group.
func TestHeldMemory(t *testing.T) {
	t.Parallel()
	const megabytes = 16
	holder := exec.Command("/bin/sh", "-c", fmt.Sprintf(memoryScript, megabytes<<20))
	holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, holder.Start())
	t.Cleanup(func() {
		if err := syscall.Kill(-holder.Process.Pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		if err := holder.Wait(); err == nil {
			t.Error("ended by itself")
		}
	})
	must(t, until(t.Context(), func() error {
		held, err := treeMemory(t.Context(), holder.Process.Pid)
		if err == nil && held < megabytes<<20 {
			err = errors.New(fmt.Sprint(held, " bytes so far"))
		}
		return err
	}))
}

// TestSlowDisk: each commit waits for a delayed sync while the fault lasts, and no longer.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	kind, _ := Find("slow-disk")
	if err := kind.ImpossibleOn(stack.Embedded, stack.Postgres); err != nil {
		t.Skip(err)
	}
	if testing.Short() {
		t.Skip("starts PostgreSQL")
	}
	server := servertest.Postgres(t)
	conn := servertest.Connect(t, server.DSN())
	const by = 300 * time.Millisecond
	commit := func() time.Duration {
		began := time.Now()
		_, err := conn.Exec(t.Context(), insertCustomer)
		must(t, err)
		return time.Since(began)
	}
	i := slowDisk(siteAt(t, server, kind, Values{"by": by.String()}), server.Folder)
	t.Cleanup(func() { must(t, i.Undo(context.Background())) })
	must(t, i.Inject(t.Context()))
	expect.True(t, "a commit waits", func() bool { return commit() >= by })
	proven(t, i, "took 300ms longer", "")
	must(t, i.Undo(t.Context()))
	expect.True(t, "no commit waits", func() bool { return commit() < by })
}

// TestSlowDiskOfNoSync: neither the syncs of an earlier fault nor a tracer without a process are
// evidence.
func TestSlowDiskOfNoSync(t *testing.T) {
	t.Parallel()
	kind, _ := Find("slow-disk")
	if err := kind.ImpossibleOn(stack.Embedded, stack.Postgres); err != nil {
		t.Skip(err)
	}
	folder, err := process.NewFolder()
	must(t, err)
	t.Cleanup(func() { must(t, folder.Close(false)) })
	must(t, os.WriteFile(folder.File("chaos-slow-disk-consumer.log"),
		[]byte("[pid 7] fsync(3) = 0 (DELAYED)\n"), 0o600))
	p := newProgram(t)
	i := slowDisk(p.site(kind, nil), folder)
	must(t, i.Inject(t.Context()))
	proven(t, i, "", "no sync of consumer was delayed")
	must(t, i.Undo(t.Context()))

	must(t, p.Kill())
	must(t, i.Inject(t.Context()))
	expect.True(t, "strace misses a process", func() bool {
		_, err := i.During(t.Context())
		return err != nil && strings.Contains(err.Error(), "must have PROG [ARGS] or -p PID")
	})
	must(t, i.Undo(t.Context()))
}

// filledDisk starts a PostgreSQL with a row, and leaves no room on the server's Disk.
func filledDisk(t *testing.T) (*postgres.Server, *Injection) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts PostgreSQL")
	}
	kind, _ := Find("disk-full")
	if err := kind.ImpossibleOn(stack.Embedded, stack.Postgres); err != nil {
		t.Skip(err)
	}
	server := servertest.PostgresOnDisk(t)
	_, err := servertest.Connect(t, server.DSN()).Exec(t.Context(), insertCustomer)
	must(t, err)
	i := bound(t, server, "disk-full")
	must(t, i.Inject(t.Context()))
	return server, i
}

// wantRow: the row from before the fault is there.
func wantRow(t *testing.T, server *postgres.Server) {
	t.Helper()
	var rows int
	must(t, ask(t.Context(), server.DSN(), "SELECT count(*) FROM customer", nil, &rows))
	if rows != 1 {
		t.Errorf("%d rows after the fault, want 1", rows)
	}
}

// TestDiskFull: a full disk refuses rows, and neither the data nor the server is lost.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	server, i := filledDisk(t)
	proven(t, i, "SQLSTATE 53100", "")
	must(t, i.Undo(t.Context()))
	proven(t, i, "", "had room for 100,000 rows")
	wantRow(t, server)
}

// TestDiskFullOfEarlier: a log that tells of an earlier full disk is no evidence, whatever else the
// server refuses a write for.
func TestDiskFullOfEarlier(t *testing.T) {
	t.Parallel()
	server, i := filledDisk(t)
	proven(t, i, "SQLSTATE 53100", "")
	must(t, i.Undo(t.Context()))

	must(t, i.Inject(t.Context()))
	must(t, server.Disk().Free())
	must(t, server.Pause())
	t.Cleanup(func() { must(t, server.Resume()) })
	proven(t, i, "", "postgres says nothing of a full disk")
}

// TestDiskFullOfLog: where the log needs room, PostgreSQL panics and is gone. The end is told to
// nobody as an accident, and what was acknowledged is there after Undo.
func TestDiskFullOfLog(t *testing.T) {
	t.Parallel()
	server, i := filledDisk(t)
	// Each switch begins a file of the log, which has to be made.
	const next = "SELECT pg_switch_wal()::text FROM pg_logical_emit_message(true, 'cdclab', '')"
	expect.True(t, "PostgreSQL is gone", func() bool {
		var at string
		_ = ask(t.Context(), server.DSN(), next, nil, &at)
		return len(server.PIDs()) == 0
	})
	proven(t, i, "No space left on device", "")
	must(t, i.Undo(t.Context()))
	wantRow(t, server)
	select {
	case death := <-server.Folder.Deaths:
		t.Error(death)
	default:
	}
}

// TestNoDisk: a PostgreSQL on the machine's file system is told before the run.
func TestNoDisk(t *testing.T) {
	t.Parallel()
	kind, _ := Find("disk-full")
	for _, part := range []stack.Component{&idle{},
		&postgres.Server{Child: &process.Child{}}} {
		err := kind.Impossible(Site{Target: stack.Postgres, Part: part})
		if err == nil || !strings.Contains(err.Error(), "no file system of its own") {
			t.Error(err)
		}
	}
}
