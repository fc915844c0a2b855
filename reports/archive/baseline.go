package archive

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// A baseline is a group of passed Runs, the samples, because a single Run tells no noise.
const (
	// staleAfter is the age of the newest sample from which a baseline decides nothing.
	staleAfter = 90 * 24 * time.Hour
	// mostSamples is how many samples a baseline keeps, the newest.
	mostSamples = 20
)

// SaveBaseline adds passed Runs to the samples of their baselines in dir, and returns the paths. A
// Run that did not pass is an error, and then nothing is stored.
func SaveBaseline(dir string, runs ...*reports.Run) (paths []string, err error) {
	for _, run := range runs {
		if v := run.Verdict; v.Status != reports.Pass {
			return nil, fmt.Errorf("save baseline: the verdict of run %s is %s: %s",
				run.TestRun.ID, v.Status, strings.Join(v.Reasons, " "))
		}
	}
	for _, run := range runs {
		path, err := Add(dir, run)
		if err != nil {
			return paths, fmt.Errorf("save baseline: %w", err)
		}
		paths = append(paths, path)
		all, err := filepath.Glob(filepath.Join(escapePattern(filepath.Dir(path)), "*.json"))
		if err != nil {
			return paths, fmt.Errorf("save baseline: %w", err)
		}
		for _, old := range all[:max(0, len(all)-mostSamples)] { // names begin with the time
			if err := os.Remove(old); err != nil {
				return paths, fmt.Errorf("save baseline: %w", err)
			}
		}
	}
	return paths, nil
}

// escapePattern makes a pattern of the path alone.
func escapePattern(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// AcceptBaseline makes Runs the only samples of their baselines, after an intended change: git
// keeps the samples before.
func AcceptBaseline(dir string, runs ...*reports.Run) (paths []string, err error) {
	if paths, err = SaveBaseline(dir, runs...); err != nil {
		return paths, err
	}
	for _, path := range paths {
		others, err := filepath.Glob(filepath.Join(escapePattern(filepath.Dir(path)), "*.json"))
		if err != nil {
			return paths, fmt.Errorf("accept baseline: %w", err)
		}
		for _, other := range others {
			if !slices.Contains(paths, other) {
				if err := os.Remove(other); err != nil {
					return paths, fmt.Errorf("accept baseline: %w", err)
				}
			}
		}
	}
	return paths, nil
}

// Baseline returns the samples that a Run may be compared with, the oldest first. Without samples,
// why is a sentence where samples of another machine or of other conditions are stored, or stale
// samples, and "" where none are. A sample that cannot be read is an error.
func Baseline(dir string, run *reports.Run) (samples []*reports.Run, why string, err error) {
	key := KeyOf(run)
	folder, err := key.folder()
	if err != nil {
		return nil, "", fmt.Errorf("load baseline: %w", err)
	}
	path := filepath.Join(dir, folder)
	files, err := filepath.Glob(filepath.Join(escapePattern(path), "*.json"))
	if err != nil {
		return nil, "", fmt.Errorf("load baseline: %w", err)
	}
	for _, file := range files {
		sample, err := reports.Load(file)
		if err != nil {
			return nil, "", fmt.Errorf("load baseline: %w", err)
		}
		samples = append(samples, sample)
	}
	if len(samples) == 0 {
		return nil, whyForeign(filepath.Dir(path), key), nil
	}
	newest := samples[len(samples)-1].TestRun.StartTime
	if age := run.TestRun.StartTime.Sub(newest); age > staleAfter {
		return nil, fmt.Sprintf("Not compared: the newest of %s of the baseline is %d days old; "+
			"`cdclab baseline accept RUN.json` begins a new one.",
			unit.Plural(int64(len(samples)), "sample", "samples"), int(age.Hours()/24)), nil
	}
	return samples, "", nil
}

// whyForeign says in one line why the baseline of a scenario on a stack is none for the key.
func whyForeign(folder string, key Key) string {
	const save = "`cdclab baseline save RUN.json` stores one"
	found, err := os.ReadDir(folder)
	if err != nil || len(found) == 0 {
		return ""
	}
	for _, other := range found {
		if strings.HasPrefix(other.Name(), reports.FileName(key.Machine)+"-") {
			return fmt.Sprintf("Not compared: the stored baseline of %s on %s is of another "+
				"load, server or schema; %s of these.", key.Scenario, key.Stack, save)
		}
	}
	return fmt.Sprintf("Not compared: the stored baseline of %s on %s is of another machine; %s "+
		"of this one (%s).", key.Scenario, key.Stack, save, key.Machine)
}

// Typical returns the sample in the middle by the median latency: a comparison of single Runs is
// with this one.
func Typical(samples []*reports.Run) *reports.Run {
	sorted := slices.Clone(samples)
	slices.SortStableFunc(sorted, func(a, b *reports.Run) int {
		return cmp.Compare(a.Summary.Latency.P50, b.Summary.Latency.P50)
	})
	return sorted[(len(sorted)-1)/2]
}
