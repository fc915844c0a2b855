package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cdclab/cdclab/stack/process"
)

// impatience is how much later than the first a signal means that the lab is to end at once. Less
// than impatience later comes the same Ctrl-C again, passed on by a wrapper such as npx.
const impatience = time.Second

// untilEnded returns a context that ends when the lab is to end in good order: by SIGINT, SIGTERM,
// SIGQUIT, SIGABRT or SIGHUP, and when the reader of a pipe that the lab writes to goes away. A
// second signal, but SIGHUP, ends every child and the lab at once; a second SIGQUIT or SIGABRT also
// prints where every goroutine stands.
func untilEnded(say func(string)) context.Context {
	ctx, end := context.WithCancel(context.Background())
	endings := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGABRT}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		endings = append(endings, syscall.SIGHUP)
	}
	asked := make(chan os.Signal, 8)
	signal.Notify(asked, endings...)
	// A write to a pipe without a reader is then an error, instead of the end before the
	// children's.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		if waitForLostReader(os.Stdout, os.Stderr) {
			end()
		}
	}()
	go func() {
		<-asked
		first := time.Now()
		end()
		for again := range asked {
			if again != syscall.SIGHUP && time.Since(first) > impatience {
				say("ending at once")
				if again == syscall.SIGQUIT || again == syscall.SIGABRT {
					_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
				}
				if err := process.EndAll(); err != nil {
					say(err.Error())
				}
				os.Exit(exitCouldNotRun)
			}
		}
	}()
	return ctx
}

// waitForLostReader waits until a pipe among the files has no reader, and returns false where the
// files are no pipes.
func waitForLostReader(files ...*os.File) bool {
	var pipes []unix.PollFd
	for _, file := range files {
		if info, err := file.Stat(); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
			// Without Events only an error ends the wait.
			pipes = append(pipes, unix.PollFd{Fd: int32(file.Fd())})
		}
	}
	for len(pipes) > 0 {
		const forEver = -1
		_, err := unix.Poll(pipes, forEver)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
	return false
}

// pipe is a file whose reader may have read enough: then what is written goes nowhere.
type pipe struct{ *os.File }

// Write writes to the file, or nowhere when the file has lost the reader.
func (p pipe) Write(text []byte) (int, error) {
	n, err := p.File.Write(text)
	if errors.Is(err, syscall.EPIPE) {
		return len(text), nil
	}
	return n, err
}
