package chaos

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/cdclab/cdclab/chaos/faults"
)

// decode fills value from a mapping. The members named by lengths are durations, checked here
// because the library's errors about durations have no place in the file.
func decode(node ast.Node, value any, lengths ...string) error {
	for key, v := range members(node) {
		if !slices.Contains(lengths, key) {
			continue
		}
		text, ok := v.(*ast.StringNode)
		if !ok {
			return complain(node, key, key+": want a length with its unit, such as 5s")
		}
		if _, err := faults.ReadLength(text.Value); err != nil {
			return complain(node, key, fmt.Sprintf("%s: %v", key, err))
		}
	}
	if err := yaml.NodeToValue(node, value, yaml.Strict()); err != nil {
		return located(err, node)
	}
	return nil
}

// members yields the keys of a mapping and their values; nothing for any other node.
func members(node ast.Node) func(yield func(string, ast.Node) bool) {
	return func(yield func(string, ast.Node) bool) {
		var values []*ast.MappingValueNode
		switch n := node.(type) {
		case *ast.MappingNode:
			values = n.Values
		case *ast.MappingValueNode:
			values = []*ast.MappingValueNode{n}
		}
		for _, v := range values {
			if !yield(v.Key.GetToken().Value, v.Value) {
				return
			}
		}
	}
}

// checkWhole refuses a fraction for a whole number; the library cuts the fraction off.
func checkWhole(node ast.Node, member string) error {
	for key, value := range members(node) {
		if fraction, ok := value.(*ast.FloatNode); ok && key == member {
			return complain(node, key,
				fmt.Sprintf("%s: %s is not a whole number", key, fraction.GetToken().Value))
		}
	}
	return nil
}

// checkPositive refuses a member of a mapping that is no whole number above 0; n is the decoded
// value, and 0 for a mapping without the member.
func checkPositive(node ast.Node, member string, n int, unit string) error {
	if err := checkWhole(node, member); err != nil {
		return err
	}
	if n < 0 || n == 0 && has(node, member) {
		return complain(node, member, fmt.Sprintf("%s: %d is not a number of %s above 0", member, n,
			unit))
	}
	return nil
}

// has returns true if the mapping itself names the member, whatever the value.
func has(node ast.Node, member string) bool {
	for key := range members(node) {
		if key == member {
			return true
		}
	}
	return false
}

// positionError is an error with a text that begins with line and column.
type positionError struct {
	line, column int
	reason       string
}

func (e *positionError) Error() string {
	return fmt.Sprintf("%d:%d: %s", e.line, e.column, e.reason)
}

// complain blames the member of the mapping, or the mapping itself without the member.
func complain(node ast.Node, member, reason string) error {
	at := node.GetToken()
	first := true
	for key, value := range members(node) {
		if value != nil && (first || key == member) {
			at = value.GetToken()
		}
		first = false
		if key == member {
			break
		}
	}
	return &positionError{line(at), column(at), reason}
}

// located gives an error of the YAML library the form of a positionError.
func located(err error, node ast.Node) error {
	if own := new(positionError); errors.As(err, &own) {
		return own
	}
	var at *token.Token
	if node != nil {
		at = node.GetToken()
	}
	reason := err.Error()
	if theirs := yaml.Error(nil); errors.As(err, &theirs) {
		at, reason = theirs.GetToken(), theirs.GetMessage()
	}
	return &positionError{line(at), column(at), reason}
}

func line(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 1
	}
	return t.Position.Line
}

func column(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 1
	}
	return t.Position.Column
}
