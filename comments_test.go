package main

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

func TestPackageComments(t *testing.T) {
	t.Parallel()
	documented, rooms := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		rooms[s.room] = true
		doc := s.file.Doc.Text()
		if doc == "" {
			continue
		}
		documented[s.room] = true
		name := s.file.Name.Name
		if name != "main" && !strings.HasPrefix(doc, "Package "+name+" ") {
			t.Errorf("%s: the package comment begins with %q", s.path, "Package "+name)
		}
		if name != "main" && !strings.Contains(strings.ReplaceAll(doc, "\n", " "), "tart reading") {
			t.Errorf("%s: the package comment does not say where to start reading", s.path)
		}
	}
	for room := range rooms {
		if !documented[room] {
			t.Errorf("package %q has no package comment", room)
		}
	}
}

func TestExportedComments(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, d := range s.file.Decls {
			for _, missing := range undocumented(d) {
				t.Errorf("%s: %s has no comment that begins with its name", s.path, missing)
			}
		}
	}
}

// undocumented lists exported names without a comment; a const or var group may share a comment.
func undocumented(d ast.Decl) []string {
	begins := func(doc *ast.CommentGroup, name string) bool {
		text := strings.TrimPrefix(strings.TrimPrefix(doc.Text(), "A "), "An ")
		return strings.HasPrefix(text, name)
	}
	var missing []string
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && !begins(d.Doc, d.Name.Name) &&
			!(d.Recv != nil && d.Doc.Text() != "") && !implementsStandard(d) {
			missing = append(missing, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && !begins(d.Doc, spec.Name.Name) &&
					!begins(spec.Doc, spec.Name.Name) {
					missing = append(missing, spec.Name.Name)
				}
			case *ast.ValueSpec:
				if spec.Names[0].IsExported() && d.Doc.Text() == "" && spec.Doc.Text() == "" &&
					spec.Comment.Text() == "" {
					missing = append(missing, spec.Names[0].Name)
				}
			}
		}
	}
	return missing
}

// implementsStandard spares methods whose meaning an interface already states: the methods of
// error, fmt.Stringer, sort, flag.Value, and of unexported types.
func implementsStandard(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return false
	}
	if slices.Contains([]string{"Error", "Unwrap", "String", "Set", "Write"}, d.Name.Name) {
		return true
	}
	receiver := d.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	name, ok := receiver.(*ast.Ident)
	return ok && !name.IsExported()
}
