package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cdclab/cdclab/experiments"
)

// commandLine checks commands without running anything but `-h`.
type commandLine struct {
	recipes map[string]string
	// k6 builds the k6 of this tree, once, and returns its path.
	k6 func() (string, error)
}

// TestCommands: each command in a guide or the justfile parses, and the named files are there.
func TestCommands(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	line := commandLine{readRecipes(t), sync.OnceValues(func() (string, error) {
		path := filepath.Join(folder, "k6")
		text, err := exec.Command("go", "build", "-o", path, "./xk6-cdc/cmd/k6").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("build k6: %w\n%s", err, text)
		}
		return path, err
	})}
	t.Run("guides", line.testGuides)
	t.Run("justfile", line.testJustfile)
	t.Run("mistakes", line.testMistakes)
}

func (c *commandLine) testGuides(t *testing.T) {
	shown := 0
	for _, path := range guides(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range shownCommands(string(text)) {
			shown++
			if err := c.check(line); err != nil {
				t.Errorf("%s: %s\n\t%v", path, line, err)
			}
		}
	}
	if shown < 50 {
		t.Errorf("the guides show %d commands: this test looks at the wrong thing", shown)
	}
}

func (c *commandLine) testJustfile(t *testing.T) {
	for name, body := range c.recipes {
		// A recipe with the caller's arguments goes back to where the caller stands.
		body = strings.Replace(body, `root=$PWD && cd "$CDCLAB_FROM" && `, "", 1)
		for part := range strings.SplitSeq(body, "&&") {
			if err := c.check(part); err != nil {
				t.Errorf("recipe %s: %s\n\t%v", name, part, err)
			}
		}
	}
}

// testMistakes plants a mistake in each kind of command.
func (c *commandLine) testMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"./just bnech smoke":                                   `no recipe "bnech"`,
		"./just bench smoke --rat 5":                           "not defined: -rat",
		"./just bench smoke --rate fast":                       `invalid value "fast"`,
		"./just bench smok":                                    `no scenario "smok"`,
		"./just bench sink-peer --rate 5":                      "not defined: -rate",
		"./just bench smoke --chaos chaos/plans/none.yaml":     "chaos/plans/none.yaml",
		"./just bench suite --suite=experiments/suites/x.yaml": "experiments/suites/x.yaml",

		"go run . cmopare A.json":                  `no command "cmopare"`,
		"cdclab dlq lst":                           `want list|show|replay|drop, got "lst"`,
		"cdclab dlq list --since whenever":         "want a duration",
		"bin/cdclab capture 'cdc\\..*' --max lots": `invalid value "lots"`,

		"A=b bin/k6 rn experiments/scenarios/smoke.js":       "unknown command",
		"bin/k6 run --vu 3 experiments/scenarios/smoke.js":   "unknown flag: --vu",
		"bin/k6 run -e RATE=1 experiments/scenarios/smok.js": "experiments/scenarios/smok.js",
		"go build -oo bin/k6 ./xk6-cdc/cmd/k6":               "not defined: -oo",
		"go build ./xk6-cdc/cmd/k7":                          "xk6-cdc/cmd/k7",
		"go test -bnech Write ./xk6-cdc":                     "no flag -bnech",
		"xk6 build v1.8.1 --wth github.com/a/b=./xk6-cdc":    "not defined: -wth",
		"xk6 build v1.8.1 --with github.com/a/b=./xk7":       "xk7",
		"brew install cdclab":                                "nobody knows how to check brew",
	} {
		if err := c.check(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
}

// guides are the Markdown files of the project.
func guides(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains([]string{"runs", "bin"}, path) ||
			strings.HasPrefix(d.Name(), ".") && path != "."):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// beginnings are the beginnings of a line with a command; other indented text may be anything.
const beginnings = `(?:\./just|go (?:run|build|test)|cdclab|bin/\S+|(?:GOWORK=off )?xk6)`

var (
	continued = regexp.MustCompile(`\\\n\s*`)
	indented  = regexp.MustCompile(`(?m)^    +((?:[A-Z][A-Z0-9_]*=\S* +)*` + beginnings + ` .*)$`)
	inline    = regexp.MustCompile("`((?:[A-Z][A-Z0-9_]*=\\S* +)*" + beginnings + " [^`]*)`")
)

// shownCommands are the commands of a guide that stand indented, in a fence, or in a sentence.
func shownCommands(text string) (all []string) {
	fenced := false
	var lines []string
	for line := range strings.SplitSeq(continued.ReplaceAllString(text, ""), "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		} else if fenced {
			line = "    " + line
		}
		lines = append(lines, line)
	}
	text = strings.Join(lines, "\n")
	for _, pattern := range []*regexp.Regexp{indented, inline} {
		for _, found := range pattern.FindAllStringSubmatch(text, -1) {
			all = append(all, found[1])
		}
	}
	return all
}

// word is a word of a command line: in quotes, or up to a space. Text after a # is a comment.
var word = regexp.MustCompile(`'[^']*'|"[^"]*"|#.*|[^\s'"#]\S*`)

func words(line string) (all []string) {
	for _, w := range word.FindAllString(line, -1) {
		if strings.HasPrefix(w, "#") {
			break
		}
		all = append(all, strings.Trim(w, `'"`))
	}
	return all
}

var variable = regexp.MustCompile(`^[A-Z][A-Z0-9_]*=`)

// check returns the mistake in a command line.
func (c *commandLine) check(line string) error {
	args := words(line)
	for len(args) > 0 && (variable.MatchString(args[0]) || args[0] == "exec") {
		args = args[1:]
	}
	if len(args) < 2 {
		return fmt.Errorf("a command of %d words", len(args))
	}
	program, args := args[0], args[1:]
	if err := filesAreThere(args); err != nil {
		return err
	}
	switch program {
	case "./just":
		return c.checkRecipe(args)
	case "cdclab", "bin/cdclab", "$root/bin/cdclab":
		return checkLab(args)
	case "bin/k6":
		return c.checkK6(args)
	case "xk6":
		return checkXk6(args)
	case "go":
		if len(args) > 1 && args[0] == "run" && args[1] == "." {
			return checkLab(args[2:])
		}
		return checkGo(args)
	}
	return fmt.Errorf("nobody knows how to check %s", program)
}

// filesAreThere wants the file of each word, and of each flag's value, that begins with a folder of
// the project.
func filesAreThere(args []string) error {
	for _, arg := range args {
		path := arg
		if strings.HasPrefix(arg, "-") || strings.Contains(arg, "=./") {
			_, path, _ = strings.Cut(arg, "=")
		}
		folder, _, within := strings.Cut(strings.TrimPrefix(path, "./"), "/")
		here := strings.HasPrefix(path, "./") && path != "./..."
		if within && !slices.Contains([]string{"bin", "runs", "..."}, folder) {
			info, err := os.Stat(folder)
			here = here || err == nil && info.IsDir()
		}
		if _, err := os.Stat(strings.TrimSuffix(path, "/...")); here && err != nil {
			return err
		}
	}
	return nil
}

var recipeLine = regexp.MustCompile(`(?m)^([a-z][a-z-]*)(?: \*args)?:\n    @?(.*)$`)

// readRecipes returns the commands of the justfile by their names.
func readRecipes(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("justfile")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, found := range recipeLine.FindAllStringSubmatch(string(text), -1) {
		all[found[1]] = found[2]
	}
	delete(all, "default")
	return all
}

// checkRecipe checks the recipe's last command with the arguments in the place of "$@".
func (c *commandLine) checkRecipe(args []string) error {
	body, found := c.recipes[args[0]]
	if !found {
		return fmt.Errorf("the justfile has no recipe %q", args[0])
	}
	commands := strings.Split(body, "&&")
	command, takesArguments := strings.CutSuffix(commands[len(commands)-1], `"$@"`)
	if !takesArguments {
		if len(args) > 1 && !strings.Contains(body, `"$@"`) {
			return fmt.Errorf("recipe %s takes no arguments, got %q", args[0], args[1:])
		}
		return nil
	}
	for _, arg := range args[1:] {
		command += " '" + arg + "'"
	}
	return c.check(command)
}

// checkLab lets the lab parse the arguments and then print its help before anything else. -h twice,
// because a flag with a missing value takes the first -h.
func checkLab(args []string) error {
	if args = slices.DeleteFunc(slices.Clone(args),
		func(arg string) bool { return arg == "$@" }); len(args) == 0 {
		return errors.New("a command of the lab without a name")
	}
	i := slices.IndexFunc(commands(), func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return fmt.Errorf("the lab has no command %q", args[0])
	}
	if err := checkFirstArgument(commands()[i], args[1:]); err != nil {
		return err
	}
	s := &screen{}
	if code := run(context.Background(), append(slices.Clone(args), "-h", "-h"),
		terminal{s, s}); code != exitPass {
		problem, _, _ := strings.Cut(s.String(), "\n")
		return errors.New(problem)
	}
	return nil
}

// checkFirstArgument checks the verb of a command with verbs, and the scenario of bench.
func checkFirstArgument(c command, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || strings.HasPrefix(args[0], "<") {
		return nil
	}
	verbs, _, _ := strings.Cut(c.arguments, " ")
	if strings.ToLower(verbs) == verbs && !strings.HasPrefix(verbs, "[") &&
		!slices.Contains(strings.Split(verbs, "|"), args[0]) {
		return fmt.Errorf("want %s, got %q", verbs, args[0])
	}
	if c.name != "bench" || slices.Contains([]string{suiteName, sinkPeer, experiments.Selftest},
		args[0]) {
		return nil
	}
	if _, err := os.Stat(filepath.Join("experiments", "scenarios", args[0]+".js")); err != nil {
		return fmt.Errorf("no scenario %q: %w", args[0], err)
	}
	return nil
}

func (c *commandLine) checkK6(args []string) error {
	program, err := c.k6()
	if err != nil {
		return err
	}
	text, err := exec.Command(program, append(slices.Clone(args), "--help")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	if !strings.Contains(string(text), "k6 "+args[0]) {
		return fmt.Errorf("unknown command %q of k6", args[0])
	}
	return nil
}

// checkXk6 knows the flags of xk6; Stories/xk6 runs the line.
func checkXk6(args []string) error {
	set := flag.NewFlagSet("xk6", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, name := range []string{"with", "replace", "output", "o"} {
		set.Func(name, "", func(string) error { return nil })
	}
	if _, err := parse(set, args[1:], 1, 1); err != nil {
		return err
	}
	if args[0] != "build" {
		return fmt.Errorf("unknown command %q of xk6", args[0])
	}
	return nil
}

// checkGo lets go parse the flags before the packages and print the usage. go test leaves unknown
// flags to the test, so the flags of go test are looked up in its help.
func checkGo(args []string) error {
	if args[0] == "tool" {
		return nil // the tool itself reads the rest
	}
	packages := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, ".") })
	if packages < 0 {
		packages = len(args)
	}
	flags := args[:packages]
	text, _ := exec.Command("go", append(slices.Clone(flags), "-h")...).CombinedOutput()
	if problem, _, _ := strings.Cut(string(text), "\n"); !strings.HasPrefix(problem,
		"usage: go "+args[0]) {
		return errors.New(problem)
	}
	if args[0] != "test" {
		return nil
	}
	known, err := exec.Command("sh", "-c",
		"go help build; go help test; go help testflag").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, known)
	}
	for _, arg := range flags[1:] {
		name, _, _ := strings.Cut(arg, "=")
		if strings.HasPrefix(arg, "-") && !strings.Contains(string(known), "\t"+name) {
			return fmt.Errorf("go test has no flag %s", name)
		}
	}
	return nil
}
