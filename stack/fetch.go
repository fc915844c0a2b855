package stack

import (
	"context"
	"fmt"
)

// Fetch installs into the cache what a Stack is better with and does not install by itself: the
// fast stand-in for MongoDB, built with cargo in about 6 minutes; and what it would fetch on the
// first Up: PostgreSQL. What is there already is said to be and left alone. An empty cacheDir is
// that of Options. Say receives a line of progress and may be nil.
func Fetch(ctx context.Context, cacheDir string, say func(string)) error {
	if say == nil {
		say = func(string) {}
	}
	cacheDir, err := CacheDir(cacheDir)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	binDir, note, err := findPostgres(ctx, Options{CacheDir: cacheDir, Say: say})
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

// FetchPrometheus builds a Prometheus into the cache for StartPrometheus, which takes some minutes.
// Otherwise it is as Fetch.
func FetchPrometheus(ctx context.Context, cacheDir string, say func(string)) error {
	if say == nil {
		say = func(string) {}
	}
	cacheDir, err := CacheDir(cacheDir)
	if err == nil {
		err = installPrometheus(ctx, cacheDir, say)
	}
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	return nil
}
