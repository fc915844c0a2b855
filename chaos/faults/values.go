package faults

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Types of Parameters.
const (
	lengthType = "length"
	numberType = "number"
	wordType   = "word"
	// commandType is a line for a shell.
	commandType = "command"
)

// Parameter is a member of a plan's fault.
type Parameter struct {
	Name string `json:"name"`
	// Type is length (such as 5s), number (whole), word (one of Words), or command (a line for
	// /bin/sh).
	Type string `json:"type"`
	// Default is the value of a plan that is silent; "" is a Parameter that every plan gives.
	Default string   `json:"default,omitempty"`
	Words   []string `json:"words,omitempty"`
	// Least and Most bound a number. A length is at least Least milliseconds.
	Least int64 `json:"least"`
	Most  int64 `json:"most,omitempty"`
	// Does says what the value changes, with the unit of a number.
	Does string `json:"does"`
}

// Check refuses a text that is no value of the Parameter.
func (p Parameter) Check(text string) error {
	switch p.Type {
	case lengthType:
		length, err := ReadLength(text)
		if err == nil && length < time.Duration(p.Least)*time.Millisecond {
			err = fmt.Errorf("%s is too short: at least %dms", text, p.Least)
		}
		return err
	case commandType:
		if strings.TrimSpace(text) == "" || strings.ContainsAny(text, "\n\x00") {
			return fmt.Errorf("%q is not one line for /bin/sh", text)
		}
		return nil
	case numberType:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < p.Least || n > p.Most {
			return fmt.Errorf("%q is not a whole number from %d to %d", text, p.Least, p.Most)
		}
		return nil
	}
	if !slices.Contains(p.Words, text) {
		return fmt.Errorf("%q is none of %s", text, strings.Join(p.Words, ", "))
	}
	return nil
}

// Example is a value for a message to a person.
func (p Parameter) Example() string {
	switch {
	case p.Default != "":
		return p.Default
	case p.Type == lengthType:
		return "5s"
	case p.Type == commandType:
		return "./" + p.Name + ".sh"
	case p.Type == numberType:
		return strconv.FormatInt(max(p.Least, 1), 10)
	}
	return p.Words[0]
}

// Parameter returns the named Parameter of the Kind.
func (k Kind) Parameter(name string) (Parameter, bool) {
	for _, p := range k.Parameters {
		if p.Name == name {
			return p, true
		}
	}
	return Parameter{}, false
}

// Values are the checked Parameters of a fault by their names.
type Values map[string]string

// WithDefaults adds the defaults of the Kind's other Parameters.
func (v Values) WithDefaults(k Kind) Values {
	full := Values{}
	for _, p := range k.Parameters {
		if p.Default != "" {
			full[p.Name] = p.Default
		}
	}
	maps.Copy(full, v)
	return full
}

// Length is the value of a length, 0 without a value.
func (v Values) Length(name string) time.Duration {
	length, _ := ReadLength(v[name]) // checked with the plan
	return length
}

// Number is the value of a number, 0 without a value.
func (v Values) Number(name string) int {
	n, _ := strconv.Atoi(v[name]) // checked with the plan
	return n
}

// maxLength keeps sums of lengths from overflowing.
const maxLength = 1000 * time.Hour

// ReadLength reads a length of a plan. A length is in whole milliseconds, because neither Toxiproxy
// nor the timeline knows a shorter time, and a plan must not say more than is done.
func ReadLength(text string) (time.Duration, error) {
	length, err := time.ParseDuration(text)
	switch {
	case err != nil || length < 0 || length > maxLength:
		return 0, fmt.Errorf("%q is not a length from 0s to %v", text, maxLength)
	case length%time.Millisecond != 0:
		return 0, fmt.Errorf("%q cannot be applied: want whole milliseconds", text)
	}
	return length, nil
}
