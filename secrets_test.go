package main

import (
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestServersAreReachedByHop: only package hop reads addresses of databases, so that every client
// keeps passwords off the network and out of errors.
func TestServersAreReachedByHop(t *testing.T) {
	t.Parallel()
	reached := regexp.MustCompile(`pgx(pool)?\.(Connect|ParseConfig|New)\(|pgconn\.(Connect|` +
		`ParseConfig)\(|ApplyURI\(`)
	mayAsWell := []string{"hop", "hop/pg", "consumer/documents", "xk6-cdc/source"} // with a guard
	for _, s := range sources(t) {
		isForTests := s.test() || slices.Contains(testRooms, filepath.Base(s.room))
		if found := reached.FindString(s.text); found != "" && !isForTests &&
			!slices.Contains(mayAsWell, s.room) {
			t.Errorf("%s uses %s): hop.Mongo, pg.Connect and pg.Parse reach servers", s.path,
				found)
		}
	}
}
