//go:build unix && !linux

package process

import (
	"errors"
	"syscall"
)

// Disk is a file system of its own, which the lab can have on Linux alone.
type Disk struct{}

// diskPrefix is as on Linux.
const diskPrefix = "disk-"

// DiskImpossible returns why the lab cannot have a Disk here.
func DiskImpossible() error {
	return errors.New("a file system of its own can be mounted on Linux alone")
}

// MountDisk is DiskImpossible.
func (f *Folder) MountDisk(string, *syscall.Credential) (*Disk, error) {
	return nil, DiskImpossible()
}

// File is never called.
func (d *Disk) File(name string) string { return name }

// Fill is DiskImpossible.
func (d *Disk) Fill() error { return DiskImpossible() }

// Free is DiskImpossible.
func (d *Disk) Free() error { return DiskImpossible() }

func unmountDisk(string) error { return nil }
