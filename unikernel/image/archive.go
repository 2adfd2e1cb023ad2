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

// ErrArchive is what errors about files match.
var ErrArchive = errors.New("files of the image")

// AppendArchive appends files as abi.FileHeader describes; nothing for no files.
func AppendArchive(b []byte, files []File) ([]byte, error) {
	if len(files) == 0 {
		return b, nil
	}
	le := binary.LittleEndian
	start := len(b)
	pad := func(n int) {
		for (len(b)-start)%n != 0 {
			b = append(b, 0)
		}
	}
	for _, f := range files {
		if !path.IsAbs(f.Name) || path.Clean(f.Name) != f.Name || f.Name == "/" || strings.ContainsRune(f.Name, 0) || len(f.Name) > 1000 {
			return nil, fmt.Errorf("%w: %q must be a clean absolute path below /", ErrArchive, f.Name)
		}
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
		mode := uint32(f.Mode.Perm()) | 0o100000
		if f.Mode.IsDir() {
			mode = uint32(f.Mode.Perm()) | 0o040000
		}
		le.PutUint32(b[head+abi.FileNameLen:], uint32(len(f.Name)))
		le.PutUint32(b[head+abi.FileMode:], mode)
		le.PutUint64(b[head+abi.FileSize:], uint64(len(f.Data)))
		le.PutUint64(b[head+abi.FileData:], uint64(data))
		le.PutUint64(b[head+abi.FileNext:], uint64(len(b)-start))
	}
	return append(b, make([]byte, abi.FileHeader)...), nil
}

// ParseArchive reads what AppendArchive wrote.
func ParseArchive(b []byte) ([]File, error) {
	le := binary.LittleEndian
	var files []File
	for o := uint64(0); o+abi.FileHeader <= uint64(len(b)); {
		h := b[o:]
		n := uint64(le.Uint32(h[abi.FileNameLen:]))
		if n == 0 {
			return files, nil
		}
		mode, size := le.Uint32(h[abi.FileMode:]), le.Uint64(h[abi.FileSize:])
		data, next := le.Uint64(h[abi.FileData:]), le.Uint64(h[abi.FileNext:])
		if n > uint64(len(h))-abi.FileHeader || data > uint64(len(b)) || size > uint64(len(b))-data || next <= o {
			return nil, fmt.Errorf("%w: entry at %d is damaged", ErrArchive, o)
		}
		f := File{Name: string(h[abi.FileHeader : abi.FileHeader+n]), Mode: fs.FileMode(mode & 0o777), Data: b[data : data+size]}
		if mode&0o170000 == 0o040000 {
			f.Mode |= fs.ModeDir
		}
		files = append(files, f)
		o = next
	}
	return nil, fmt.Errorf("%w: the archive has no end", ErrArchive)
}
