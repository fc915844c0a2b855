package experiments

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/render"
	"github.com/cdclab/cdclab/stack/process"
)

// Folder is the folder of one Run's files, for nobody else until Close. The Folder keeps room on
// the disk, so that a Run measured on a disk that became full meanwhile can still be stored.
type Folder struct {
	// Path is absolute.
	Path string
	// lock is the open folder, and room a file without a name.
	lock, room *os.File
}

// leftBehind are the files of a Run that another Run would believe or replace, as patterns: of a
// load, of the loads of a search, of the runs of a suite.
var leftBehind = []string{
	runName, "report.html", "ledger.jsonl", "started", "status", "k6-summary.json",
	"alerts.json", "sink-peer.json", "ramp", "probe-[0-9]*",
	"[0-9]-*/" + runName, "[0-9]-*/ledger.jsonl",
	"[0-9][0-9]-*/" + runName, "[0-9][0-9]-*/ledger.jsonl",
}

// roomBytes is how much of the disk a Folder keeps free for storing its Run: a Run of an hour at
// 100/s has less than three megabytes, the histograms of any Run at most five.
const roomBytes = 8 << 20

// PrepareOut makes the folder of some results before anything is started. Where out is empty, the
// folder is a new runs/<name>-<now> of the checkout. A folder in use, a folder that holds a run,
// and a folder without room for a run are errors. The caller closes the Folder.
func PrepareOut(out, name string, now time.Time) (*Folder, error) {
	var err error
	if out == "" {
		out, err = makeNewFolder(name, now)
	} else {
		err = os.MkdirAll(out, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("make the out folder: %w", err)
	}
	if out, err = filepath.Abs(out); err != nil {
		return nil, fmt.Errorf("make the out folder: %w", err)
	}
	f := &Folder{Path: out}
	if f.lock, err = os.Open(out); err != nil {
		return nil, fmt.Errorf("open the out folder: %w", err)
	}
	// A file system without locks is used without.
	err = process.Lock(f.lock)
	if errors.Is(err, process.ErrLocked) {
		err = fmt.Errorf("the out folder %s is in use by another run", out)
	} else if err = f.refuseOldRun(); err == nil {
		err = f.keepRoom()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// makeNewFolder makes a folder that nobody else has made, with a number where several runs begin in
// the same second.
func makeNewFolder(name string, now time.Time) (string, error) {
	root, err := FindRoot()
	if err != nil {
		return "", fmt.Errorf("%w; give --out", err)
	}
	all := filepath.Join(root, "runs")
	if err := os.MkdirAll(all, 0o755); err != nil {
		return "", err
	}
	first := filepath.Join(all, reports.FileName(name)+"-"+now.UTC().Format("20060102-150405"))
	out := first
	for n := 2; ; n++ {
		err := os.Mkdir(out, 0o755)
		if !errors.Is(err, fs.ErrExist) {
			return out, err
		}
		out = fmt.Sprintf("%s-%d", first, n)
	}
}

// runFiles returns the files of a Run in the folder, relative to the folder.
func (f *Folder) runFiles() (all []string, err error) {
	for _, pattern := range leftBehind {
		// The folder's own name may hold what a pattern means.
		found, err := fs.Glob(os.DirFS(f.Path), pattern)
		if err != nil {
			return nil, fmt.Errorf("look into the out folder: %w", err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// refuseOldRun returns an error where the folder holds files of a Run.
func (f *Folder) refuseOldRun() error {
	found, err := f.runFiles()
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("the out folder %s holds a run already (%s): give another --out, "+
			"or move the run away", f.Path, found[0])
	}
	return err
}

// forget removes the files of a Run that measured nothing, all made since PrepareOut, so that the
// folder can be used again. The logs stay.
func (f *Folder) forget() error {
	found, err := f.runFiles()
	failed := []error{err}
	for _, path := range found {
		failed = append(failed, os.RemoveAll(filepath.Join(f.Path, filepath.FromSlash(path))))
	}
	return errors.Join(failed...)
}

// keepRoom writes the room into a file without a name, which ends with the process.
func (f *Folder) keepRoom() (err error) {
	if f.room, err = os.CreateTemp(f.Path, ".room-"); err != nil {
		return fmt.Errorf("write to the out folder: %w", err)
	}
	err = os.Remove(f.room.Name())
	for range roomBytes >> 16 {
		if err == nil {
			_, err = f.room.Write(make([]byte, 1<<16))
		}
	}
	if err != nil {
		return fmt.Errorf("write to the out folder: %w", err)
	}
	return nil
}

// saveRun stores the Run, on a full disk in the room kept for the Run.
func (f *Folder) saveRun(run *reports.Run) error {
	path := filepath.Join(f.Path, runName)
	err := run.Save(path)
	if err != nil && f.room != nil {
		f.giveRoom()
		err = run.Save(path)
	}
	return err
}

func (f *Folder) giveRoom() {
	if f.room != nil {
		f.room.Close()
		f.room = nil
	}
}

// Close lets others use the folder.
func (f *Folder) Close() error {
	f.giveRoom()
	return f.lock.Close()
}

// WriteResult writes run.json and report.html. WriteResult leaves out of the Run what cannot be
// true; see reports.Run.Mend. A Run that cannot be stored in the folder goes to a new folder among
// the temporary files, with a warning. With an error, of a Run that cannot be stored there either,
// the Result is whole, but for the path.
func (f *Folder) WriteResult(run *reports.Run, comparison *reports.Comparison) (*Result, error) {
	run.Mend()
	result, folder := &Result{Run: run, Comparison: comparison}, f.Path
	if err := f.saveRun(run); err != nil {
		if folder, err = saveElsewhere(run, err); err != nil {
			run.Warnings = append(run.Warnings, oneLine(err))
			return result, err
		}
	}
	f.giveRoom()
	result.ReportPath = filepath.Join(folder, "report.html")
	if err := render.SaveHTML(result.ReportPath, run, comparison); err != nil {
		result.ReportPath = filepath.Join(folder, runName)
		_ = result.Warn(err.Error()) // the Run is stored, but for this warning
	}
	return result, nil
}

// saveElsewhere stores a Run that could not be stored for a reason, and returns the folder.
func saveElsewhere(run *reports.Run, reason error) (folder string, err error) {
	if folder, err = os.MkdirTemp("", "cdclab-run-"); err != nil {
		return "", errors.Join(reason, err)
	}
	run.Warnings = append(run.Warnings, fmt.Sprintf("the run is in %s: %v", folder, reason))
	if err = run.Save(filepath.Join(folder, runName)); err != nil {
		return "", errors.Join(reason, err, os.RemoveAll(folder))
	}
	return folder, nil
}
