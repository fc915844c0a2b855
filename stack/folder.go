package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// tmpfsDir is the memory file system of Linux, used when it has tmpfsBytes free.
	tmpfsDir   = "/dev/shm"
	tmpfsBytes = 2 << 30

	folderPattern = "cdclab-stack-*"
	// stateName is the state file of a folder: a line for the lab, then one for each child. The lab
	// holds a lock (flock) on it for as long as it lives.
	stateName = "state.jsonl"
)

// record is one line of the state file. The first is the lab itself, with an empty Name.
type record struct {
	Name string `json:"name,omitempty"`
	identity
}

// folder is the data folder of one Stack and the book of its children, from which the next lab can
// clean up after this one was killed.
type folder struct {
	path  string
	tmpfs bool
	state *os.File
	// deaths receives a sentence for each child that ended without being told to.
	deaths chan string

	mu       sync.Mutex
	children []*process
}

// makeFolder creates the data folder, in memory when there is room, and locks its state file.
func makeFolder() (*folder, error) {
	base, tmpfs := folderBase()
	return makeFolderIn(base, tmpfs)
}

func makeFolderIn(base string, tmpfs bool) (*folder, error) {
	path, err := os.MkdirTemp(base, folderPattern)
	if err != nil {
		return nil, fmt.Errorf("make the stack's data folder: %w", err)
	}
	f := &folder{path: path, tmpfs: tmpfs, deaths: make(chan string, 16)}
	if err := f.claim(); err != nil {
		return nil, errors.Join(fmt.Errorf("make the stack's data folder: %w", err), os.RemoveAll(path))
	}
	return f, nil
}

// claim writes the state file and locks it before it gets its name, so that another lab that
// cleans up never sees it unlocked.
func (f *folder) claim() error {
	// PostgreSQL runs as another user when the lab is root, and must be able to pass.
	if err := os.Chmod(f.path, 0o711); err != nil {
		return err
	}
	self, err := lookAt(os.Getpid())
	if err != nil {
		return err
	}
	unnamed := f.file("state.new")
	state, err := os.OpenFile(unnamed, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	f.state = state
	if err := syscall.Flock(int(state.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("lock %s: %w", unnamed, err), state.Close())
	}
	if err := f.write(record{identity: self.identity}); err != nil {
		return errors.Join(err, state.Close())
	}
	if err := os.Rename(unnamed, f.file(stateName)); err != nil {
		return errors.Join(err, state.Close())
	}
	return nil
}

func (f *folder) file(name string) string { return filepath.Join(f.path, name) }

func (f *folder) write(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write %s: %w", stateName, err)
	}
	if _, err := f.state.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", stateName, err)
	}
	return nil
}

// start starts a child, notes it in the state file and reports on deaths when it ends without
// being told to.
func (f *folder) start(c command) (*process, error) {
	if c.dir == "" {
		c.dir = f.path
	}
	if c.log == "" {
		c.log = f.file(c.name + ".log")
	}
	p, err := startProcess(c)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.children = append(f.children, p)
	// When it has ended already, ready will say so.
	if self, gone := lookAt(p.pid()); gone == nil {
		err = f.write(record{Name: c.name, identity: self.identity})
	}
	f.mu.Unlock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.name, err), p.kill())
	}
	go func() {
		<-p.done
		if !p.wasExpected() {
			f.report(p.died().Error())
		}
	}()
	return p, nil
}

// started are all children so far, ended ones too.
func (f *folder) started() []*process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.children)
}

// report notes an unexpected death. Nobody may be listening, and one is enough to stop a Run.
func (f *folder) report(what string) {
	select {
	case f.deaths <- what:
	default:
	}
}

// writeAll writes files of the folder by name.
func (f *folder) writeAll(files map[string][]byte) error {
	for name, text := range files {
		if err := os.WriteFile(f.file(name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// copyLogs writes the end of each child's log, under its file's name.
func (f *folder) copyLogs(to io.Writer) error {
	paths, err := filepath.Glob(f.file("*.log"))
	if err != nil {
		return fmt.Errorf("copy the children's logs: %w", err)
	}
	for _, path := range paths {
		const most = 256 << 10
		text, err := fileEnd(path, 0, most)
		if err == nil {
			_, err = fmt.Fprintf(to, "-- %s\n%s\n", filepath.Base(path), text)
		}
		if err != nil {
			return fmt.Errorf("copy the children's logs: %w", err)
		}
	}
	return nil
}

// fileEnd is what a file holds behind a position, at most the last so many bytes of it.
func fileEnd(path string, from, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(file, max(from, end-most), most))
}

// close kills what is left of the children, ends the claim and removes the folder, unless keep.
func (f *folder) close(keep bool) error {
	var failed []error
	for _, child := range f.started() {
		failed = append(failed, child.kill())
	}
	// Removing the state file first: a folder that is kept must not be cleaned up by the next lab.
	failed = append(failed, ignoreMissing(os.Remove(f.file(stateName))), f.state.Close())
	if !keep {
		failed = append(failed, removeAll(f.path))
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("remove the stack's data folder %s: %w", f.path, err)
	}
	return nil
}

// removeAll removes a tree, again if something in it was written meanwhile.
func removeAll(path string) error {
	var err error
	for range 5 {
		if err = os.RemoveAll(path); err == nil {
			return nil
		}
		time.Sleep(pollEvery)
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// folderBase is where data folders go: memory when it has room, because the stand-in for MongoDB
// syncs on each commit and that is free there.
func folderBase() (base string, tmpfs bool) {
	var free syscall.Statfs_t
	if runtime.GOOS == "linux" && syscall.Statfs(tmpfsDir, &free) == nil &&
		int64(free.Bavail)*int64(free.Bsize) >= tmpfsBytes && writable(tmpfsDir) {
		return tmpfsDir, true
	}
	return os.TempDir(), false
}

func writable(dir string) bool {
	const writeAndSearch = 3
	return syscall.Access(dir, writeAndSearch) == nil
}

// folderBases are all places where a lab on this machine may have left a folder.
func folderBases() []string {
	if os.TempDir() == tmpfsDir {
		return []string{tmpfsDir}
	}
	return []string{tmpfsDir, os.TempDir()}
}
