package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Kinds of MongoDB, the answers of Stack.MongoKind. The speed of one says nothing of another's.
const (
	// MongoGiven is a server given by its URI.
	MongoGiven = "given"
	// Mongod is MongoDB itself.
	Mongod = "mongod"
	// SecantusRS and SecantusPy are SecantusDB, which speaks MongoDB's protocol: the fast program
	// and the slow one.
	SecantusRS = "secantusd-rs"
	SecantusPy = "secantusd-py"
)

// secantusRSEnv names a secantusd-rs program to be used instead of those on PATH and in the cache.
const secantusRSEnv = "CDCLAB_SECANTUSD_RS"

// mongoProgram is a program that can be started as the Stack's MongoDB.
type mongoProgram struct {
	kind, path string
}

// findMongo finds the best program there is: mongod and secantusd-rs on PATH, secantusd-rs in the
// cache. Where there is none, secantusd-py is put into the cache, which takes some seconds and the
// Python package index.
func findMongo(ctx context.Context, cacheDir string, say func(string)) (mongoProgram, error) {
	if path, err := exec.LookPath(Mongod); err == nil {
		return mongoProgram{Mongod, path}, nil
	}
	path, err := findSecantusRS(cacheDir)
	if err != nil {
		return mongoProgram{}, err
	}
	if path != "" {
		return mongoProgram{SecantusRS, path}, nil
	}
	path, err = installSecantusPy(ctx, cacheDir, say)
	if err != nil {
		return mongoProgram{}, fmt.Errorf("find a MongoDB: no %s and no %s on PATH, no %s in %s "+
			"(`./just fetch` puts it there), and the stand-in: %w",
			Mongod, SecantusRS, SecantusRS, cacheDir, err)
	}
	return mongoProgram{SecantusPy, path}, nil
}

// findSecantusRS is the path of secantusd-rs, or "" when it is nowhere.
func findSecantusRS(cacheDir string) (string, error) {
	if path := os.Getenv(secantusRSEnv); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("find %s (%s): %w", SecantusRS, secantusRSEnv, err)
		}
		return path, nil
	}
	if path, err := exec.LookPath(SecantusRS); err == nil {
		return path, nil
	}
	path := filepath.Join(secantusRSRoot(cacheDir), "bin", SecantusRS)
	if _, err := exec.LookPath(path); err != nil {
		return "", nil
	}
	return path, nil
}

func secantusRSRoot(cacheDir string) string { return filepath.Join(cacheDir, SecantusRS) }

// CacheDir is where programs are kept between runs: dir, else CDCLAB_CACHE, else cdclab in
// the user's cache. It is absolute.
func CacheDir(dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv("CDCLAB_CACHE")
	}
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache folder: %w", err)
		}
		dir = filepath.Join(base, "cdclab")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return dir, nil
}

// note is what a reader of a Run's numbers must know about the kind; "" for MongoDB itself.
func mongoNote(kind string) string {
	switch kind {
	case SecantusRS:
		return "MongoDB is the stand-in secantusd-rs: compare only runs on the same server"
	case SecantusPy:
		return "MongoDB is the slow stand-in secantusd-py (run ./just fetch once, or put a mongod on " +
			"PATH), written to over one connection, from one partition a topic: compare only runs on the same server"
	}
	return ""
}

var errNoPython = errors.New("python3 is not on PATH, or its venv module is missing " +
	"(Debian: apt-get install python3-venv)")
