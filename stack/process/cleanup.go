package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// birthLimit is how long a folder may be without a state file; an older folder counts as left over
// by a lab that died while making it. A folder kept on purpose has no state file either, but is not
// empty.
const birthLimit = time.Minute

// cleanerPatience is how long CleanUp waits for another lab that cleans the same folder: the other
// lab ends each child within seconds, or dies.
const cleanerPatience = 20 * time.Second

const (
	// mostState bounds a state file: about 10,000 starts of children.
	mostState = 1 << 20
	// mostRefused bounds the lines about what strangers put into a base.
	mostRefused = 5
)

// CleanUp ends the leftovers of dead labs (kill -9, power): children still alive and data folders.
// Several labs may clean up at once: whoever gets the lock of a state file cleans that folder, the
// others wait, because a lab may die while cleaning, and a live lab never lets go of its own.
// CleanUp trusts ownership and no name: what another user could have put there or changed is left
// alone, unread, and say receives a sentence.
func CleanUp(bases []string, say func(string)) error {
	var failed []error
	refused := 0
	refuse := func(err error) {
		if refused++; refused <= mostRefused {
			say("left alone when cleaning up after dead labs: " + err.Error())
		}
	}
	for _, base := range bases {
		for _, path := range leftFolders(base, refuse) {
			cleaned, err := cleanFolder(path)
			var strange *untrusted
			switch {
			case errors.As(err, &strange):
				refuse(err)
			case err != nil:
				failed = append(failed, fmt.Errorf("clean up after a dead lab in %s: %w",
					path, err))
			}
			if cleaned {
				_ = os.Remove(filepath.Dir(path)) // another lab's folder may be there
				say("cleaned up after a lab that died: " + path)
			}
		}
	}
	return errors.Join(failed...)
}

// leftFolders lists the folders of labs in this user's folders below base.
func leftFolders(base string, refuse func(error)) (found []string) {
	entries := func(path, prefix string, visit func(path string)) {
		// What cannot be read, another user's or gone meanwhile, is no leftover of this user.
		names, _ := os.ReadDir(path)
		for _, entry := range names {
			if strings.HasPrefix(entry.Name(), prefix) {
				visit(filepath.Join(path, entry.Name()))
			}
		}
	}
	trusted := func(path string) bool {
		err := trustFolder(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			refuse(err)
		}
		return err == nil
	}
	entries(base, userPrefix(), func(user string) {
		rest := strings.TrimPrefix(filepath.Base(user), userPrefix())
		if rest != "" && !strings.HasPrefix(rest, "-") || !trusted(user) {
			return
		}
		if err := trustBase(base); err != nil {
			refuse(err)
			return
		}
		entries(user, strings.TrimSuffix(folderPattern, "*"), func(path string) {
			if trusted(path) {
				found = append(found, path)
			}
		})
	})
	return found
}

func cleanFolder(path string) (bool, error) {
	state, err := OpenOf(os.Geteuid(), filepath.Join(path, stateName), os.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return removeUnborn(path)
	case err != nil:
		return false, err
	}
	defer state.Close()
	records, err := lockDead(state)
	if err != nil || records == nil {
		return false, err
	}
	children := slices.DeleteFunc(records[min(1, len(records)):], func(child record) bool {
		return !child.Alive()
	})
	for _, child := range children {
		if !child.leadsSession() && child.Alive() { // a child may end in between
			return false, &untrusted{state.Name(),
				fmt.Sprintf("names process %d, which no lab started", child.PID)}
		}
	}
	for _, child := range children {
		if err := endTree(child.Identity, child.Quit); err != nil {
			return false, fmt.Errorf("end %s: %w", child.Name, err)
		}
	}
	return true, errors.Join(killMarked(path), removeAll(path))
}

// lockDead takes the lock of a dead lab's state file and returns the records; nil where the lab
// lives or the folder is gone. Where another process keeps the lock for cleanerPatience, the lab
// may live behind another table of processes, in a container.
func lockDead(state *os.File) ([]record, error) {
	for deadline := time.Now().Add(cleanerPatience); ; time.Sleep(PollEvery) {
		lockErr := Lock(state)
		if lockErr != nil && !errors.Is(lockErr, ErrLocked) {
			return nil, fmt.Errorf("lock %s: %w", stateName, lockErr)
		}
		if _, err := os.Lstat(state.Name()); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		records, err := readState(state)
		switch {
		case lockErr == nil && err != nil:
			return nil, err
		case len(records) > 0 && records[0].Alive():
			// Should a file system grant the lock wrongly, the lab's pid speaks for the lab.
			return nil, nil
		case lockErr == nil:
			return append([]record{}, records...), nil
		case err != nil || time.Now().After(deadline):
			return nil, nil
		}
	}
}

// removeUnborn removes a folder whose lab died before it could write the state file.
func removeUnborn(path string) (bool, error) {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || time.Since(info.ModTime()) < birthLimit {
		return false, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != unnamedState {
		return false, nil
	}
	return true, removeAll(path)
}

// readState reads the lines of a state file; a torn last line is left out.
func readState(state *os.File) ([]record, error) {
	_, err := state.Seek(0, io.SeekStart)
	if err != nil {
		return nil, err
	}
	text, err := readBounded(state, mostState)
	if err != nil {
		return nil, err
	}
	var records []record
	for line := range bytes.Lines(text) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			break
		}
		records = append(records, r)
	}
	return records, nil
}
