package shown

import "strings"

// markdownMarks are the characters that mean something in Markdown; a mention or a reference in a
// name from elsewhere must not call anybody.
var markdownMarks = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`,
	"]", `\]`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "|", `\|`, "#", `\#`, "@", "@<!-- -->",
	"~", `\~`, "!", `\!`, "$", `\$`)

// Markdown returns a text that Markdown shows as written, on one line.
func Markdown(text string) string { return markdownMarks.Replace(Line(text)) }
