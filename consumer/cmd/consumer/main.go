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
	"github.com/cdclab/cdclab/shown"
)

// screen receives everything that the program prints.
var screen = &shown.Writer{To: os.Stderr}

func main() {
	err := run(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(screen, "consumer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	config, err := consumer.ParseConfig(args, os.Getenv, screen)
	if err != nil {
		return err
	}
	config.Output = screen
	c, err := consumer.New(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return c.Run(ctx)
}
