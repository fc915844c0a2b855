//go:build !race

package apply

// slack multiplies the bounds of work under the race detector; see race_test.go.
const slack = 1
