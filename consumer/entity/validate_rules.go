package entity

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cdclab/cdclab/consumer/encode/value"
)

// validateRules reports rules of a Field that contradict its kind or each other.
func (d *document) validateRules(at string, f Field) []error {
	var errs []error
	report := func(member, format string, args ...any) {
		errs = append(errs,
			d.errorf(at+"."+member, format+" of column %q", append(args, f.Column)...))
	}
	text := f.Kind == Text || f.Kind == UUID || f.Kind == Any
	if f.Items != "" {
		switch {
		case f.Kind != Array:
			report("items", "items %q: only an array has items, not the %s", f.Items, f.Kind)
		case !slices.Contains(kinds, f.Items):
			report("items", "items %q are not one of %v", f.Items, kinds)
		}
	}
	switch f.Format {
	case "":
	case Email, FormatUUID:
		if !text {
			report("format", "format %q does not fit the %s", f.Format, f.Kind)
		}
	default:
		report("format", "format %q is neither %s nor %s", f.Format, Email, FormatUUID)
	}
	errs = append(errs, d.validateRange(at, f)...)
	for _, m := range []struct {
		name  string
		value time.Duration
	}{{"not_after", f.NotAfter}, {"not_before", f.NotBefore}} {
		if m.value < 0 {
			report(m.name, "%s %v is negative", m.name, m.value)
		} else if m.value > 0 && f.Kind != Timestamp {
			report(m.name, "%s does not fit the %s", m.name, f.Kind)
		}
	}
	if len(f.Transitions) > 0 && !text {
		report("transitions", "transitions do not fit the %s", f.Kind)
	}
	for _, from := range slices.Sorted(maps.Keys(f.Transitions)) {
		for _, value := range append([]string{from}, f.Transitions[from]...) {
			if len(f.Enum) > 0 && !slices.Contains(f.Enum, value) {
				report("transitions", "the value %q in the transitions is not in the enum", value)
			}
			if len(value) >= StateMaxBytes {
				report("transitions", "a value in the transitions has %d bytes, at most %d",
					len(value), StateMaxBytes-1)
			}
		}
	}
	return errs
}

// StateMaxBytes is longer than every value in Transitions: the consumer remembers so much of a
// row's last value.
const StateMaxBytes = 256

func (d *document) validateRange(at string, f Field) []error {
	var errs []error
	for _, m := range []struct{ name, value string }{{"min", f.Min}, {"max", f.Max}} {
		if m.value == "" {
			continue
		}
		if _, v := value.ParseDecimal([]byte(m.value)); v != value.Fits {
			errs = append(errs, d.errorf(at+"."+m.name, "%s %q of column %q is no number",
				m.name, m.value, f.Column))
		} else if !f.Kind.takesRange() {
			errs = append(errs, d.errorf(at+"."+m.name, "%s does not fit the %s of column %q",
				m.name, f.Kind, f.Column))
		}
	}
	if len(errs) > 0 || f.Min == "" || f.Max == "" {
		return errs
	}
	least, _ := value.ParseDecimal([]byte(f.Min))
	greatest, _ := value.ParseDecimal([]byte(f.Max))
	if order, ordered := least.Compare(greatest); !ordered || order > 0 {
		errs = append(errs,
			d.errorf(at+".min", "min %s of column %q is above max %s", f.Min, f.Column, f.Max))
	}
	return errs
}

// validateSeverity reports overrides of unknown rules, and unknown severities.
func (d *document) validateSeverity() []error {
	var errs []error
	for _, rule := range slices.Sorted(maps.Keys(d.spec.Severity)) {
		at := fmt.Sprintf("$.severity.%s", rule)
		if _, known := severities[rule]; !known {
			errs = append(errs, d.errorf(at, "rule %q is not one of %v", rule,
				slices.Sorted(maps.Keys(severities))))
		}
		if s := d.spec.Severity[rule]; s != Warn && s != Reject {
			errs = append(errs, d.errorf(at, "severity %q of rule %s is neither %s nor %s", s, rule,
				Warn, Reject))
		}
	}
	for _, m := range []struct {
		name     string
		negative bool
	}{{"skew", d.spec.Skew < 0}, {"late", d.spec.Late < 0}} {
		if m.negative {
			errs = append(errs, d.errorf("$."+m.name, "%s is negative", m.name))
		}
	}
	return errs
}
