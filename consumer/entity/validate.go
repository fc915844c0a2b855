package entity

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var tableName = regexp.MustCompile(`^[^.]+\.[^.]+$`)

// validateAll reports everything wrong with the Specs.
func validateAll(documents []*document) []error {
	byEntity := map[string]*document{}
	tables, collections := map[string]*document{}, map[string]*document{}
	var errs []error
	unique := func(seen map[string]*document, d *document, member, value string) {
		if first := seen[value]; first != nil {
			errs = append(errs, d.errorf("$."+member, "%s %q is already in %s", member, value,
				first.path))
			return
		}
		seen[value] = d
	}
	for _, d := range documents {
		errs = append(errs, d.validateSpec()...)
		unique(byEntity, d, "entity", d.spec.Entity)
		unique(tables, d, "table", d.spec.Table)
		if d.spec.Embed == nil {
			unique(collections, d, "collection", d.spec.Collection)
		}
	}
	places := map[string]*document{}
	for _, d := range documents {
		for i, ref := range d.spec.References {
			if byEntity[ref.Entity] == nil {
				errs = append(errs, d.errorf(fmt.Sprintf("$.references[%d].entity", i),
					"there is no entity %q to refer to", ref.Entity))
			}
		}
		if d.spec.Embed != nil {
			errs = append(errs, d.validateEmbed(byEntity[d.spec.Embed.Into])...)
			unique(places, d, "embed.field", d.spec.Embed.Into+"."+d.spec.Embed.Field)
		}
	}
	return errs
}

// validateSpec reports the mistakes of a single Spec.
func (d *document) validateSpec() []error {
	s := d.spec
	var errs []error
	report := func(path, format string, args ...any) {
		errs = append(errs, d.errorf(path, format, args...))
	}
	for _, m := range []struct{ name, value string }{
		{"entity", s.Entity}, {"table", s.Table}, {"collection", s.Collection}, {"key", s.Key},
	} {
		if m.value == "" {
			report("$."+m.name, "%s is missing", m.name)
		}
	}
	if s.Table != "" && !tableName.MatchString(s.Table) {
		report("$.table", "table %q is not schema.name", s.Table)
	}
	if fault := s.CollectionFault(); fault != "" {
		report("$.collection", "%s", fault)
	}
	if strings.HasPrefix(s.Collection, ownPrefix) || strings.HasPrefix(s.Collection, "system.") ||
		isViewName(s.Collection) {
		report("$.collection", "collection %q has the name of one of the consumer's or MongoDB's "+
			"own: %s..., system...., ...%s or ...%s", s.Collection, ownPrefix, LiveSuffix,
			RelatedSuffix)
	}
	errs = append(errs, d.validateFields()...)
	switch key := s.fieldOfColumn(s.Key); {
	case s.Key == "":
	case key == nil:
		report("$.key", "the key column %q is not among the fields", s.Key)
	case !slices.Contains(keyKinds, key.Kind):
		report("$.key", "the key column %q is a %s; a key is one of %v", s.Key, key.Kind, keyKinds)
	case key.Name != "":
		report("$.key", "the key column %q cannot be renamed: it is the document's %s", s.Key,
			KeyMember)
	}
	for i, ref := range s.References {
		if s.fieldOfColumn(ref.Column) == nil {
			report(fmt.Sprintf("$.references[%d].column", i),
				"the reference's column %q is not among the fields", ref.Column)
		}
		if ref.Missing != Store && ref.Missing != DeadLetter {
			at := fmt.Sprintf("$.references[%d].missing", i)
			report(at, "missing %q is neither %s nor %s", ref.Missing, Store, DeadLetter)
		}
		if ref.Grace < 0 {
			report(fmt.Sprintf("$.references[%d].grace", i), "grace %v is negative", ref.Grace)
		}
	}
	return append(errs, d.validateSeverity()...)
}

func (d *document) validateFields() []error {
	s := d.spec
	var errs []error
	taken := s.OwnMembers()
	columns, members := map[string]bool{}, map[string]bool{}
	for i, f := range s.Fields {
		at := fmt.Sprintf("$.fields[%d]", i)
		if f.Column == "" {
			errs = append(errs, d.errorf(at, "the field has no column"))
			continue
		}
		if columns[f.Column] {
			errs = append(errs, d.errorf(at, "column %q is there twice", f.Column))
			continue
		}
		columns[f.Column] = true
		if !slices.Contains(kinds, f.Kind) {
			errs = append(errs, d.errorf(at+".kind", "kind %q of column %q is not one of %v",
				f.Kind, f.Column, kinds))
		}
		errs = append(errs, d.validateRules(at, f)...)
		if f.Column == s.Key {
			continue
		}
		names := []string{f.Member()}
		if f.HasExact() {
			names = append(names, f.Member()+ExactSuffix)
		}
		for _, name := range names {
			switch {
			case strings.ContainsAny(name, ".\x00") || strings.HasPrefix(name, "$"):
				errs = append(errs, d.errorf(at, "%q cannot be the name of a member", name))
			case slices.Contains(taken, name):
				errs = append(errs, d.errorf(at, "member %q is the consumer's own", name))
			case members[name]:
				errs = append(errs, d.errorf(at, "member %q is there twice", name))
			}
			members[name] = true
		}
	}
	return errs
}

// validateEmbed reports mistakes in the place of an embedded entity; into may be nil.
func (d *document) validateEmbed(into *document) []error {
	e := d.spec.Embed
	var errs []error
	if d.spec.fieldOfColumn(e.Parent) == nil {
		errs = append(errs, d.errorf("$.embed.parent",
			"the parent column %q is not among the fields", e.Parent))
	}
	if strings.ContainsAny(e.Field, ".\x00") || strings.HasPrefix(e.Field, "$") || e.Field == "" {
		errs = append(errs, d.errorf("$.embed.field", "%q cannot be the name of a member", e.Field))
	}
	if into == nil {
		return append(errs, d.errorf("$.embed.into", "there is no entity %q to embed into", e.Into))
	}
	if into.spec.Embed != nil {
		errs = append(errs, d.errorf("$.embed.into", "entity %q is embedded itself", e.Into))
	}
	if into.spec.Collection != d.spec.Collection {
		errs = append(errs, d.errorf("$.collection", "collection %q is not that of %s, %q",
			d.spec.Collection, e.Into, into.spec.Collection))
	}
	taken := slices.Contains(into.spec.OwnMembers(), e.Field)
	for _, f := range into.spec.Fields {
		taken = taken || f.Member() == e.Field
	}
	if taken {
		errs = append(errs,
			d.errorf("$.embed.field", "%s has a member %q already", e.Into, e.Field))
	}
	return errs
}
