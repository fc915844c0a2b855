package ledger

import (
	"encoding/json"
	"fmt"
	"os"
)

// Status is how far a running generator is, for whoever shows its progress: one JSON object in a file
// that is replaced once a second.
type Status struct {
	// AtNs is the stamp of this status, since the epoch of the ledger.
	AtNs int64 `json:"atNs"`
	// Queued writes wait for a worker, Executing are with PostgreSQL, Outstanding are acked and not yet seen.
	Queued      int64 `json:"queued"`
	Executing   int64 `json:"executing"`
	Outstanding int64 `json:"outstanding"`
	// Acked, Failed, Visible and TimedOut are totals.
	Acked    int64 `json:"acked"`
	Failed   int64 `json:"failed"`
	Visible  int64 `json:"visible"`
	TimedOut int64 `json:"timedOut"`
	// P95Ns is that of the latencies so far, without the seed rows', from the intended time until seen; 0
	// while nothing was.
	P95Ns int64 `json:"p95Ns"`
}

// Store replaces the file; a reader sees the old one or the new one, whole.
func (s Status) Store(path string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, text, 0o644); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	return nil
}

// ReadStatus reads what Store has written.
func ReadStatus(path string) (Status, error) {
	var s Status
	text, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("read the status: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read the status %s: %w", path, err)
	}
	return s, nil
}
