package value

import (
	"fmt"
	"unicode/utf8"
)

// shownBytes is the length of a value shown to a person.
const shownBytes = 60

// Shorten cuts a value for a person to read.
func Shorten(text string) string {
	cut := shownBytes
	if len(text) <= cut {
		return text
	}
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}

// ShortenBytes is Shorten of a value of any length.
func ShortenBytes(text []byte) string {
	return Shorten(string(text[:min(len(text), 2*shownBytes)]))
}

// Describe shows a value in an error: the type and the beginning.
func Describe(v any) string {
	return fmt.Sprintf("%T %q", v, Shorten(fmt.Sprint(v)))
}

// NotA returns the error of a value that is not of the type or form named what.
func NotA(what string, v any) error { return fmt.Errorf("%s is no %s", Describe(v), what) }
