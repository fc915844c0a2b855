package main

import "regexp"

// Where an argument may hold a password: a URL before its host, and a key=value pair of an address or a
// setting, in quotes or not. Too much is taken out rather than too little.
var (
	urlPassword = regexp.MustCompile(`(://[^:@/?#\s]*:)[^/?#\s]*@`)
	keyPassword = regexp.MustCompile(`(?i)([\w.-]*(?:password|passwd|secret|token)[\w.-]*\s*=\s*)(?:'(?:\\.|[^'\\])*'|(?:\\.|[^\s\\])+)`)
)

// redact is a command as it may be kept: without the passwords in its arguments.
func redact(args []string) []string {
	kept := make([]string, len(args))
	for i, arg := range args {
		kept[i] = keyPassword.ReplaceAllString(urlPassword.ReplaceAllString(arg, "${1}xxxxx@"), "${1}xxxxx")
	}
	return kept
}
