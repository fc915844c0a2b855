//go:build race

package apply

// slack multiplies the bounds of work, because under the race detector sync.Pool forgets at random
// and code runs ten times as long.
const slack = 4
