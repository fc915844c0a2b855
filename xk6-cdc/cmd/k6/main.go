// Command k6 is Grafana k6 with k6/x/cdc, k6/x/sql and the PostgreSQL driver of k6/x/sql compiled
// in. The tree keeps the output of `xk6 build`, so that `go build` alone makes the program. The
// command holds no logic. Start reading at package cdc, one folder up.
package main

import (
	"go.k6.io/k6/cmd"

	_ "github.com/cdclab/cdclab/xk6-cdc" // k6/x/cdc, k6/x/sql, k6/x/sql/driver/pgx
)

func main() { cmd.Execute() }
