// Package programs finds the programs of a Stack (PostgreSQL, MongoDB or a stand-in, Kafka and
// Debezium, Prometheus) and puts missing programs into the user's cache. The package starts no
// server. Start reading at FindMongo and FindPostgres, and for programs costing minutes at Fetch.
package programs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cdclab/cdclab/namedfile"
)

// Fetch installs into the cache the fast stand-in for MongoDB, built with cargo in about 6 minutes,
// because a Stack does not install this program by itself; and PostgreSQL, otherwise fetched by the
// first Up. Programs already there are reported and left alone. An empty cacheDir is the cacheDir
// of Options. Say receives a line of progress and may be nil.
func Fetch(ctx context.Context, cacheDir string, say func(string)) error {
	if say == nil {
		say = func(string) {}
	}
	cacheDir, err := CacheDir(cacheDir)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	binDir, note, err := FindPostgres(ctx, "", cacheDir, say)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	say("PostgreSQL is there: " + binDir)
	if note != "" {
		say(note)
	}
	if err := installSecantusRS(ctx, cacheDir, say); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	return nil
}

// FetchObservers builds the Observers into the cache, which takes some minutes each. Otherwise
// FetchObservers works as Fetch.
func FetchObservers(ctx context.Context, cacheDir string, say func(string),
	which ...Observer) error {
	if say == nil {
		say = func(string) {}
	}
	cacheDir, err := CacheDir(cacheDir)
	for _, o := range which {
		if err == nil {
			err = installObserver(ctx, o, cacheDir, say)
		}
	}
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	return nil
}

// CopyObservers copies the servers among the Observers from the cache into a folder, for container
// images of them.
func CopyObservers(cacheDir, into string) error {
	if err := os.MkdirAll(into, 0o755); err != nil {
		return fmt.Errorf("copy the observers: %w", err)
	}
	for _, o := range []Observer{Prometheus, Alertmanager, Otelcol} {
		path, err := FindObserver(o, cacheDir)
		var text []byte
		if err == nil {
			text, err = namedfile.Read(path, mostProgram)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(into, string(o)), text, 0o755)
		}
		if err != nil {
			return fmt.Errorf("copy the observers: %w", err)
		}
	}
	return nil
}

// mostProgram bounds an observer, in bytes.
const mostProgram = 1 << 30

// FetchInto copies PostgreSQL, the fast stand-in for MongoDB, Kafka and Debezium from the cache
// into the folders postgres, mongo and jvm of dir, for container images of them. What the cache
// lacks is fetched before, as by Fetch.
func FetchInto(ctx context.Context, cacheDir, dir string, say func(string)) error {
	if err := Fetch(ctx, cacheDir, say); err != nil {
		return err
	}
	cacheDir, err := CacheDir(cacheDir)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	postgres, err := fetchPostgres(ctx, cacheDir, say)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	jvm, err := FindJVM(ctx, cacheDir, say)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	mongo, err := findSecantusRS(cacheDir)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	for name, from := range map[string]string{"postgres": filepath.Dir(postgres),
		"mongo": filepath.Dir(mongo), "jvm": jvm.Dist} {
		into := filepath.Join(dir, name)
		if err := errors.Join(os.RemoveAll(into), os.CopyFS(into, os.DirFS(from))); err != nil {
			return fmt.Errorf("fetch: copy %s: %w", name, err)
		}
	}
	return nil
}
