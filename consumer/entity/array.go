package entity

import "strings"

// postgresArray reads {1,NULL,"a b",{2}} into JSON of the items' texts.
func (f Field) postgresArray(text string) (string, error) {
	of := Field{Kind: f.Items}
	if f.Items == "" {
		of.Kind = Any
	}
	// Bounds other than 1 come first: [0:1]={1,2}.
	if i := strings.Index(text, "={"); strings.HasPrefix(text, "[") && i > 0 {
		text = text[i+1:]
	}
	list, rest, err := of.postgresItems(text)
	if err != nil || rest != "" {
		return "", notA(Array, text)
	}
	return itemsAsJSON(list)
}

func (f Field) postgresItems(text string) (list []any, rest string, err error) {
	if !strings.HasPrefix(text, "{") {
		return nil, "", notA(Array, text)
	}
	list, text = []any{}, text[1:]
	for !strings.HasPrefix(text, "}") {
		var item any
		if strings.HasPrefix(text, "{") {
			item, text, err = f.postgresItems(text)
		} else {
			item, text, err = f.postgresItem(text)
		}
		if err != nil {
			return nil, "", err
		}
		list = append(list, item)
		if strings.HasPrefix(text, ",") && !strings.HasPrefix(text, ",}") {
			text = text[1:]
		} else if !strings.HasPrefix(text, "}") {
			return nil, "", notA(Array, text)
		}
	}
	return list, text[1:], nil
}

func (f Field) postgresItem(text string) (item any, rest string, err error) {
	var b strings.Builder
	if quoted := strings.HasPrefix(text, `"`); quoted {
		i := 1
		for ; i < len(text) && text[i] != '"'; i++ {
			if text[i] == '\\' && i+1 < len(text) {
				i++
			}
			b.WriteByte(text[i])
		}
		if i >= len(text) {
			return nil, "", notA(Array, text)
		}
		rest = text[i+1:]
	} else {
		end := strings.IndexAny(text, ",}")
		if end <= 0 {
			return nil, "", notA(Array, text)
		}
		if b.WriteString(text[:end]); b.String() == "NULL" {
			return nil, text[end:], nil
		}
		rest = text[end:]
	}
	canonical, err := f.PostgresText(b.String())
	return canonical, rest, err
}
