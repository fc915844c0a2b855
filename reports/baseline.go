package reports

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// NoBaselineError says that none is stored for a stack and scenario; errors.Is(err,
// fs.ErrNotExist) holds for it.
type NoBaselineError struct {
	// Stack and Scenario are those asked for, Path is where it would be.
	Stack, Scenario, Path string
}

func (e *NoBaselineError) Error() string {
	return fmt.Sprintf("no baseline of scenario %s on stack %s: %s does not exist",
		e.Scenario, e.Stack, e.Path)
}

// Is makes the error one of fs.ErrNotExist.
func (e *NoBaselineError) Is(target error) bool { return target == fs.ErrNotExist }

// fileName is what a stack or a scenario may be called, as they become parts of a path.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// SaveBaseline stores the Run as dir/<stack>/<scenario>.json and returns that path. It replaces what
// is there in one step. A Run whose verdict, judged again, is not pass is an error.
func SaveBaseline(dir string, run *Run) (string, error) {
	path, err := baselinePath(dir, run.Provenance.Stack, run.TestRun.Scenario)
	if err != nil {
		return "", fmt.Errorf("save baseline: %w", err)
	}
	if v := run.Verdict.Merge(Judge(run)); v.Status != Pass {
		return "", fmt.Errorf("save baseline: the verdict of run %s is %s: %s",
			run.TestRun.ID, v.Status, orNone(first(v.Reasons)))
	}
	var text bytes.Buffer
	if err := run.Encode(&text); err != nil {
		return "", fmt.Errorf("save baseline: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("save baseline: %w", err)
	}
	if err := replaceFile(path, text.Bytes()); err != nil {
		return "", fmt.Errorf("save baseline: %w", err)
	}
	return path, nil
}

// LoadBaseline reads the baseline of a scenario on a stack. If none is stored the error is a
// *NoBaselineError.
func LoadBaseline(dir, stack, scenario string) (*Run, error) {
	path, err := baselinePath(dir, stack, scenario)
	if err != nil {
		return nil, fmt.Errorf("load baseline: %w", err)
	}
	run, err := Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoBaselineError{stack, scenario, path}
	}
	if err != nil {
		return nil, fmt.Errorf("load baseline: %w", err)
	}
	return run, nil
}

func baselinePath(dir, stack, scenario string) (string, error) {
	for _, name := range []string{stack, scenario} {
		if !fileName.MatchString(name) {
			return "", fmt.Errorf("%q cannot be a file name", name)
		}
	}
	return filepath.Join(dir, stack, scenario+".json"), nil
}

// replaceFile writes beside path and renames, so that a reader never sees half a file.
func replaceFile(path string, text []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".baseline-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

func first(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	return texts[0]
}
