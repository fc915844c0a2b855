// Package shown decides what a person and a stored run may see of texts from outside: control
// characters are escaped on the way to a terminal, and of arguments, settings and addresses only
// the parts known to be harmless are kept. Start reading at Writer and Command.
package shown

import (
	"fmt"
	"io"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Writer passes text on with each control character escaped, so that no name, row or file moves the
// cursor, colours the screen or turns the order of the letters. The form \u001b means the same
// character inside JSON, so that JSON lines keep their meaning; a byte outside UTF-8 becomes \xff.
// Line feeds and tabs stay. Writer is safe for concurrent use.
type Writer struct {
	// To receives the escaped text; only text made of the lab's own constants and numbers may be
	// written to To itself.
	To io.Writer

	mu sync.Mutex
	// begun is the beginning of a character whose other bytes come with the next Write.
	begun []byte
}

// Write escapes text and counts the bytes of text, not the escaped ones.
func (w *Writer) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	whole := text
	if len(w.begun) > 0 {
		whole = append(w.begun, text...)
	}
	end := len(whole) - lengthOfBegun(whole)
	w.begun = append([]byte(nil), whole[end:]...)
	if _, err := w.To.Write(escape(whole[:end], isOfLines)); err != nil {
		return 0, fmt.Errorf("show: %w", err)
	}
	return len(text), nil
}

// lengthOfBegun is how many bytes at the end of text begin a character and do not end the
// character.
func lengthOfBegun(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		last := text[len(text)-n:]
		if utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return n
		}
	}
	return 0
}

// Line returns text on one line: line feeds and tabs are escaped as other control characters are,
// so that a value cannot look like a further line of a report.
func Line(text string) string {
	return string(escape([]byte(text), func(rune) bool { return false }))
}

func isOfLines(r rune) bool { return r == '\n' || r == '\t' }

// escape returns text itself where nothing is to be escaped.
func escape(text []byte, stays func(rune) bool) []byte {
	var escaped []byte
	kept := 0
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		isBroken := r == utf8.RuneError && size == 1
		if isBroken || !stays(r) && movesScreen(r) {
			escaped = append(escaped, text[kept:at]...)
			switch {
			case isBroken:
				escaped = fmt.Appendf(escaped, `\x%02x`, text[at])
			case r > 0xffff:
				high, low := utf16.EncodeRune(r)
				escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
			default:
				escaped = fmt.Appendf(escaped, `\u%04x`, r)
			}
			kept = at + size
		}
		at += size
	}
	if kept == 0 {
		return text
	}
	return append(escaped, text[kept:]...)
}

// movesScreen is true for characters that do more than stand in their place: C0, DEL, C1, the
// separators of lines and paragraphs, and invisible formats such as the overrides of direction. The
// two joiners stay, because several scripts are written with joiners.
func movesScreen(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r != nonJoiner && r != joiner &&
		unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
