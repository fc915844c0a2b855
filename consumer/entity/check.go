package entity

import "fmt"

// The rules that Check applies.
const (
	RuleRequired = "required" // a required column is absent or null
	RuleKind     = "kind"     // a value that its kind cannot be read from
)

// Violation is a rule that a row breaks.
type Violation struct {
	// Rule is one of the Rule constants.
	Rule string
	// Field is the column.
	Field string
	// Value is the column's value, shortened; empty where it is absent or null.
	Value string
	// Reason is for a person.
	Reason string
}

func (v Violation) Error() string {
	return fmt.Sprintf("%s: column %s %s", v.Rule, v.Field, v.Reason)
}

// Check returns the rules that a row breaks, in the order of the Fields; none for a good row. row
// holds decoded JSON values by column, as for Field.BSON. Columns that are not in the Spec are
// ignored.
func (s *Spec) Check(row map[string]any) []Violation {
	var violations []Violation
	for _, f := range s.Fields {
		value := row[f.Column]
		if value == nil {
			if f.Required {
				violations = append(violations,
					Violation{Rule: RuleRequired, Field: f.Column, Reason: "is absent or null"})
			}
			continue
		}
		if _, _, err := f.BSON(value); err != nil {
			violations = append(violations,
				Violation{RuleKind, f.Column, shorten(fmt.Sprint(value)), "cannot be stored: " + err.Error()})
		}
	}
	return violations
}
