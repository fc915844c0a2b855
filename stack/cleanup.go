package stack

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// birthLimit is how long a folder may be without a state file before it counts as left over by a
// lab that died while making it. A folder kept on purpose has no state file either, but is not
// empty.
const birthLimit = time.Minute

// cleanUp ends what labs that died (kill -9, power) left behind: their children that still live and
// their data folders. Several labs may do so at once: whoever gets the lock of a state file cleans
// that folder, and a live lab never lets go of its own.
func cleanUp(bases []string, say func(string)) error {
	var failed []error
	for _, base := range bases {
		paths, err := filepath.Glob(filepath.Join(base, folderPattern))
		if err != nil {
			return fmt.Errorf("look for folders of dead labs: %w", err)
		}
		for _, path := range paths {
			cleaned, err := cleanFolder(path)
			if err != nil {
				failed = append(failed, fmt.Errorf("clean up after a dead lab in %s: %w", path, err))
			}
			if cleaned {
				say("cleaned up after a lab that died: " + path)
			}
		}
	}
	return errors.Join(failed...)
}

func cleanFolder(path string) (bool, error) {
	state, err := os.OpenFile(filepath.Join(path, stateName), os.O_RDONLY, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return removeUnborn(path)
	case errors.Is(err, os.ErrPermission):
		return false, nil
	case err != nil:
		return false, err
	}
	defer state.Close()
	err = syscall.Flock(int(state.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", stateName, err)
	}
	if _, err := os.Stat(state.Name()); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	records, err := readState(state.Name())
	if err != nil {
		return false, err
	}
	// The lock says that the lab is dead. Should a file system grant it wrongly, its pid still
	// speaks for it.
	if len(records) > 0 && records[0].alive() {
		return false, nil
	}
	for _, child := range records[min(1, len(records)):] {
		if !child.alive() {
			continue
		}
		if err := killTree(child.PID); err != nil {
			return false, fmt.Errorf("end %s: %w", child.Name, err)
		}
	}
	return true, removeAll(path)
}

// removeUnborn removes a folder whose lab died before it could write the state file.
func removeUnborn(path string) (bool, error) {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || time.Since(info.ModTime()) < birthLimit {
		return false, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "state.new" {
		return false, nil
	}
	return true, removeAll(path)
}

// readState reads the lines of a state file; a torn last line is left out.
func readState(path string) ([]record, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var records []record
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			break
		}
		records = append(records, r)
	}
	return records, lines.Err()
}
