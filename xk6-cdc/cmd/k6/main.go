// Command k6 is Grafana k6 with k6/x/cdc, and with k6/x/sql and its PostgreSQL driver, compiled in:
// what `xk6 build` would generate, kept in the tree so that `go build` alone makes it. It holds no
// logic. Start reading at package cdc, one folder up.
package main

import (
	"go.k6.io/k6/cmd"

	_ "github.com/cdclab/cdclab/xk6-cdc" // k6/x/cdc, k6/x/sql/driver/pgx
	_ "github.com/grafana/xk6-sql"       // k6/x/sql
)

func main() { cmd.Execute() }
