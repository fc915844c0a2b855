package programs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/stack/process"
)

// manifestName is the file written last into the folder of an installed program: sizes by path of
// all files.
const manifestName = "fetched.json"

// errUnsealed says that a folder is without a manifest: empty, half installed, or of an older lab.
var errUnsealed = errors.New("without a manifest")

// seal writes the manifest of a folder.
func seal(root string) error {
	sizes, err := fileSizes(root)
	if err != nil {
		return err
	}
	text, err := json.Marshal(sizes)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, manifestName), text, 0o644)
}

// checkWhole is nil while every file of a sealed folder is unchanged. fs.ErrNotExist means no
// folder, errUnsealed a folder never sealed; any other error names the changed file.
func checkWhole(root string) error {
	if _, err := os.Stat(root); err != nil {
		return err
	}
	if err := process.TrustPath(root); err != nil {
		return err
	}
	manifest := filepath.Join(root, manifestName)
	text, err := namedfile.Read(manifest, namedfile.Small)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", root, errUnsealed)
	}
	if err != nil {
		return err
	}
	var sealed map[string]int64
	if err := json.Unmarshal(text, &sealed); err != nil {
		return fmt.Errorf("%s: %w", manifest, err)
	}
	found, err := fileSizes(root)
	if err != nil {
		return err
	}
	for name, size := range sealed {
		now, there := found[name]
		switch {
		case !there:
			return fmt.Errorf("%s is missing", filepath.Join(root, name))
		case now != size:
			return fmt.Errorf("%s has %d bytes, was fetched with %d", filepath.Join(root, name),
				now, size)
		}
	}
	return nil
}

// fileSizes returns the sizes of all files by path, 0 of a link that leads to something. Python
// writes its caches anew.
func fileSizes(root string) (map[string]int64, error) {
	// The folder itself may be a link.
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "__pycache__":
			return fs.SkipDir
		case d.IsDir() || path == filepath.Join(root, manifestName):
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			if _, err := os.Stat(path); err == nil {
				sizes[name] = 0
			}
			return nil
		}
		info, err := d.Info()
		if err == nil {
			sizes[name] = info.Size()
		}
		return err
	})
	return sizes, err
}

// fill replaces a folder, whose lock is the caller's, by the folder that bring leaves below work,
// and seals the folder. Without all of that the old folder stays, and nothing new.
func fill(root string, bring func(work string) (folder string, err error)) error {
	// A killed lab's unfinished work is nobody's any more.
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
	folder, err := bring(work)
	if err == nil {
		err = seal(folder)
	}
	if err == nil {
		err = os.RemoveAll(root) // a damaged one
	}
	if err == nil {
		err = os.Rename(folder, root)
	}
	return errors.Join(err, os.RemoveAll(work))
}

// adopt seals the unsealed folder of an older lab when all wanted files, patterns below root, are
// there and usable is nil. A cache that cannot be written stays unsealed and is used.
func adopt(root string, wanted []string, usable func() error) error {
	for _, pattern := range wanted {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("%s is missing", filepath.Join(root, pattern))
		}
		if err != nil {
			return err
		}
	}
	if err := usable(); err != nil {
		return err
	}
	_ = seal(root)
	return nil
}

// CacheDir returns the folder for programs between runs: dir, else CDCLAB_CACHE, else cdclab in the
// user's cache. The path is absolute. A folder where another user writes is an error, because the
// lab runs what is there.
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
	if err := process.TrustPath(dir); err != nil {
		return "", fmt.Errorf("take programs from the cache folder: %w; set CDCLAB_CACHE to a "+
			"folder of your own", err)
	}
	return dir, nil
}
