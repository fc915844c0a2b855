package experiments

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

var (
	// logged is a line of k6's log: its level and its message.
	logged = regexp.MustCompile(`^time=\S+ level=(\w+) msg=("(?:[^"\\]|\\.)*")`)
	// isKnown: the Run itself says more of it.
	isKnown = regexp.MustCompile(`^(thresholds on metrics|test run was aborted because k6 received) `)
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

// mostComplaints bounds how many different ones are told.
const mostComplaints = 3

// complaints are what went wrong in the script, each once with how often: what it threw, and the writes that
// PostgreSQL refused. They are the first line of each message; below it stands where the script was.
func complaints(path string) (all []string) {
	log, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer log.Close()
	var order []string
	counts := map[string]int{}
	for lines := bufio.NewScanner(log); lines.Scan(); { // a line too long ends it
		level, message, ok := readLogged(lines.Text())
		isRefusal := level == "warning" && strings.HasPrefix(message, "cdc: a write ")
		if !ok || level != "error" && !isRefusal || isKnown.MatchString(message) {
			continue
		}
		message, _, _ = strings.Cut(message, "\n")
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

// lastLogged is the end of a log, to be shown beside an error.
func lastLogged(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text), n)
}

// lastLines are the last lines of what k6 said, those of its log as the messages that they hold.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i, line := range lines {
		if _, message, ok := readLogged(line); ok {
			lines[i] = strings.TrimSpace(message)
		}
	}
	return strings.Join(lines, "\n")
}
