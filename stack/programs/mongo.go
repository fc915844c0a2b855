package programs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// Kinds of MongoDB that can be started. The speed of one says nothing of another's.
const (
	// Mongod is MongoDB itself.
	Mongod = "mongod"
	// SecantusRS and SecantusPy are SecantusDB, which speaks MongoDB's protocol: the fast program
	// and the slow one.
	SecantusRS = "secantusd-rs"
	SecantusPy = "secantusd-py"
)

// mongoKindEnv names the kind of MongoDB for every Stack without a given MongoDB, such as
// SecantusPy where a faster kind is installed.
const mongoKindEnv = "CDCLAB_MONGO_KIND"

// secantusRSEnv names a secantusd-rs program to be used instead of PATH's and the cache's.
const secantusRSEnv = "CDCLAB_SECANTUSD_RS"

// MongoProgram is a program that can be started as the Stack's MongoDB.
type MongoProgram struct {
	Kind, Path string
}

// FindMongo finds a program of a kind. Of the kind "" the program is the kind of CDCLAB_MONGO_KIND,
// else the first of FindMongos.
func FindMongo(ctx context.Context, kind, cacheDir string, say func(string)) (MongoProgram, error) {
	switch kind {
	case "":
		all, err := FindMongos(ctx, cacheDir, say)
		if err != nil {
			return MongoProgram{}, err
		}
		return all[0], nil
	case Mongod:
		path, err := findMongod(cacheDir)
		if err == nil && path == "" {
			err = fmt.Errorf("no %s on PATH or in %s: `./just fetch mongod` puts it there", Mongod,
				cacheDir)
		}
		return MongoProgram{Mongod, path}, err
	case SecantusRS:
		path, err := findSecantusRS(cacheDir)
		if err == nil && path == "" {
			err = fmt.Errorf("no %s on PATH or in %s: `./just fetch` puts it there", SecantusRS,
				cacheDir)
		}
		return MongoProgram{SecantusRS, path}, err
	case SecantusPy:
		path, err := installSecantusPy(ctx, cacheDir, say)
		return MongoProgram{SecantusPy, path}, err
	}
	return MongoProgram{}, fmt.Errorf("%s: no kind of MongoDB %q, want one of %s, %s, %s",
		mongoKindEnv, kind, Mongod, SecantusRS, SecantusPy)
}

// FindMongos finds a program of each kind on this machine, the best first: mongod and secantusd-rs
// on PATH, else in the cache, and secantusd-py in the cache. Without any, secantusd-py is put into
// the cache, which takes some seconds and the Python package index. CDCLAB_MONGO_KIND leaves one
// kind.
func FindMongos(
	ctx context.Context, cacheDir string, say func(string),
) (all []MongoProgram, err error) {
	if kind := os.Getenv(mongoKindEnv); kind != "" {
		one, err := FindMongo(ctx, kind, cacheDir, say)
		return []MongoProgram{one}, err
	}
	path, err := findMongod(cacheDir)
	if err != nil {
		return nil, err
	}
	if path != "" {
		all = append(all, MongoProgram{Mongod, path})
	}
	if path, err = findSecantusRS(cacheDir); err != nil {
		return nil, err
	}
	if path != "" {
		all = append(all, MongoProgram{SecantusRS, path})
	}
	slow := secantusPyIn(cacheDir)
	if slow.installed() {
		all = append(all, MongoProgram{SecantusPy, slow.program})
	}
	if len(all) > 0 {
		return all, nil
	}
	path, err = installSecantusPy(ctx, cacheDir, say)
	if err != nil {
		return nil, fmt.Errorf("find a MongoDB: no %s and no %s on PATH, no %s in %s "+
			"(`./just fetch` puts it there), and the stand-in: %w",
			Mongod, SecantusRS, SecantusRS, cacheDir, err)
	}
	return []MongoProgram{{SecantusPy, path}}, nil
}

// findSecantusRS returns the path of secantusd-rs, or "" without one.
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
	root := secantusRSRoot(cacheDir)
	path := filepath.Join(root, "bin", SecantusRS)
	err := checkWhole(root)
	if _, notThere := exec.LookPath(path); errors.Is(err, errUnsealed) && notThere == nil {
		err = adopt(root, nil, func() error { return nil })
	}
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errUnsealed):
		return "", nil
	}
	return "", &damagedError{err}
}

// damagedError says what is missing in the cache.
type damagedError struct{ error }

func (d *damagedError) Error() string {
	return fmt.Sprintf("%s: %v: `./just fetch` builds the program again", SecantusRS, d.error)
}

func secantusRSRoot(cacheDir string) string { return filepath.Join(cacheDir, SecantusRS) }

// MongoNote is a fact about the kind for every reader of a Run's numbers; "" for MongoDB itself.
func MongoNote(kind string) string {
	switch kind {
	case SecantusRS:
		return "MongoDB is the stand-in secantusd-rs: compare only runs on the same server"
	case SecantusPy:
		return "MongoDB is the slow stand-in secantusd-py " +
			"(run ./just fetch mongod once for MongoDB itself, or ./just fetch), " +
			"written to over one connection, from one partition a topic: " +
			"compare only runs on the same server"
	}
	return ""
}

var errNoPython = errors.New("python3 is not on PATH, or its venv module is missing " +
	"(Debian: apt-get install python3-venv)")
