// The consumer program: Kafka to MongoDB. Start reading at consumer.Run; here are only the flags
// and the signals.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cdclab/cdclab/consumer"
)

func main() {
	err := run(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "consumer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	config, err := consumer.ParseConfig(args, os.Getenv, os.Stderr)
	if err != nil {
		return err
	}
	c, err := consumer.New(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return c.Run(ctx)
}
