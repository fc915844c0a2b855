// Package archive keeps stored Runs in folders: the history of every night, and the baselines. Runs
// of one Key may be compared, and stand in one folder. The package judges nothing. Start reading at
// Key, then at Add and Read; baseline.go has what is special about baselines.
package archive

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports"
)

// Key is equal for Runs whose numbers may be compared.
type Key struct {
	Stack, Scenario string
	// Machine is the fingerprint, Mongo the kind of server.
	Machine, Mongo string
	// Schema is the version of run.json.
	Schema int
	// Conditions is a hash of the configuration, the faults, the tracker and the data's place.
	Conditions string
}

// KeyOf returns the key of a Run.
func KeyOf(run *reports.Run) Key {
	p := &run.Provenance
	hash := sha256.New()
	fmt.Fprintf(hash, "%t %q", p.Tmpfs, run.Tracker.Kind)
	for _, name := range slices.Sorted(maps.Keys(p.Config)) {
		fmt.Fprintf(hash, " %q=%q", name, p.Config[name])
	}
	for _, fault := range run.Faults {
		fmt.Fprintf(hash, " fault %q", fault.Name)
	}
	return Key{Stack: p.Stack, Scenario: run.TestRun.Scenario, Machine: p.Host.Fingerprint,
		Mongo: p.MongoKind, Schema: run.SchemaVersion,
		Conditions: fmt.Sprintf("%x", hash.Sum(nil)[:4])}
}

// folder is the key's folder in an archive, and an error for names that no folder has.
func (k Key) folder() (string, error) {
	parts := []string{k.Stack, k.Scenario, k.Machine, k.Mongo}
	for i, part := range parts {
		if part == "" || strings.Contains(part, "/") {
			return "", fmt.Errorf("%q cannot be a file name", part)
		}
		parts[i] = reports.FileName(part)
	}
	name := fmt.Sprintf("%s-%s-%d-%s", parts[2], parts[3], k.Schema, k.Conditions)
	return filepath.Join(parts[0], parts[1], name), nil
}

// Entry is a stored Run.
type Entry struct {
	Path string
	Run  *reports.Run
}

// Group are the entries of one key, the oldest first.
type Group struct {
	Key     Key
	Entries []Entry
}

// Runs returns the Runs of the group.
func (g Group) Runs() []*reports.Run {
	all := make([]*reports.Run, len(g.Entries))
	for i, entry := range g.Entries {
		all[i] = entry.Run
	}
	return all
}

// Add stores a Run in the archive dir, without the histograms, and returns the path. The same Run
// again replaces the file. A Run of an older lab is refused, because the copy would be a Run of
// this lab's schema.
func Add(dir string, run *reports.Run) (path string, err error) {
	if run.SchemaVersion != reports.SchemaVersion {
		return "", fmt.Errorf("store run %s: schema version %d, this lab writes %d",
			run.TestRun.ID, run.SchemaVersion, reports.SchemaVersion)
	}
	folder, err := KeyOf(run).folder()
	if err != nil {
		return "", fmt.Errorf("store run %s: %w", run.TestRun.ID, err)
	}
	path = filepath.Join(dir, folder, run.TestRun.StartTime.UTC().Format("20060102-150405-")+
		reports.FileName(run.TestRun.ID)+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("store run %s: %w", run.TestRun.ID, err)
	}
	return path, trim(run).Save(path)
}

// trim returns the Run without histograms: only a merge needs histograms.
func trim(run *reports.Run) *reports.Run {
	trimmed := *run
	trimmed.Stages, trimmed.Series = slices.Clone(run.Stages), slices.Clone(run.Series)
	for i := range trimmed.Stages {
		trimmed.Stages[i].Histogram = ""
	}
	for i := range trimmed.Series {
		trimmed.Series[i].Histogram = ""
	}
	return &trimmed
}

// Read returns all Runs below dir since a moment, by key. Files of other kinds are passed over; a
// damaged Run is an error beside the readable Runs.
func Read(dir string, since time.Time) (groups []Group, err error) {
	var failed []error
	found, seen := map[Key]*Group{}, map[string]bool{}
	walkErr := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		run, err := load(path)
		if err != nil {
			failed = append(failed, err)
		}
		if run == nil || run.TestRun.StartTime.Before(since) {
			return nil
		}
		once := run.TestRun.ID + run.TestRun.StartTime.String()
		if key := KeyOf(run); !seen[once] {
			if found[key] == nil {
				found[key] = &Group{Key: key}
			}
			found[key].Entries = append(found[key].Entries, Entry{path, run})
		}
		seen[once] = true
		return nil
	})
	for _, group := range found {
		slices.SortStableFunc(group.Entries, func(a, b Entry) int {
			return a.Run.TestRun.StartTime.Compare(b.Run.TestRun.StartTime)
		})
		groups = append(groups, *group)
	}
	slices.SortFunc(groups, func(a, b Group) int {
		return strings.Compare(fmt.Sprint(a.Key), fmt.Sprint(b.Key))
	})
	return groups, errors.Join(append(failed, walkErr)...)
}

// load reads a Run; nil without an error is a file that is no Run.
func load(path string) (*reports.Run, error) {
	if err := namedfile.CheckRegular(path); err != nil {
		return nil, err
	}
	file, err := namedfile.Open(path)
	if err != nil {
		return nil, err
	}
	start, err := io.ReadAll(io.LimitReader(file, 1<<10))
	if err = errors.Join(err, file.Close()); err != nil || !isRun(start) {
		return nil, err
	}
	return reports.Load(path)
}

// isRun looks for the members of a Run in the beginning of a file.
func isRun(start []byte) bool {
	return bytes.Contains(start, []byte(`"schemaVersion"`)) &&
		bytes.Contains(start, []byte(`"testRun"`))
}

// Policy says which Runs of a history stay.
type Policy struct {
	// Days is the age of the oldest days with every Run. Of older Runs the last of each week stays,
	// for Weeks weeks.
	Days, Weeks int
}

// Prune removes the Runs that the policy does not keep, and returns their paths. The newest Run of
// a group always stays.
func (p Policy) Prune(groups []Group, now time.Time) (removed []string, err error) {
	var failed []error
	for _, group := range groups {
		weeks := map[string]bool{}
		for i, entry := range slices.Backward(group.Entries) {
			start := entry.Run.TestRun.StartTime.UTC()
			age := now.Sub(start)
			year, number := start.ISOWeek()
			week := fmt.Sprint(year, "-", number)
			stays := age <= time.Duration(p.Days)*24*time.Hour ||
				!weeks[week] && age <= time.Duration(p.Weeks)*7*24*time.Hour
			weeks[week] = true
			if stays || i == len(group.Entries)-1 {
				continue
			}
			if err := os.Remove(entry.Path); err != nil {
				failed = append(failed, err)
				continue
			}
			removed = append(removed, entry.Path)
		}
	}
	return removed, errors.Join(failed...)
}
