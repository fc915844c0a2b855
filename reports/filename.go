package reports

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNameBytes bounds a FileName, with room for what a caller puts around.
const maxNameBytes = 150

// FileName returns a name as one part of a path, for any name of a script: letters of every
// alphabet, digits, blanks and most signs stay, anything else is %XX. Two names have two FileNames;
// a long name ends in a hash.
func FileName(name string) string {
	var made strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		fits := r != utf8.RuneError && unicode.IsPrint(r) && !strings.ContainsRune(`/\%`, r)
		for _, b := range []byte(name[i : i+n]) {
			if fits && (i > 0 || r != '.') {
				made.WriteByte(b)
			} else {
				fmt.Fprintf(&made, "%%%02X", b)
			}
		}
		i += n
	}
	whole := made.String()
	if len(whole) <= maxNameBytes {
		return whole
	}
	hash := sha256.Sum256([]byte(name))
	short := strings.ToValidUTF8(whole[:min(len(whole), maxNameBytes-17)], "")
	return fmt.Sprintf("%s-%x", short, hash[:8])
}
