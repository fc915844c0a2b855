package experiments

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/cdclab/cdclab/experiments/observe"
	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/shown"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/process"
)

// Commit is the commit of the checkout at root, "" outside a checkout, and whether files were
// changed since.
func Commit(root string) (commit string, dirty bool) {
	git := func(args ...string) string {
		out, err := process.NewCommand(context.Background(), process.Tool, nil, "git",
			append([]string{"-C", root}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	return git("rev-parse", "HEAD"), git("status", "--porcelain") != ""
}

// describe fills in the facts known of every Run before the stack is up.
func (e *environment) describe() (err error) {
	p := &e.provenance
	if p.ScenarioSHA256, err = fileSHA256(e.scenario); err != nil {
		return err
	}
	if e.config.Stack.Kind != stack.External {
		if p.ConsumerSHA256, err = fileSHA256(e.config.Programs.Consumer); err != nil {
			return err
		}
	}
	p.Commit, p.Dirty = Commit(e.root)
	p.GoVersion, p.Host = runtime.Version(), observe.DescribeHost()
	p.Stack, p.Seed, p.Config = e.config.Stack.Kind, e.config.seed(), e.settings()
	p.ScenarioFile, p.Command = filepath.Base(e.scenario), shown.Command(e.config.Command)
	return nil
}

// describeStack fills in the facts told only by a running stack.
func (e *environment) describeStack() {
	p := &e.provenance
	if n := e.stack.Partitions(); n > 0 {
		p.Config["partitions"] = strconv.Itoa(n)
	}
	if profile := e.stack.Profile(); profile != "" {
		p.Config["profile"] = profile
	}
	p.StackVersions, p.MongoKind, p.Tmpfs = e.stack.Versions(), e.stack.MongoKind(), e.stack.Tmpfs()
	e.notes = e.stack.Notes()
	if e.is(specPoll) {
		e.notes = append(e.notes, polledNote)
	}
	if p.Stack == stack.Embedded {
		e.notes = append(e.notes, "the resources of the lab are those of Kafka and the "+
			"connector too, which live in its process")
	}
}

// isOwn returns true if the script is a script of one's own, and not one of the lab's: such a
// script may have the name of one of the lab's, and is another load.
func (e *environment) isOwn() bool { return !e.is(e.name()) }

// settings returns what two runs must share to be compared: the load that k6 makes of the script,
// and the settings of the lab. The names of others, of scenarios, options and variables, stand
// behind a word each, because a scenario may be called like a setting.
func (e *environment) settings() map[string]string {
	settings := map[string]string{}
	for _, one := range e.test.Scenarios {
		settings["scenario "+one.Name] = one.String()
	}
	for name, value := range process.Recorded(process.K6 | process.Consumer) {
		settings["env "+name] = value
	}
	for name, value := range e.config.Script {
		settings["env "+name] = shown.Setting(name, value)
	}
	if e.isOwn() {
		settings["script"] = filepath.Base(e.scenario)
	}
	if e.config.Mix != "" {
		settings["mix"] = e.config.Mix
	}
	options, _ := e.config.options() // Validate has read the options
	for name, value := range options {
		// The value came from JSON; Marshal sorts the members.
		if text, err := json.Marshal(value); err == nil && value != nil {
			settings["option "+name] = shown.Setting(name, string(text))
		}
	}
	if e.config.Segment != "" {
		settings[reports.ConfigSegment] = e.config.Segment
	}
	if e.plan != nil {
		settings["plan"] = e.plan.Name
	}
	if n := e.config.Stack.Consumers; n > 1 {
		settings["consumers"] = strconv.Itoa(n)
	}
	return settings
}

// fileSHA256 is the SHA-256 of a file's content in hex.
func fileSHA256(path string) (string, error) {
	file, err := namedfile.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("hash %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
