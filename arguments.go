package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"

	"github.com/cdclab/cdclab/shown"
)

// flags returns a flag set that leaves printing of errors to run.
func flags(name string, t terminal) *flag.FlagSet {
	set := flag.NewFlagSet("cdclab "+name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {
		set.SetOutput(t.out)
		fmt.Fprintf(t.out, "Usage of %s:\n", set.Name())
		for _, c := range commands() {
			if c.name == name {
				c.explain(t.out)
			}
		}
		set.PrintDefaults()
		set.SetOutput(io.Discard)
	}
	return set
}

// notEmpty is a flag's value without "". A shell makes "" of a variable without a value, and nobody
// means the flag's default thereby.
type notEmpty struct{ flag.Value }

// Set sets any text but "".
func (v notEmpty) Set(text string) error {
	if text == "" {
		return errors.New("must not be empty")
	}
	return v.Value.Set(text)
}

// IsBoolFlag is true for a flag that needs no value.
func (v notEmpty) IsBoolFlag() bool {
	b, is := v.Value.(interface{ IsBoolFlag() bool })
	return is && b.IsBoolFlag()
}

// parseFlags is set.Parse that refuses empty values.
func parseFlags(set *flag.FlagSet, args []string) error {
	set.VisitAll(func(f *flag.Flag) { f.Value = notEmpty{f.Value} })
	defer set.VisitAll(func(f *flag.Flag) { f.Value = f.Value.(notEmpty).Value })
	return set.Parse(args)
}

// parse reads flags and positional arguments in any order, then the variables of flags without an
// argument, and wants between least and most positional arguments.
func parse(set *flag.FlagSet, args []string, least, most int) ([]string, error) {
	usage := set.Usage
	set.Usage = func() {}
	var positional []string
	for {
		err := parseFlags(set, args)
		if errors.Is(err, flag.ErrHelp) {
			usage()
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("%w (`%s -h` lists the flags)", hideValue(err), set.Name())
		}
		if set.NArg() == 0 {
			break
		}
		positional = append(positional, set.Arg(0))
		args = set.Args()[1:]
	}
	if i := slices.Index(positional, ""); i >= 0 {
		return nil, fmt.Errorf("argument %d is empty", i+1)
	}
	if len(positional) < least || len(positional) > most {
		return nil, fmt.Errorf("got %d arguments %q, want %d to %d", len(positional),
			shown.Command(positional), least, most)
	}
	return positional, readVariables(set)
}

// ofVariable finds the variable of a flag in the usage: "(env CDC_MONGO_URI)".
var ofVariable = regexp.MustCompile(`\benv ([A-Z][A-Z_]+)\b`)

// readVariables sets flags from the variables that their usages name. A variable is no flag's
// default, because help prints the defaults.
func readVariables(set *flag.FlagSet) error {
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	set.VisitAll(func(f *flag.Flag) {
		variable := ofVariable.FindStringSubmatch(f.Usage)
		if err != nil || given[f.Name] || variable == nil || os.Getenv(variable[1]) == "" {
			return
		}
		// Without FlagSet.Set, which would count the flag as given.
		if f.Value.Set(os.Getenv(variable[1])) != nil {
			err = fmt.Errorf("read %s: want what --%s takes", variable[1], f.Name)
		}
	})
	return err
}

// Errors of package flag that quote an argument: $1 is the value in quotes, $2 the flag, $3 the
// reason.
var (
	wrongValue  = regexp.MustCompile(`(?s)^invalid value (".*") for flag -([^:]*): (.*)$`)
	wrongSyntax = regexp.MustCompile(`(?s)^(bad flag syntax|flag provided but not defined): .*$`)
	flagName    = regexp.MustCompile(`: -[a-z][a-z-]*$`)
)

// hideValue leaves possible secrets out of an error of package flag: the value of a flag that is
// not harmless, and an argument that names no flag. The reasons of the lab's own flags quote no
// values.
func hideValue(err error) error {
	if about := wrongValue.FindStringSubmatch(err.Error()); about != nil {
		value, _ := strconv.Unquote(about[1])
		switch {
		case !shown.IsHarmless(about[2]):
			return fmt.Errorf("--%s: %s", about[2], about[3])
		case shown.Command([]string{value})[0] != value: // the reason may quote in its own way
			return fmt.Errorf("--%s: a wrong value, which is not shown", about[2])
		}
	}
	if about := wrongSyntax.FindStringSubmatch(err.Error()); about != nil &&
		!flagName.MatchString(err.Error()) {
		return fmt.Errorf("%s: %s", about[1], shown.Hidden)
	}
	return err
}
