package ledger

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/cdclab/cdclab/namedfile"
)

// Start is the beginning of the measured load, told by a running generator in a file of one JSON
// object, for a reader on the same machine.
type Start struct {
	// UnixNs is the beginning by the wall clock, nanoseconds since 1970.
	UnixNs int64 `json:"unixNs"`
	// AgeNs is how long before Store the beginning was, by the generator's monotonic clock.
	AgeNs int64 `json:"ageNs"`
}

// longestUnread bounds how long a Start lies unread beside a reader that waits. Where the wall
// clock says longer, or a time to come, somebody has set the wall clock.
const longestUnread = time.Second

// StartedAt returns the Start of a load that began at the time, which has a monotonic reading.
func StartedAt(began time.Time) Start {
	age := time.Since(began)
	return Start{UnixNs: time.Now().UnixNano() - age.Nanoseconds(), AgeNs: age.Nanoseconds()}
}

// Time returns the beginning on the reader's monotonic clock. Time is for a reader that has waited
// for the file, because the wall clock measures the moment since Store, and nothing else.
func (s Start) Time() time.Time {
	now := time.Now()
	unread := now.Sub(time.Unix(0, s.UnixNs+s.AgeNs))
	if unread < 0 || unread > longestUnread {
		unread = 0
	}
	return now.Add(-time.Duration(s.AgeNs) - unread)
}

// Store writes the file, which appears whole.
func (s Start) Store(path string) error { return replaceFile(path, "the start", s) }

// ReadStart reads the file written by Store.
func ReadStart(path string) (s Start, err error) { return s, readFile(path, "the start", &s) }

// replaceFile puts a value as JSON into a file; a reader sees the old file or the new file, whole.
func replaceFile(path, what string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, text, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}

// readFile reads a file written by replaceFile.
func readFile(path, what string, into any) error {
	text, err := namedfile.Read(path, namedfile.Small)
	if err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read %s %s: %w", what, path, err)
	}
	return nil
}
