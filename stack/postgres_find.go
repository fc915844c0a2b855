package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	embedded "github.com/fergusstrange/embedded-postgres"
)

const (
	// wantedMajor is the PostgreSQL that the lab is for, oldestMajor the first it works with.
	wantedMajor = 17
	oldestMajor = 14
	// fetchedVersion is the release of the binaries that are fetched.
	fetchedVersion = embedded.V17
)

// findPostgres finds the folder of PostgreSQL's programs (postgres, initdb): Options.PostgresDir,
// else one on PATH that is new enough, else one that is fetched into the cache, else an older one
// on PATH with a note for the reader of the results.
func findPostgres(ctx context.Context, options Options) (binDir, note string, err error) {
	if options.PostgresDir != "" {
		binDir = filepath.Join(options.PostgresDir, "bin")
		major, err := postgresMajor(ctx, binDir)
		if err == nil && major < oldestMajor {
			err = fmt.Errorf("it is PostgreSQL %d, the lab needs %d", major, oldestMajor)
		}
		if err != nil {
			return "", "", fmt.Errorf("use PostgreSQL in %s: %w", options.PostgresDir, err)
		}
		return binDir, "", nil
	}
	onPath, major, pathErr := postgresOnPath(ctx)
	if pathErr == nil && major >= wantedMajor {
		return onPath, "", nil
	}
	binDir, fetchErr := fetchPostgres(ctx, options)
	if fetchErr == nil {
		return binDir, "", nil
	}
	if ctx.Err() != nil {
		return "", "", fetchErr
	}
	if pathErr != nil || major < oldestMajor {
		return "", "", errors.Join(fmt.Errorf("find PostgreSQL: none from %d on PATH", oldestMajor),
			pathErr, fetchErr)
	}
	return onPath, fmt.Sprintf("PostgreSQL is %d, found on PATH; the lab is for %d, which could not be "+
		"fetched (%v)", major, wantedMajor, fetchErr), nil
}

// postgresOnPath follows links: distributions link single programs into a folder that lacks others.
func postgresOnPath(ctx context.Context) (binDir string, major int, err error) {
	program, err := exec.LookPath("postgres")
	if err != nil {
		return "", 0, fmt.Errorf("look for postgres on PATH: %w", err)
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return "", 0, fmt.Errorf("look for postgres on PATH: %w", err)
	}
	if program, err = filepath.Abs(program); err != nil {
		return "", 0, fmt.Errorf("look for postgres on PATH: %w", err)
	}
	binDir = filepath.Dir(program)
	major, err = postgresMajor(ctx, binDir)
	return binDir, major, err
}

var postgresVersionText = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// postgresMajor asks the programs of a folder for their major version.
func postgresMajor(ctx context.Context, binDir string) (int, error) {
	if _, err := os.Stat(filepath.Join(binDir, "initdb")); err != nil {
		return 0, fmt.Errorf("no initdb beside postgres: %w", err)
	}
	program := filepath.Join(binDir, "postgres")
	text, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	match := postgresVersionText.FindSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("ask %s for its version: it says %q", program, text)
	}
	return strconv.Atoi(string(match[1]))
}

// fetchPostgres puts PostgreSQL into the cache, unless it is there, and returns its bin folder.
func fetchPostgres(ctx context.Context, options Options) (string, error) {
	root := filepath.Join(options.CacheDir, "postgres-"+string(fetchedVersion))
	binDir := filepath.Join(root, "bin")
	// The folder gets its name last: when it is there, it is whole.
	if _, err := os.Stat(root); err == nil {
		return binDir, nil
	}
	err := alone(ctx, root, func() error {
		if _, err := os.Stat(root); err == nil {
			return nil
		}
		options.Say(fmt.Sprintf("fetching PostgreSQL %s into %s (once, some seconds)", fetchedVersion, root))
		return fetchPostgresInto(ctx, root)
	})
	if err != nil {
		return "", fmt.Errorf("fetch PostgreSQL %s: %w", fetchedVersion, err)
	}
	return binDir, nil
}

func fetchPostgresInto(ctx context.Context, root string) error {
	// The lock is ours: what a killed lab was fetching is nobody's any more.
	left, err := filepath.Glob(root + ".fetch-*")
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(filepath.Dir(root), filepath.Base(root)+".fetch-*")
	if err != nil {
		return err
	}
	extracted := filepath.Join(work, "programs")
	fetched := make(chan error, 1)
	go func() { fetched <- extractPostgres(work, extracted) }()
	select {
	case err = <-fetched:
	case <-ctx.Done():
		// The download cannot be interrupted; it cleans up behind itself if the lab lives on.
		go func() {
			<-fetched
			_ = os.RemoveAll(work)
		}()
		return ctx.Err()
	}
	if err == nil {
		_, err = postgresMajor(ctx, filepath.Join(extracted, "bin"))
	}
	if err == nil {
		err = os.Rename(extracted, root)
	}
	return errors.Join(err, os.RemoveAll(work))
}

// extractPostgres downloads and unpacks PostgreSQL. The library only does so on the way to starting
// a server, which root may not and we do not want: with a data folder that looks initialised and
// is empty, initdb is left out and the start always fails, after the unpacking.
func extractPostgres(work, into string) error {
	data := filepath.Join(work, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	mark := []byte(strconv.Itoa(wantedMajor) + "\n")
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), mark, 0o600); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	start := embedded.NewDatabase(embedded.DefaultConfig().Version(fetchedVersion).
		CachePath(filepath.Join(work, "download")).RuntimePath(filepath.Join(work, "runtime")).
		BinariesPath(into).DataPath(data).Port(uint32(port)).Logger(io.Discard)).Start()
	if _, err := os.Stat(filepath.Join(into, "bin", "initdb")); err != nil {
		return errors.Join(start, err)
	}
	return nil
}
