// The skips program ends `./just test` with one line about the tests skipped for want of a server
// on this machine. With --again the skipped tests run once more, and a test still without a server
// fails. Start reading at run.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func main() {
	begin := flag.Bool("begin", false, "forget what an earlier `./just test` skipped")
	again := flag.Bool("again", false, "run the skipped tests, and fail where one has no server")
	flag.Parse()
	err := error(nil)
	if *begin {
		err = os.RemoveAll(flag.Arg(0))
	} else {
		err = run(flag.Arg(0), *again, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		os.Exit(1)
	}
}

func run(path string, again bool, out io.Writer) error {
	skipped, err := read(path)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, summary(skipped))
	if !again {
		return nil
	}
	var failed error
	for dir, pattern := range patterns(skipped) {
		test := process.NewCommand(context.Background(), process.Tool|process.Lab,
			[]string{expect.RequireEnv + "=1"},
			"go", "test", "-race", "-count=1", "-timeout", "40m", "-run", pattern, ".")
		test.Dir = dir
		test.Stdout, test.Stderr = out, out
		if err := test.Run(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s in %s: %w", pattern, dir, err))
		}
	}
	return failed
}

// read returns the noted skips; a missing file has none.
func read(path string) ([]expect.Skip, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the skipped tests: %w", err)
	}
	defer file.Close()
	var all []expect.Skip
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		var one expect.Skip
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		all = append(all, one)
	}
	return all, lines.Err()
}

// summary says in one line how many tests were skipped, and for want of which servers.
func summary(skipped []expect.Skip) string {
	if len(skipped) == 0 {
		return "no test skipped for want of a server"
	}
	count := map[string]int{}
	for _, one := range skipped {
		count[one.Lacks]++
	}
	var lacks []string
	for _, what := range slices.Sorted(maps.Keys(count)) {
		lacks = append(lacks, fmt.Sprintf("%s (%d)", what, count[what]))
	}
	return fmt.Sprintf("%d tests skipped: no server with %s", len(skipped),
		strings.Join(lacks, ", "))
}

// patterns returns, by folder, the pattern of -run for the skipped tests. A skipped subtest has its
// whole test run.
func patterns(skipped []expect.Skip) map[string]string {
	names := map[string][]string{}
	for _, one := range skipped {
		test, _, _ := strings.Cut(one.Test, "/")
		names[one.Dir] = append(names[one.Dir], regexp.QuoteMeta(test))
	}
	all := map[string]string{}
	for dir, tests := range names {
		slices.Sort(tests)
		all[dir] = "^(" + strings.Join(slices.Compact(tests), "|") + ")$"
	}
	return all
}
