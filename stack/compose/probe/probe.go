// Command probe asks an address over HTTP and ends with 0 for an answer of 200, else with 1: the
// health check of images without a shell. Start reading at main.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/cdclab/cdclab/stack/process"
)

func main() {
	const limit = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := process.Answers(ctx, os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
