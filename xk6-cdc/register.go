// Package cdc is the k6 extension k6/x/cdc: it puts writes into PostgreSQL on k6's schedule and
// measures how long each takes to become visible in MongoDB. It is an open model: write() only
// enqueues, so a slow database delays no iteration, and a latency starts at the time the schedule
// intended, not when the write got its turn. It knows nothing of Kafka, Debezium or the consumer,
// and computes no percentiles: it hands k6 samples, and the ledger every Write with its stamps.
//
// Start reading at Lab (lab.go); module.go and script.go are its face towards JavaScript, index.d.ts
// the manual. Then follow one write: schedule.go (when it is due), execute.go (its way), rows.go and
// shape.go (which row), entities.go and statement.go (which SQL), postgres.go (its fate), track.go
// (when it was seen, as stream.go or poll.go tell, and what that costs: use.go). segment.go is what
// keeps two processes of one test apart.
package cdc

import (
	"github.com/grafana/xk6-sql/sql"
	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"
	"go.k6.io/k6/js/modules"
)

// ImportPath is the name by which a script imports the module.
const ImportPath = "k6/x/cdc"

func init() {
	modules.Register(ImportPath, New())
	// For spec-poll.js: `import pgx from 'k6/x/sql/driver/pgx'`, to be opened with k6/x/sql.
	sql.RegisterModule("pgx")
}
