package value

// hexadecimal digits: 1, and with a capital letter 3.
var hexadecimal = func() (is [256]byte) {
	for c := range 6 {
		is['a'+c], is['A'+c] = 1, 3
	}
	for c := '0'; c <= '9'; c++ {
		is[c] = 1
	}
	return is
}()

// ParseUUID is true if the text is a UUID; upper is true if the UUID has capital letters.
func ParseUUID(text []byte) (is, upper bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return false, false
	}
	all, some := byte(1), byte(0)
	for _, part := range [5][]byte{text[:8], text[9:13], text[14:18], text[19:23], text[24:]} {
		for _, c := range part {
			all &= hexadecimal[c]
			some |= hexadecimal[c]
		}
	}
	return all == 1, all == 1 && some&2 != 0
}

// IsUUID is true if the text is a UUID.
func IsUUID(text []byte) bool {
	is, _ := ParseUUID(text)
	return is
}
