package process

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

	"github.com/cdclab/cdclab/namedfile"
)

const (
	// tmpfsDir is the memory file system of Linux, used when it has tmpfsBytes free.
	tmpfsDir   = "/dev/shm"
	tmpfsBytes = 2 << 30

	folderPattern = "stack-*"
	// stateName is the state file of a folder: a line for the lab, then a line for each child. The
	// lab holds a lock (flock) on the file for as long as the lab lives.
	stateName = "state.jsonl"
	// unnamedState is the state file until the lock is held.
	unnamedState = "state.new"
)

// record is a line of the state file. The first is the lab itself, with an empty Name.
type record struct {
	Name string `json:"name,omitempty"`
	// Quit is the Quit of the child's Command.
	Quit syscall.Signal `json:"quit,omitempty"`
	Identity
}

// Folder is the data folder of one Stack and the book of all children, so that the next lab can
// clean up after a killed lab.
type Folder struct {
	Path  string
	Tmpfs bool
	// Keep leaves the folder after EndAll.
	Keep  bool
	state *os.File
	// Deaths receives a sentence for each child that ended without being told to.
	Deaths chan string

	mu       sync.Mutex
	children []*Process
	closed   bool

	closing  sync.Once
	closeErr error
}

// openFolders are the folders of this process, for EndAll.
var openFolders sync.Map

// NewFolder creates the data folder, in memory when there is room, and locks its state file.
func NewFolder() (*Folder, error) {
	base, tmpfs := folderBase()
	return NewFolderIn(base, tmpfs)
}

// NewFolderIn is NewFolder below base; tmpfs is true if base is in memory.
func NewFolderIn(base string, tmpfs bool) (*Folder, error) {
	path, err := makeFolder(base)
	if err != nil {
		return nil, fmt.Errorf("make the stack's data folder: %w", err)
	}
	f := &Folder{Path: path, Tmpfs: tmpfs, Deaths: make(chan string, 16)}
	if err := f.claim(); err != nil {
		return nil, errors.Join(fmt.Errorf("make the stack's data folder: %w", err),
			f.remove())
	}
	openFolders.Store(f, nil)
	return f, nil
}

// makeFolder makes a folder in this user's folder. Another lab that ends may remove the user's
// folder meanwhile.
func makeFolder(base string) (path string, err error) {
	for range 100 {
		var user string
		if user, err = userFolder(base); err != nil {
			return "", err
		}
		path, err = os.MkdirTemp(user, folderPattern)
		if !errors.Is(err, os.ErrNotExist) {
			return path, err
		}
	}
	return "", err
}

// claim writes the state file and locks it before the rename to the final name, so that another
// lab's clean-up never sees the file unlocked.
func (f *Folder) claim() error {
	self, err := Find(os.Getpid())
	if err != nil {
		return err
	}
	unnamed := f.File(unnamedState)
	state, err := os.OpenFile(unnamed, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	f.state = state
	if err := Lock(state); err != nil {
		return errors.Join(fmt.Errorf("lock %s: %w", unnamed, err), state.Close())
	}
	if err := f.write(record{Identity: self.Identity}); err != nil {
		return errors.Join(err, state.Close())
	}
	if err := os.Rename(unnamed, f.File(stateName)); err != nil {
		return errors.Join(err, state.Close())
	}
	return nil
}

// Admit lets the members of a group pass through the folder and the user's folder to names that
// they know: PostgreSQL runs as another user when the lab is root.
func (f *Folder) Admit(group uint32) error {
	for _, path := range []string{filepath.Dir(f.Path), f.Path} {
		if err := os.Lchown(path, -1, int(group)); err != nil {
			return fmt.Errorf("admit PostgreSQL's user: %w", err)
		}
		if err := os.Chmod(path, 0o710); err != nil {
			return fmt.Errorf("admit PostgreSQL's user: %w", err)
		}
	}
	return nil
}

// File is the path of a file in the folder.
func (f *Folder) File(name string) string { return filepath.Join(f.Path, name) }

func (f *Folder) write(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write %s: %w", stateName, err)
	}
	if _, err := f.state.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", stateName, err)
	}
	return nil
}

// Start starts a child, notes the child in the state file and reports on Deaths when the child ends
// without being told to.
func (f *Folder) Start(c Command) (*Process, error) {
	if c.Dir == "" {
		c.Dir = f.Path
	}
	if c.Log == "" {
		c.Log = f.File(c.Name + ".log")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("start %s: the lab is ending", c.Name)
	}
	c.Env = append([]string{mark(f.Path)}, c.Env...)
	p, err := startProcess(c)
	if err != nil {
		return nil, err
	}
	f.children = append(f.children, p)
	// After an early end, Ready will say so.
	if self, gone := Find(p.PID()); gone == nil {
		err = f.write(record{Name: c.Name, Quit: c.Quit, Identity: self.Identity})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.Name, err), p.Kill())
	}
	go func() {
		<-p.Done
		if !p.wasExpected() {
			f.Report(p.died().Error())
		}
	}()
	return p, nil
}

// Started are all children so far, ended ones too.
func (f *Folder) Started() []*Process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.children)
}

// Report notes an unexpected death. Nobody may be listening, and one is enough to stop a Run.
func (f *Folder) Report(what string) {
	select {
	case f.Deaths <- what:
	default:
	}
}

// WriteFiles writes files of the folder by name.
func (f *Folder) WriteFiles(files map[string][]byte) error {
	for name, text := range files {
		if err := os.WriteFile(f.File(name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// WithSecret lends do a file of the folder with a text that is nobody else's to read; the file is
// gone afterwards.
func (f *Folder) WithSecret(name, text string, do func(path string) error) (err error) {
	path := f.File(name)
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(path)) }()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return do(path)
}

// CopyLogs writes the end of each child's log, under its file's name.
func (f *Folder) CopyLogs(to io.Writer) error {
	paths, err := filepath.Glob(f.File("*.log"))
	if err != nil {
		return fmt.Errorf("copy the children's logs: %w", err)
	}
	for _, path := range paths {
		const most = 256 << 10
		text, err := namedfile.ReadEnd(path, 0, most)
		if err == nil {
			_, err = fmt.Fprintf(to, "-- %s\n%s\n", filepath.Base(path), text)
		}
		if err != nil {
			return fmt.Errorf("copy the children's logs: %w", err)
		}
	}
	return nil
}

// Close ends the remaining children at once, ends the claim and removes the folder, unless keep. A
// second Close waits for the first and returns the same error: the lab exits after either.
func (f *Folder) Close(keep bool) error {
	f.closing.Do(func() {
		f.closeErr = f.close(keep)
		openFolders.Delete(f)
	})
	return f.closeErr
}

func (f *Folder) close(keep bool) error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	var failed []error
	for _, child := range f.Started() {
		failed = append(failed, child.end(child.Command.Quit))
	}
	failed = append(failed, killMarked(f.Path))
	// Removing the state file first: the next lab must not clean up a kept folder.
	failed = append(failed, ignoreMissing(os.Remove(f.File(stateName))), f.state.Close())
	if !keep {
		failed = append(failed, f.remove())
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("remove the stack's data folder %s: %w", f.Path, err)
	}
	return nil
}

// mark is the setting in the environment of every child of a folder, and of a child's children.
func mark(folder string) string { return "CDCLAB_FOLDER=" + folder }

// killMarked ends what no record of the folder leads to: a child whose lab died before the record
// was written, and the children of a child that ended by itself.
func killMarked(folder string) error {
	const rounds = 5 // a process may fork before its end
	for range rounds {
		left := marked(mark(folder))
		if len(left) == 0 {
			return nil
		}
		if err := killAll(left); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the folder, and the user's folder where nothing else is left there.
func (f *Folder) remove() error {
	err := removeAll(f.Path)
	_ = os.Remove(filepath.Dir(f.Path)) // another lab's folder may be there
	return err
}

// EndAll ends every child of this process at once, for a lab that is about to exit, and removes
// the folders; no child starts any more.
func EndAll() error {
	var failed []error
	openFolders.Range(func(key, _ any) bool {
		f := key.(*Folder)
		failed = append(failed, f.Close(f.Keep))
		return true
	})
	return errors.Join(failed...)
}

// removeAll removes a data folder with its Disks, again if something was written there meanwhile.
func removeAll(path string) error {
	var err error
	for range 5 {
		disks, _ := filepath.Glob(filepath.Join(path, diskPrefix+"*")) // no error with this pattern
		err = nil
		for _, disk := range disks {
			err = errors.Join(err, unmountDisk(disk))
		}
		if err = errors.Join(err, os.RemoveAll(path)); err == nil {
			return nil
		}
		time.Sleep(PollEvery)
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// noExec is ST_NOEXEC of statvfs(3): no program runs from there, as in many containers. For root
// PostgreSQL's programs may have to lie beside the data.
const noExec = 8

// folderBase chooses the place for data folders: memory when there is room, because the stand-in
// for MongoDB syncs on each commit and in memory a sync is free.
func folderBase() (base string, tmpfs bool) {
	var free syscall.Statfs_t
	if runtime.GOOS == "linux" && syscall.Statfs(tmpfsDir, &free) == nil &&
		int64(free.Bavail)*int64(free.Bsize) >= tmpfsBytes && writable(tmpfsDir) &&
		(os.Geteuid() != 0 || int64(free.Flags)&noExec == 0) {
		return tmpfsDir, true
	}
	return os.TempDir(), false
}

func writable(dir string) bool {
	const writeAndSearch = 3
	return syscall.Access(dir, writeAndSearch) == nil
}

// FolderBases are all places where a lab on this machine may have left a folder.
func FolderBases() []string {
	if os.TempDir() == tmpfsDir {
		return []string{tmpfsDir}
	}
	return []string{tmpfsDir, os.TempDir()}
}
