package faults

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Write prints the table for a person, each fault with its parameters.
func Write(w io.Writer) error {
	var b bytes.Buffer
	family := ""
	for _, k := range table {
		if k.Family != family {
			family = k.Family
			fmt.Fprintf(&b, "\n%s\n", family)
		}
		fmt.Fprintf(&b, "  %s: %s\n", k.Name, k.Does)
		fmt.Fprintf(&b, "      targets   %s\n", strings.Join(k.Targets, ", "))
		fmt.Fprintf(&b, "      stacks    %s\n", strings.Join(k.Stacks, ", "))
		fmt.Fprintf(&b, "      members   %s\n", strings.Join(k.members(), "; "))
		fmt.Fprintf(&b, "      evidence  %s\n", k.Verified)
		fmt.Fprintf(&b, "      undone    %s\n", k.Undone)
		if k.Loses != "" {
			fmt.Fprintf(&b, "      loses     %s\n", k.Loses)
		}
	}
	fmt.Fprintf(&b, "\nEvery fault has at and may have repeat; \"consumer\" is also consumer-2 "+
		"and so on.\n")
	_, err := w.Write(bytes.TrimLeft(b.Bytes(), "\n"))
	return err
}

// members are the members of a plan's fault of this Kind, with types and defaults.
func (k Kind) members() []string {
	var all []string
	switch k.Ends {
	case Lasts:
		all = append(all, "for (length)")
	case Restarts:
		all = append(all, "restart-after (length, default 0s)")
	case AtOnce:
		all = append(all, "ends at once")
	}
	for _, p := range k.Parameters {
		kind := p.Type
		if p.Type == wordType {
			kind = strings.Join(p.Words, "|")
		}
		if p.Default != "" {
			kind += ", default " + p.Default
		}
		all = append(all, fmt.Sprintf("%s (%s): %s", p.Name, kind, p.Does))
	}
	return all
}
