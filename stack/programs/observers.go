package programs

import (
	"context"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cdclab/cdclab/stack/process"
)

// Observer is a program that watches the pipeline, built with go from a pinned module.
type Observer string

// The Observers. Promtool and Amtool check the configuration of the other two.
const (
	Prometheus   Observer = "prometheus"
	Promtool     Observer = "promtool"
	Alertmanager Observer = "alertmanager"
	Amtool       Observer = "amtool"
	Otelcol      Observer = "otelcol"
)

// observers are the pinned modules: a module of the proxy, or for the collector a module of ours,
// which the collector's own builder wrote.
var observers = map[Observer]struct{ module, version, tags string }{
	Prometheus:   {"github.com/prometheus/prometheus", "v0.313.5", "remove_all_sd"},
	Promtool:     {"github.com/prometheus/prometheus", "v0.313.5", "remove_all_sd"},
	Alertmanager: {"github.com/prometheus/alertmanager", "v0.35.0", ""},
	Amtool:       {"github.com/prometheus/alertmanager", "v0.35.0", ""},
	Otelcol:      {"", "v0.155.0", ""},
}

// otelcolModule is the collector's module, each file with .txt behind the name, because a module
// within a module cannot be embedded. go.mod and go.sum are of the collector's builder v0.155.0.
//
//go:embed otelcol
var otelcolModule embed.FS

// env is the variable with the path of a program to be used instead of the cache's. PATH is not
// searched: a distribution's program is mostly older, and takes no OTLP.
func (o Observer) env() string { return "CDCLAB_" + strings.ToUpper(string(o)) }

// folder is the program's folder in the cache.
func (o Observer) folder(cacheDir string) string {
	name := string(o)
	if o == Promtool {
		name = string(Prometheus) // as older labs made the folder
	} else if o == Amtool {
		name = string(Alertmanager)
	}
	return filepath.Join(cacheDir, name+"-"+strings.TrimPrefix(observers[o].version, "v"))
}

// installObserver builds the program into the cache, unless there is one to be found. The program
// has a module of its own, because its dependencies are not the lab's.
func installObserver(ctx context.Context, o Observer, cacheDir string, say func(string)) error {
	root := o.folder(cacheDir)
	return process.Alone(ctx, root, func() error {
		path, err := FindObserver(o, cacheDir)
		if err == nil {
			say(string(o) + " is there: " + path)
		}
		if !errors.Is(err, ErrNoObserver) {
			return err
		}
		golang, err := exec.LookPath("go")
		if err != nil {
			return fmt.Errorf("install %s: %w", o, err)
		}
		say("building " + string(o) + " with go: some minutes on 2 cores, once")
		if err := os.MkdirAll(root, 0o755); err != nil {
			return err
		}
		// The program gets its name last: an interrupted build is done again.
		path = filepath.Join(root, string(o))
		if err := buildObserver(ctx, o, golang, path+".new"); err != nil {
			return fmt.Errorf("install %s: %w", o, err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
		say(string(o) + " is built: " + path)
		return nil
	})
}

// buildEnv makes the module's own go.sum check all its dependencies.
var buildEnv = []string{"GOFLAGS=-mod=readonly", "GOWORK=off"}

func buildObserver(ctx context.Context, o Observer, golang, program string) (err error) {
	work, err := os.MkdirTemp("", "cdclab-build")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	folder, err := prepareSource(ctx, o, golang, work)
	if err != nil {
		return err
	}
	main := "./cmd/" + string(o)
	if o == Otelcol {
		main = "."
	}
	return process.RunTool(ctx, process.Command{Kind: process.Tool, Path: golang,
		Args: []string{"build", "-trimpath", "-tags", observers[o].tags, "-o", program, main},
		Dir:  folder, Env: buildEnv})
}

// prepareSource returns the folder to build in: the module's own in Go's cache, or below work. The
// module of an Alertmanager comes without the pages of its website, and does not compile without
// any: a copy gets a page.
func prepareSource(ctx context.Context, o Observer, golang, work string) (string, error) {
	if o == Otelcol {
		for _, name := range []string{"main.go", "go.mod", "go.sum"} {
			text, err := otelcolModule.ReadFile("otelcol/" + name + ".txt")
			if err == nil {
				err = os.WriteFile(filepath.Join(work, name), text, 0o644)
			}
			if err != nil {
				return "", err
			}
		}
		return work, nil
	}
	folder, err := downloadModule(ctx, o, golang)
	if err != nil || o == Prometheus || o == Promtool {
		return folder, err
	}
	source := filepath.Join(work, "source")
	if err := os.CopyFS(source, os.DirFS(folder)); err != nil {
		return "", err
	}
	for _, pages := range []string{"elm", "mantine"} {
		into := filepath.Join(source, "ui", "app", "dist", pages)
		if err := os.MkdirAll(into, 0o755); err != nil {
			return "", err
		}
		const page = "<p>Built without pages: use amtool or the API.</p>\n"
		if err := os.WriteFile(filepath.Join(into, "index.html"), []byte(page), 0o644); err != nil {
			return "", err
		}
	}
	return source, nil
}

// downloadModule returns the folder of the module in Go's cache, after a check of the sum.
func downloadModule(ctx context.Context, o Observer, golang string) (string, error) {
	version := observers[o].module + "@" + observers[o].version
	text, err := process.ReadTool(ctx, process.Command{Kind: process.Tool, Path: golang,
		Args: []string{"mod", "download", "-json", version}, Dir: os.TempDir(), Env: buildEnv})
	if err != nil {
		return "", err
	}
	var module struct{ Dir, Sum string }
	if err := json.Unmarshal(text, &module); err != nil {
		return "", fmt.Errorf("download %s: %w", version, err)
	}
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(module.Sum, "h1:"))
	if err != nil {
		return "", fmt.Errorf("download %s: sum %q: %w", version, module.Sum, err)
	}
	return module.Dir, checkSum("go/"+version, hex.EncodeToString(sum))
}

// ErrNoObserver says that FindObserver found none.
var ErrNoObserver = errors.New("no such program")

// FindObserver returns the path of the program. An empty cacheDir is the cacheDir of Options.
func FindObserver(o Observer, cacheDir string) (string, error) {
	if path := os.Getenv(o.env()); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("find %s (%s): %w", o, o.env(), err)
		}
		return path, nil
	}
	cacheDir, err := CacheDir(cacheDir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(o.folder(cacheDir), string(o))
	if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("%w: %s: `./just prometheus` builds one, or %s names one",
			ErrNoObserver, o, o.env())
	}
	return path, nil
}
