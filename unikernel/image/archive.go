package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"morgana/unikernel/internal/abi"
)

// A File is carried by an image and found by its program.
type File struct {
	Name string      // clean absolute path
	Mode fs.FileMode // permission bits and fs.ModeDir
	Data []byte
}

// Linux's file types (inode(7)).
const (
	modeType = 0o170000
	modeFile = 0o100000
	modeDir  = 0o040000
)

// ErrArchive is what errors about files match.
var ErrArchive = errors.New("files of the image")

// AppendArchive appends files as abi.FileHeader describes; nothing for no files.
func AppendArchive(b []byte, files []File) ([]byte, error) {
	if len(files) == 0 {
		return b, nil
	}
	if err := checkFiles(files); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	start := len(b)
	pad := func(n int) {
		for (len(b)-start)%n != 0 {
			b = append(b, 0)
		}
	}
	for _, f := range files {
		head := len(b)
		b = append(b, make([]byte, abi.FileHeader)...)
		b = append(b, f.Name...)
		b = append(b, 0)
		pad(8)
		if len(f.Data) > abi.Page/2 {
			pad(abi.Page)
		}
		data := len(b) - start
		b = append(b, f.Data...)
		pad(8)
		mode := uint32(f.Mode.Perm()) | modeFile
		if f.Mode.IsDir() {
			mode = uint32(f.Mode.Perm()) | modeDir
		}
		le.PutUint32(b[head+abi.FileNameLen:], uint32(len(f.Name)))
		le.PutUint32(b[head+abi.FileMode:], mode)
		le.PutUint64(b[head+abi.FileSize:], uint64(len(f.Data)))
		le.PutUint64(b[head+abi.FileData:], uint64(data))
		le.PutUint64(b[head+abi.FileNext:], uint64(len(b)-start))
	}
	return append(b, make([]byte, abi.FileHeader)...), nil
}

// maxName is the longest name of a file, in bytes, that the kernel takes (unikernel/kernel, maxPath).
const maxName = 1000

// checkFiles finds names that the kernel would not understand, and files that get in each other's way.
func checkFiles(files []File) error {
	isDir := map[string]bool{}
	for _, f := range files {
		if !validName(f.Name) {
			return fmt.Errorf("%w: %q must be a clean absolute path below /, at most %d bytes", ErrArchive, f.Name, maxName)
		}
		if f.Mode.Type()&^fs.ModeDir != 0 {
			return fmt.Errorf("%w: %s is %v; only regular files and directories can be carried", ErrArchive, f.Name, f.Mode.Type())
		}
		if dir, seen := isDir[f.Name]; seen && !(dir && f.Mode.IsDir()) {
			return fmt.Errorf("%w: %s is given twice", ErrArchive, f.Name)
		}
		isDir[f.Name] = f.Mode.IsDir()
	}
	for name := range isDir {
		for d := path.Dir(name); d != "/"; d = path.Dir(d) {
			if dir, seen := isDir[d]; seen && !dir {
				return fmt.Errorf("%w: %s is a file, so %s cannot be in it", ErrArchive, d, name)
			}
		}
	}
	return nil
}

func validName(s string) bool {
	return path.IsAbs(s) && s != "/" && path.Clean(s) == s && len(s) <= maxName && !strings.ContainsRune(s, 0)
}

// ParseArchive reads what AppendArchive wrote. The files' content shares memory with b.
func ParseArchive(b []byte) ([]File, error) {
	le := binary.LittleEndian
	size := uint64(len(b))
	var files []File
	for o := uint64(0); o <= size && size-o >= abi.FileHeader; {
		h := b[o:]
		n := uint64(le.Uint32(h[abi.FileNameLen:]))
		if n == 0 {
			return files, nil
		}
		mode, length := le.Uint32(h[abi.FileMode:]), le.Uint64(h[abi.FileSize:])
		data, next := le.Uint64(h[abi.FileData:]), le.Uint64(h[abi.FileNext:])
		if n > uint64(len(h))-abi.FileHeader || data > size || length > size-data || next <= o {
			return nil, fmt.Errorf("%w: entry at %d is damaged; build the image again", ErrArchive, o)
		}
		f := File{Name: string(h[abi.FileHeader : abi.FileHeader+n]), Mode: fs.FileMode(mode & 0o777), Data: b[data : data+length : data+length]}
		if !validName(f.Name) {
			return nil, fmt.Errorf("%w: entry at %d has the name %q; build the image again", ErrArchive, o, f.Name)
		}
		if mode&modeType == modeDir {
			f.Mode |= fs.ModeDir
		}
		files = append(files, f)
		o = next
	}
	return nil, fmt.Errorf("%w: the archive has no end; build the image again", ErrArchive)
}
