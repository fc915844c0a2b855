// Package cdc is the k6 extension k6/x/cdc: the extension puts writes into PostgreSQL on k6's
// schedule and measures the time until each write becomes visible in MongoDB. The model is open:
// write() only enqueues, so that a slow database delays no iteration, and a latency starts at the
// schedule's intended time, not at the write's turn. The package knows nothing of Kafka, Debezium
// or the consumer, and computes no percentiles: k6 gets samples, and the ledger gets every Write
// with all stamps.
//
// Start reading at Generator (generator.go); module.go and script.go are the face towards
// JavaScript, index.d.ts the manual. Then follow one write: schedule.go (the due time), queue.go
// (the wait), execute.go (the way), package tables (the row and the SQL), package source (the fate
// in PostgreSQL), package tracker (the sight in MongoDB), metrics.go (the samples for k6).
package cdc

import (
	_ "github.com/grafana/xk6-sql" // k6/x/sql
	"github.com/grafana/xk6-sql/sql"
	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"
	"go.k6.io/k6/js/modules"
)

// ImportPath is the module's name in a script's import.
const ImportPath = "k6/x/cdc"

func init() {
	modules.Register(ImportPath, New())
	// For spec-poll.js: `import pgx from 'k6/x/sql/driver/pgx'`, to be opened with k6/x/sql.
	sql.RegisterModule("pgx")
}
