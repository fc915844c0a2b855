package main

import (
	"context"
	"time"

	"github.com/cdclab/cdclab/chaos/check"
	"github.com/cdclab/cdclab/reports/render"
)

// checkTables compares the rows and documents of any pipeline; the lab need not have started the
// pipeline.
func checkTables(ctx context.Context, t terminal, args []string) (int, error) {
	config := check.DefaultConfig()
	set := flags("check", t)
	set.StringVar(&config.PostgresDSN, "postgres", "",
		"PostgreSQL to read (env CDC_POSTGRES_DSN)")
	set.StringVar(&config.MongoURI, "mongo", "",
		"MongoDB to read (env CDC_MONGO_URI)")
	set.StringVar(&config.Database, "database", config.Database, "MongoDB database")
	set.StringVar(&config.LedgerPath, "ledger", "",
		"ledger of the run, to tell phantom from resurrected")
	set.DurationVar(&config.Settle, "settle", 5*time.Second,
		"how long a difference may take to go away")
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	result, err := check.Tables(ctx, config)
	if err != nil {
		return 0, err
	}
	return verdictCode(result.Status()), render.WriteConsistency(t.out, &result)
}
