package k6files

import (
	"bufio"
	"cmp"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"

	"github.com/cdclab/cdclab/namedfile"
)

var (
	// logged is a line of k6's log: its level and its message.
	logged = regexp.MustCompile(`^time=\S+ level=(\w+) msg=("(?:[^"\\]|\\.)*")`)
	// isKnown: the Run itself says more of the message.
	isKnown = regexp.MustCompile(
		`^(thresholds on metrics|test run was aborted because k6 received) `)
)

// readLogged is the level and the message of a line of k6's log; false for any other line.
func readLogged(line string) (level, message string, ok bool) {
	match := logged.FindStringSubmatch(line)
	if match == nil {
		return "", "", false
	}
	message, err := strconv.Unquote(match[2])
	return match[1], message, err == nil
}

// messages yields the level and the first line of each message in a log, because the lines below
// only hold the place in the script; nothing where there is no log.
func messages(path string) iter.Seq2[string, string] {
	return func(yield func(level, message string) bool) {
		log, err := namedfile.Open(path)
		if err != nil {
			return
		}
		defer log.Close()
		for lines := bufio.NewScanner(log); lines.Scan(); { // a line too long ends the reading
			level, message, ok := readLogged(lines.Text())
			message, _, _ = strings.Cut(message, "\n")
			if ok && !yield(level, message) {
				return
			}
		}
	}
}

// mostComplaints bounds how many different ones are told.
const mostComplaints = 3

// Complaints returns what went wrong in the script, each once with how often: exceptions, and
// writes refused by PostgreSQL.
func Complaints(path string) (all []string) {
	var order []string
	counts := map[string]int{}
	for level, message := range messages(path) {
		isRefusal := level == "warning" && strings.HasPrefix(message, "cdc: a write ")
		if level != "error" && !isRefusal || isKnown.MatchString(message) {
			continue
		}
		switch {
		case counts[message] > 0:
			counts[message]++
		case len(order) < mostComplaints:
			order, counts[message] = append(order, message), 1
		}
	}
	for _, message := range order {
		often := ""
		if n := counts[message]; n > 1 {
			often = fmt.Sprintf(" %d times", n)
		}
		all = append(all, fmt.Sprintf("k6 logged%s: %s", often, message))
	}
	return all
}

// markedAsFailed is how the log of k6 tells a call of test.fail().
const markedAsFailed = "test marked as failed"

// FailCalls returns how often the script called test.fail(), and the first reason given there.
func FailCalls(path string) (calls int, reason string) {
	for level, message := range messages(path) {
		if text, is := strings.CutPrefix(message, markedAsFailed); is && level == "error" {
			calls, reason = calls+1, cmp.Or(reason, strings.TrimPrefix(text, ": "))
		}
	}
	return calls, reason
}

// LastError returns the first line of the last error in the log, "" for none.
func LastError(path string) (last string) {
	for level, message := range messages(path) {
		if level == "error" {
			last = message
		}
	}
	return last
}

// LastLines returns the last lines of k6's output, lines of the log as their messages, to be shown
// beside an error.
func LastLines(path string, n int) string {
	const most = 256 << 10
	text, err := namedfile.ReadEnd(path, 0, most)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i, line := range lines {
		if _, message, ok := readLogged(line); ok {
			lines[i] = strings.TrimSpace(message)
		}
	}
	return strings.Join(lines, "\n")
}
