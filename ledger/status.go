package ledger

// Status is the progress of a running generator, for any display: one JSON object in a file
// replaced once a second.
type Status struct {
	// AtNs is the stamp of this status, since the epoch of the ledger.
	AtNs int64 `json:"atNs"`
	// Queued writes wait for a worker, Executing are with PostgreSQL, Outstanding are acked
	// and not yet seen.
	Queued      int64 `json:"queued"`
	Executing   int64 `json:"executing"`
	Outstanding int64 `json:"outstanding"`
	// Acked, Failed, Visible and TimedOut are totals.
	Acked    int64 `json:"acked"`
	Failed   int64 `json:"failed"`
	Visible  int64 `json:"visible"`
	TimedOut int64 `json:"timedOut"`
	// P95Ns is the p95 of the latencies so far, without the seed rows', from the intended time
	// until seen; 0 while nothing was seen.
	P95Ns int64 `json:"p95Ns"`
}

// Store replaces the file; a reader sees the old file or the new file, whole.
func (s Status) Store(path string) error { return replaceFile(path, "the status", s) }

// ReadStatus reads the file written by Store.
func ReadStatus(path string) (s Status, err error) { return s, readFile(path, "the status", &s) }
