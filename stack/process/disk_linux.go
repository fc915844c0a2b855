package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// diskPrefix begins the name of a Disk's folder in the data folder; the child's name follows.
	diskPrefix = "disk-"
	// diskBytes is the room on a Disk that is not full: as much memory as is used there, and no
	// more, is taken.
	diskBytes = 4 << 30
	diskFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
)

// Disk is a file system in memory (tmpfs) for the data of one child. Fill leaves the child, and
// nobody else, without room. The Disk goes with the folder, also after a dead lab.
type Disk struct {
	path string
	// owner are the mount's options about its root.
	owner string
}

// DiskImpossible returns why the lab cannot have a Disk here, or nil: mount(2) wants
// CAP_SYS_ADMIN, which root may lack in a container.
func DiskImpossible() error { return tryDisk() }

var tryDisk = sync.OnceValue(func() error {
	path, err := os.MkdirTemp("", "cdclab-disk-*")
	if err != nil {
		return fmt.Errorf("try a file system of its own: %w", err)
	}
	err = (&Disk{path: path}).mount(0, diskBytes)
	if errors.Is(err, unix.EPERM) {
		err = errors.New("a file system of its own can be mounted by root alone (CAP_SYS_ADMIN)")
	}
	return errors.Join(err, unmountDisk(path), os.Remove(path))
})

// MountDisk makes the Disk of the named child, whose root belongs to the owner; nil is the lab's
// own user.
func (f *Folder) MountDisk(name string, owner *syscall.Credential) (*Disk, error) {
	d := &Disk{path: f.File(diskPrefix + name), owner: "mode=0700"}
	if owner != nil {
		d.owner += fmt.Sprintf(",uid=%d,gid=%d", owner.Uid, owner.Gid)
	}
	err := os.Mkdir(d.path, 0o700)
	if err == nil {
		err = d.mount(0, diskBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", d.path, err)
	}
	return d, nil
}

// mount mounts the Disk with so much room, or with unix.MS_REMOUNT changes the room (tmpfs(5)).
func (d *Disk) mount(flags uintptr, bytes uint64) error {
	options := fmt.Sprintf("size=%d", bytes)
	if d.owner != "" && flags&unix.MS_REMOUNT == 0 {
		options += "," + d.owner
	}
	return unix.Mount("cdclab", d.path, "tmpfs", diskFlags|flags, options)
}

// File is the path of a file on the Disk.
func (d *Disk) File(name string) string { return filepath.Join(d.path, name) }

// Fill takes the room that is left: what is written from now on is refused with ENOSPC, unless a
// file has the room for the bytes already.
func (d *Disk) Fill() error {
	const tries = 100 // more may have been written between the look and the mount
	var err error
	for range tries {
		var now unix.Statfs_t
		if err = unix.Statfs(d.path, &now); err != nil {
			break
		}
		used := (now.Blocks - now.Bfree) * uint64(now.Bsize)
		if err = d.mount(unix.MS_REMOUNT, used); !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("fill %s: %w", d.path, err)
	}
	return nil
}

// Free ends Fill; on a Disk with room, Free does nothing.
func (d *Disk) Free() error {
	if err := d.mount(unix.MS_REMOUNT, diskBytes); err != nil {
		return fmt.Errorf("make room on %s: %w", d.path, err)
	}
	return nil
}

// unmountDisk takes a Disk away, if the path is one.
func unmountDisk(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return nil // nothing is mounted there
	case errors.Is(err, unix.EPERM) && os.Geteuid() != 0:
		return nil // this user has mounted nothing
	case err != nil:
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}
