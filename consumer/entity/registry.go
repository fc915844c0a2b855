package entity

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

//go:embed specs/*.yaml
var builtin embed.FS

// Registry is a set of Specs that fit together.
type Registry struct {
	all      []*Spec
	byTable  map[string]*Spec
	byEntity map[string]*Spec
}

// Default is the four entities of the lab: customer, address, order, order_item.
func Default() *Registry {
	specs, err := fs.Sub(builtin, "specs")
	if err == nil {
		var r *Registry
		if r, err = Load(specs); err == nil {
			return r
		}
	}
	panic(fmt.Sprintf("the built-in specs: %v", err))
}

// Load reads every *.yaml of a folder, one Spec a file. Unknown members, and Specs that contradict
// themselves or each other, are errors; each names the file and the line, and all are reported
// together.
func Load(fsys fs.FS) (*Registry, error) {
	paths, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("look for specs: %w", err)
	}
	if len(paths) == 0 {
		return nil, errors.New("load specs: there is no *.yaml in the folder")
	}
	var documents []*document
	var errs []error
	for _, path := range paths {
		d, err := read(fsys, path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		documents = append(documents, d)
	}
	if len(errs) == 0 {
		errs = validate(documents)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("load specs: %w", errors.Join(errs...))
	}
	return assemble(documents), nil
}

// ByTable finds a Spec by its table ("public.order").
func (r *Registry) ByTable(table string) (*Spec, bool) {
	s, ok := r.byTable[table]
	return s, ok
}

// ByEntity finds a Spec by its entity ("order").
func (r *Registry) ByEntity(name string) (*Spec, bool) {
	s, ok := r.byEntity[name]
	return s, ok
}

// All returns the Specs, those that others refer to first: customer, address, order, order_item.
// Where that leaves a choice, the order is that of the files' names.
func (r *Registry) All() []*Spec { return slices.Clone(r.all) }

// document is a Spec and where it was read.
type document struct {
	path string
	file *ast.File
	spec *Spec
}

func read(fsys fs.FS, path string) (*document, error) {
	text, err := fs.ReadFile(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	d := &document{path: path, spec: new(Spec)}
	if d.file, err = parser.ParseBytes(text, 0); err != nil {
		return nil, d.yamlError(err)
	}
	if len(d.file.Docs) != 1 || d.file.Docs[0].Body == nil {
		return nil, fmt.Errorf("%s: holds %d specs, want one", path, len(d.file.Docs))
	}
	if err := yaml.UnmarshalWithOptions(text, d.spec, yaml.Strict()); err != nil {
		return nil, d.yamlError(err)
	}
	return d, nil
}

// yamlError brings file and line to the front, as for every other error.
func (d *document) yamlError(err error) error {
	var positioned yaml.Error
	if errors.As(err, &positioned) && positioned.GetToken() != nil {
		at := positioned.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", d.path, at.Line, at.Column, positioned.GetMessage())
	}
	return fmt.Errorf("%s: %w", d.path, err)
}

// errorf reports a mistake at a place in the file, given as a YAML path ("$.fields[2].kind"); a
// place that is not there is reported where its parent begins.
func (d *document) errorf(path, format string, args ...any) error {
	line := 1
	for path != "$" {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterFile(d.file); err == nil && node != nil {
				line = node.GetToken().Position.Line
				break
			}
		}
		path = path[:strings.LastIndexAny(path, ".[")]
	}
	return fmt.Errorf("%s:%d: %s", d.path, line, fmt.Sprintf(format, args...))
}

// assemble puts parents first.
func assemble(documents []*document) *Registry {
	r := &Registry{byTable: map[string]*Spec{}, byEntity: map[string]*Spec{}}
	for _, d := range documents {
		r.byTable[d.spec.Table], r.byEntity[d.spec.Entity] = d.spec, d.spec
		for i := range d.spec.Fields {
			if f := &d.spec.Fields[i]; f.Column == d.spec.Key {
				f.Name = KeyMember
			}
		}
	}
	seen := map[*Spec]bool{}
	var add func(s *Spec)
	add = func(s *Spec) {
		if seen[s] {
			return
		}
		seen[s] = true
		if s.Embed != nil {
			add(r.byEntity[s.Embed.Into])
		}
		for _, ref := range s.References {
			add(r.byEntity[ref.Entity])
		}
		r.all = append(r.all, s)
	}
	for _, d := range documents {
		add(d.spec)
	}
	return r
}
