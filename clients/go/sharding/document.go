package sharding

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DocumentError says which field of a table is wrong. Such a table is refused whole.
type DocumentError struct {
	Field    string // such as families[2].shards[7]; empty for the document as a whole
	Found    string // what stands there, cut
	Expected string // what may stand there
}

func (e *DocumentError) Error() string {
	field := e.Field
	if field == "" {
		field = "document"
	}
	return fmt.Sprintf("routing table: %s: found %s, expected %s", field, e.Found, e.Expected)
}

const (
	greatestNumber = 1e300
	shownChars     = 80
)

// object is a JSON object with its keys in their order. Values are nil, bool, string, json.Number, []any and object.
type object struct {
	keys   []string
	values map[string]any
}

// parse reads strict JSON: UTF-8 without a byte order mark, nothing behind it, no key twice.
func parse(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	// Tokens alone would let some broken documents pass.
	if !json.Valid(data) {
		return nil, errors.New("not JSON")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return parseValue(decoder)
}

func parseValue(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			item, err := parseValue(decoder)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		_, err = decoder.Token()
		return list, err
	case json.Delim('{'):
		members := object{values: map[string]any{}}
		for decoder.More() {
			token, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			key := token.(string)
			if _, twice := members.values[key]; twice {
				return nil, fmt.Errorf("the key %q stands twice in one object", key)
			}
			if members.values[key], err = parseValue(decoder); err != nil {
				return nil, err
			}
			members.keys = append(members.keys, key)
		}
		_, err = decoder.Token()
		return members, err
	}
	return token, nil
}

// problem keeps the first thing that is wrong with a document; reading goes on with zero values behind it.
type problem struct{ first *DocumentError }

func (p *problem) refuse(field string, found any, expected string) {
	if p.first == nil {
		p.first = &DocumentError{field, shown(found), expected}
	}
}

func shown(value any) string {
	switch value := value.(type) {
	case nil:
		return "nothing or null"
	case object:
		return "an object"
	case []any:
		return fmt.Sprintf("a list of %d", len(value))
	case string:
		return strconv.QuoteToASCII(cut(value))
	case json.Number:
		return cut(value.String())
	default:
		return fmt.Sprint(value)
	}
}

func cut(text string) string {
	if len(text) > shownChars {
		return text[:shownChars] + "…"
	}
	return text
}

// fields reads the members of one object.
type fields struct {
	*problem
	path string
	object
}

func (p *problem) object(path string, value any) fields {
	members, ok := value.(object)
	if !ok {
		p.refuse(path, value, "an object")
	}
	return fields{p, path, members}
}

func (f fields) at(key string) string {
	if quoted := strconv.Quote(key); quoted != `"`+key+`"` {
		key = cut(quoted)
	}
	if f.path == "" {
		return key
	}
	return f.path + "." + key
}

func (f fields) only(known ...string) {
	for _, key := range f.keys {
		if !contains(known, key) {
			f.refuse(f.at(key), f.values[key], "one of the fields "+strings.Join(known, ", "))
		}
	}
}

func contains(known []string, key string) bool {
	for _, one := range known {
		if one == key {
			return true
		}
	}
	return false
}

// shape is an alphabet with its description.
type shape struct {
	pattern  *regexp.Regexp
	expected string
}

func (f fields) text(key string, shape shape) string {
	if text, ok := f.values[key].(string); ok && shape.pattern.MatchString(text) {
		return text
	}
	f.refuse(f.at(key), f.values[key], shape.expected)
	return ""
}

func (f fields) optionalText(key string, shape shape) string {
	if f.values[key] == nil {
		return ""
	}
	return f.text(key, shape)
}

func (f fields) boolean(key string) bool {
	value, ok := f.values[key].(bool)
	if !ok {
		f.refuse(f.at(key), f.values[key], "true or false")
	}
	return value
}

func (f fields) integer(key string, least, most int64) int64 {
	value, ok := whole(f.values[key])
	if !ok || value < least || value > most {
		f.refuse(f.at(key), f.values[key], fmt.Sprintf("a whole number from %d to %d", least, most))
		return least
	}
	return value
}

// whole is a number that is written without point or exponent.
func whole(value any) (int64, bool) {
	number, ok := value.(json.Number)
	if !ok || strings.ContainsAny(number.String(), ".eE") {
		return 0, false
	}
	read, err := number.Int64()
	return read, err == nil
}

func (f fields) number(key string, least float64) float64 {
	if number, ok := f.values[key].(json.Number); ok {
		if value, err := number.Float64(); err == nil && value >= least && value <= greatestNumber {
			return value
		}
	}
	f.refuse(f.at(key), f.values[key], fmt.Sprintf("a number from %g to %g", least, greatestNumber))
	return least
}

func (f fields) list(key string) []any {
	list, ok := f.values[key].([]any)
	if !ok {
		f.refuse(f.at(key), f.values[key], "a list")
	}
	return list
}

func (f fields) member(key string) fields { return f.problem.object(f.at(key), f.values[key]) }
