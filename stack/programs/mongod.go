package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cdclab/cdclab/stack/process"
)

// mongodVersion is the pinned release of MongoDB Community.
const mongodVersion = "8.0.32"

// mongodURLs are MongoDB's own archives by platform. On Linux the archive is the one for Ubuntu
// 22.04: the program needs glibc 2.35, OpenSSL 3 and libcurl.so.4 of the machine.
var mongodURLs = map[string]string{
	"linux/amd64": "https://fastdl.mongodb.org/linux/mongodb-linux-x86_64-ubuntu2204-" +
		mongodVersion + ".tgz",
	"linux/arm64": "https://fastdl.mongodb.org/linux/mongodb-linux-aarch64-ubuntu2204-" +
		mongodVersion + ".tgz",
	"darwin/amd64": "https://fastdl.mongodb.org/osx/mongodb-macos-x86_64-" + mongodVersion + ".tgz",
	"darwin/arm64": "https://fastdl.mongodb.org/osx/mongodb-macos-arm64-" + mongodVersion + ".tgz",
}

// mongodArchive is an archive to fetch, and its right SHA-256 sums.
type mongodArchive struct {
	url  string
	sums []string
}

// mongodFor returns the pinned archive of a platform, such as "linux/amd64".
func mongodFor(platform string) (mongodArchive, error) {
	a := mongodArchive{url: mongodURLs[platform]}
	if a.url != "" {
		a.sums = sumsOf(a.name())[""]
	}
	if len(a.sums) == 0 {
		return a, fmt.Errorf("no sum of a MongoDB for %s is in stack/programs/sums.txt: "+
			"put a mongod of your own on PATH, or name a server by --mongo-uri", platform)
	}
	return a, nil
}

// name is the archive's in sums.txt.
func (a mongodArchive) name() string { return "mongod/" + path.Base(a.url) }

// FetchMongod puts MongoDB itself into the cache. Otherwise FetchMongod works as Fetch.
func FetchMongod(ctx context.Context, cacheDir string, say func(string)) error {
	if say == nil {
		say = func(string) {}
	}
	cacheDir, err := CacheDir(cacheDir)
	var archive mongodArchive
	if err == nil {
		archive, err = mongodFor(runtime.GOOS + "/" + runtime.GOARCH)
	}
	if err == nil {
		err = archive.install(ctx, cacheDir, say)
	}
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	return nil
}

// install puts the program into the cache, unless already there and whole.
func (a mongodArchive) install(ctx context.Context, cacheDir string, say func(string)) error {
	root := mongodRoot(cacheDir)
	return process.Alone(ctx, root, func() error {
		broken := checkWhole(root)
		if broken != nil {
			if !errors.Is(broken, fs.ErrNotExist) {
				say(broken.Error() + ": fetching MongoDB again")
			}
			say(fmt.Sprintf("fetching MongoDB %s from %s into %s (once)", mongodVersion, a.url,
				root))
			if err := fill(root, func(work string) (string, error) {
				return a.bring(ctx, work)
			}); err != nil {
				return fmt.Errorf("MongoDB %s: %w", mongodVersion, err)
			}
		}
		say(fmt.Sprintf("MongoDB %s is there: %s; embedded and native stacks use it from now on, "+
			"unless another mongod is on PATH", mongodVersion, filepath.Join(root, "bin", Mongod)))
		return nil
	})
}

// bring downloads, checks and unpacks the archive below work, and returns the folder with bin. The
// folder's name in the archive is not always the archive's.
func (a mongodArchive) bring(ctx context.Context, work string) (string, error) {
	archive, into := filepath.Join(work, path.Base(a.url)), filepath.Join(work, "programs")
	if err := download(ctx, a.url, archive); err != nil {
		return "", err
	}
	sum, err := sumFile(archive)
	if err == nil {
		err = compareSum(a.url, sum, a.sums)
	}
	if err != nil {
		return "", err
	}
	if err := unpackGzip(archive, into); err != nil {
		return "", fmt.Errorf("%s: %w", a.url, err)
	}
	found, err := filepath.Glob(filepath.Join(into, "*", "bin", Mongod))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%s holds %d programs bin/%s, want one", a.url, len(found), Mongod)
	}
	text, err := process.NewCommand(ctx, process.Server, nil, found[0],
		"--version").CombinedOutput()
	if err == nil && !strings.Contains(string(text), "db version v"+mongodVersion) {
		err = errors.New("not the pinned version")
	}
	if err != nil {
		return "", fmt.Errorf("try the %s of %s on this machine: %w: %q", Mongod, a.url, err, text)
	}
	return filepath.Dir(filepath.Dir(found[0])), nil
}

// downloadMost bounds a download, in bytes.
const downloadMost = 1 << 30

// download writes the answer of a URL into a file, by the proxies of the environment.
func download(ctx context.Context, url, into string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// Otherwise the transport would unpack an archive that the server calls encoded.
	request.Header.Set("Accept-Encoding", "identity")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err // with the URL
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: status %s, want 200 OK", url, response.Status)
	}
	file, err := os.Create(into)
	if err != nil {
		return err
	}
	came, err := io.Copy(file, io.LimitReader(response.Body, downloadMost))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("get %s: %d of %d bytes came: %w", url, came, response.ContentLength, err)
	}
	return nil
}

func mongodRoot(cacheDir string) string {
	return filepath.Join(cacheDir, Mongod+"-"+mongodVersion)
}

// findMongod returns the path of the mongod on PATH or in the cache, or "" without one.
func findMongod(cacheDir string) (string, error) {
	if path, err := exec.LookPath(Mongod); err == nil {
		return path, nil
	}
	root := mongodRoot(cacheDir)
	switch err := checkWhole(root); {
	case err == nil:
		return filepath.Join(root, "bin", Mongod), nil
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	default:
		return "", fmt.Errorf("%s: %w: `./just fetch mongod` fetches the program again", Mongod,
			err)
	}
}
