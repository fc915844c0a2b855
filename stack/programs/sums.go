package programs

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/namedfile"
)

// sumsText holds a right SHA-256 sum and the name of an artefact on each line.
//
//go:embed sums.txt
var sumsText string

// sumsOf returns the right sums of each artefact whose name begins with the prefix, by the rest of
// the name.
func sumsOf(prefix string) map[string][]string {
	sums := map[string][]string{}
	for line := range strings.Lines(sumsText) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if rest, is := strings.CutPrefix(name, prefix); is && !strings.HasPrefix(line, "#") {
			sums[rest] = append(sums[rest], sum)
		}
	}
	return sums
}

// checkSum compares a sum in hexadecimal with the right sums of the artefact.
func checkSum(name, sum string) error { return compareSum(name, sum, sumsOf(name)[""]) }

// compareSum is checkSum with the right sums at hand.
func compareSum(name, sum string, right []string) error {
	switch {
	case len(right) == 0:
		return fmt.Errorf("%s has no sum in stack/programs/sums.txt: not used", name)
	case !slices.Contains(right, sum):
		return fmt.Errorf("%s has the SHA-256 sum %s, want %s: not used", name, sum,
			strings.Join(right, " or "))
	}
	return nil
}

// checkFile compares a file with the right sums of the artefact.
func checkFile(path, name string) error {
	sum, err := sumFile(path)
	if err != nil {
		return fmt.Errorf("check %s: %w", name, err)
	}
	return checkSum(name, sum)
}

// sumFile returns the SHA-256 sum of a file in hexadecimal.
func sumFile(path string) (string, error) {
	file, err := namedfile.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// unpackedMost bounds what an archive may become; PostgreSQL becomes 60 MB.
const unpackedMost = 1 << 30

// errOutside says that an archive names a place outside the folder to fill.
var errOutside = errors.New("the archive leads out of its folder: not unpacked further")

// unpack fills the folder, made anew, with an uncompressed tar archive. The folder is left behind
// where a member leads out of the folder, is neither file, folder nor link, or where all are larger
// than unpackedMost.
func unpack(archive io.Reader, into string) error {
	if err := os.Mkdir(into, 0o755); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	root, err := os.OpenRoot(into) // lets no link lead out either
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	members, left := tar.NewReader(archive), int64(unpackedMost)
	for {
		member, err := members.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			left -= member.Size
			err = unpackMember(root, member, members, left)
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
	}
}

// unpackGzip is unpack for a file compressed with gzip.
func unpackGzip(path, into string) error {
	file, err := namedfile.Open(path)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer file.Close()
	archive, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(path), err)
	}
	return unpack(archive, into)
}

// unpackMember writes one member; left is how many more bytes may come.
func unpackMember(root *os.Root, member *tar.Header, content io.Reader, left int64) error {
	name := path.Clean(member.Name)
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q: %w", member.Name, errOutside)
	}
	if left < 0 {
		return fmt.Errorf("%q: more than %d bytes", member.Name, int64(unpackedMost))
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch member.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeReg:
		mode := member.FileInfo().Mode() & 0o755
		file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Close())
	case tar.TypeSymlink:
		if !filepath.IsLocal(path.Join(path.Dir(name), member.Linkname)) ||
			path.IsAbs(member.Linkname) {
			return fmt.Errorf("%q, a link to %q: %w", member.Name, member.Linkname, errOutside)
		}
		return root.Symlink(member.Linkname, name)
	case tar.TypeXGlobalHeader:
		return nil
	}
	return fmt.Errorf("%q: neither file, folder nor link (%w)", member.Name, fs.ErrInvalid)
}
