package programs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// mongodFolder is the only folder of the archives in these tests. As on macOS, the folder's name is
// not the archive's.
const (
	mongodFolder  = "mongodb-linux-x86_64--" + mongodVersion
	mongodProgram = mongodFolder + "/bin/" + Mongod
)

// programOf is a script in place of a mongod, which prints the version.
func programOf(version string) string { return "#!/bin/sh\necho 'db version v" + version + "'\n" }

// packed returns a .tgz of members, each with its content, and the SHA-256 sum.
func packed(t *testing.T, members map[string]string) (archive []byte, sum string) {
	t.Helper()
	var text bytes.Buffer
	zipped := gzip.NewWriter(&text)
	w := tar.NewWriter(zipped)
	for name, content := range members {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755,
			Size: int64(len(content))})
		if err == nil {
			_, err = io.WriteString(w, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, close := range []func() error{w.Close, zipped.Close} {
		if err := close(); err != nil {
			t.Fatal(err)
		}
	}
	hash := sha256.Sum256(text.Bytes())
	return text.Bytes(), hex.EncodeToString(hash[:])
}

// site serves the first bytes of an archive at a path as MongoDB's site has it, and returns the
// archive's address.
func site(t *testing.T, archive []byte, bytes int) string {
	t.Helper()
	const path = "/linux/mongodb-linux-x86_64-ubuntu2204-" + mongodVersion + ".tgz"
	pages := http.NewServeMux()
	pages.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(archive)))
		w.Header().Set("Content-Encoding", "gzip") // as some servers call a .tgz
		_, _ = w.Write(archive[:bytes])
	})
	server := httptest.NewServer(pages)
	t.Cleanup(server.Close)
	return server.URL + path
}

// TestFetchMongod: an archive with the layout of MongoDB's is fetched and found from then on, left
// alone by the next fetch, and fetched again where the cache is damaged.
func TestFetchMongod(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(mongoKindEnv, "")
	text, sum := packed(t, map[string]string{mongodProgram: programOf(mongodVersion),
		mongodFolder + "/LICENSE-Community.txt": "a licence"})
	archive := mongodArchive{site(t, text, len(text)), []string{sum}}
	cache := t.TempDir()
	path := filepath.Join(mongodRoot(cache), "bin", Mongod)
	fetch := func(want ...string) {
		t.Helper()
		var said []string
		err := archive.install(expect.Context(t), cache, func(line string) {
			said = append(said, line)
		})
		if err != nil || len(said) != len(want) {
			t.Fatalf("%v; said %q, want %q", err, said, want)
		}
		for i, line := range said {
			if !strings.Contains(line, want[i]) {
				t.Errorf("said %q, want %q", line, want[i])
			}
		}
		found, err := FindMongos(expect.Context(t), cache, nil)
		if err != nil || found[0] != (MongoProgram{Mongod, path}) {
			t.Errorf("found %v, %v", found, err)
		}
	}
	fetch("from "+archive.url, "is there: "+path)
	fetch("is there: " + path)
	writeFile(t, path, "", 0o755)
	_, err := FindMongos(expect.Context(t), cache, nil)
	expect.Error(t, err, path+" has 0 bytes", "`./just fetch mongod`")
	fetch(path+" has 0 bytes", "from "+archive.url, "is there: "+path)
	if err := os.WriteFile(filepath.Join(os.Getenv("PATH"), Mongod), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	found, err := FindMongo(expect.Context(t), Mongod, cache, nil)
	if err != nil || found.Path != filepath.Join(os.Getenv("PATH"), Mongod) {
		t.Errorf("with a mongod on PATH found %v, %v", found, err)
	}
}

// TestFetchMongodFails: after each failure the error names the address, the wanted and what came,
// and the cache has nothing new.
func TestFetchMongodFails(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	good, sum := packed(t, map[string]string{mongodProgram: programOf(mongodVersion)})
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	other := strings.Repeat("0", 64)
	holding := func(name, content string) mongodArchive {
		text, sum := packed(t, map[string]string{name: content})
		return mongodArchive{site(t, text, len(text)), []string{sum}}
	}
	for name, c := range map[string]struct {
		archive mongodArchive
		want    []string
	}{
		"wrong sum": {mongodArchive{site(t, good, len(good)), []string{other}},
			[]string{"has the SHA-256 sum " + sum, "want " + other, "not used"}},
		"cut off": {mongodArchive{site(t, good, 100), []string{sum}},
			[]string{"100 of " + strconv.Itoa(len(good)) + " bytes came", "unexpected EOF"}},
		"404": {mongodArchive{site(t, good, 0) + ".more", []string{sum}},
			[]string{"status 404 Not Found", "want 200 OK"}},
		"nobody there": {mongodArchive{closed.URL, []string{sum}}, []string{"connection refused"}},
		"another version": {holding(mongodProgram, programOf("4.0.1")),
			[]string{"not the pinned version", "v4.0.1"}},
		"does not run": {holding(mongodProgram,
			"#!/bin/sh\necho 'no libcurl.so.4' >&2\nexit 127\n"),
			[]string{"exit status 127", "no libcurl.so.4"}},
		"without a mongod": {holding(mongodFolder+"/README", "no program"),
			[]string{"0 programs bin/mongod"}},
		"leads out": {holding("../bin/mongod", programOf(mongodVersion)),
			[]string{"leads out of its folder"}},
	} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			err := c.archive.install(expect.Context(t), cache, func(string) {})
			expect.Error(t, err, append(c.want, c.archive.url)...)
			left, err := os.ReadDir(cache)
			if err != nil || len(left) != 1 || left[0].Name() != Mongod+"-"+mongodVersion+".lock" {
				t.Errorf("left in the cache: %v, %v", left, err)
			}
			_, err = FindMongo(expect.Context(t), Mongod, cache, nil)
			expect.Error(t, err, cache, "`./just fetch mongod` puts it there")
		})
	}
}

// proxiedSumEnv makes this test binary the child of TestFetchMongodByAProxy, because Go reads the
// proxies of a process once.
const proxiedSumEnv = "CDCLAB_TEST_MONGOD_SUM"

// TestFetchMongodByAProxy: the proxy of the environment is asked for an address that nobody else
// knows.
func TestFetchMongodByAProxy(t *testing.T) {
	const address = "http://mongodb.invalid/linux/mongodb.tgz"
	if sum := os.Getenv(proxiedSumEnv); sum != "" {
		archive := mongodArchive{address, []string{sum}}
		err := archive.install(expect.Context(t), t.TempDir(), func(line string) { t.Log(line) })
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	text, sum := packed(t, map[string]string{mongodProgram: programOf(mongodVersion)})
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != address {
			http.NotFound(w, r)
			return
		}
		asked.Add(1)
		_, _ = w.Write(text)
	}))
	defer proxy.Close()
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), proxiedSumEnv+"="+sum, "HTTP_PROXY="+proxy.URL,
		"http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	if said, err := child.CombinedOutput(); err != nil || asked.Load() != 1 {
		t.Errorf("%v, the proxy was asked %d times\n%s", err, asked.Load(), said)
	}
}

// TestMongodOfUnknownPlatform: without a pinned sum nothing is fetched.
func TestMongodOfUnknownPlatform(t *testing.T) {
	t.Parallel()
	_, err := mongodFor("plan9/mips")
	expect.Error(t, err, "no sum of a MongoDB for plan9/mips", "PATH", "--mongo-uri")
}
