package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"wit_component/tamis_filter_lifecycle"
)

// Settings is a configuration that was checked.
type Settings struct {
	Require    []string
	Remove     []string
	Set        map[string]string
	DenyAgents []string
}

// Parse reads a configuration; errors say where it is wrong.
func Parse(text string) (Settings, []tamis_filter_lifecycle.ConfigError) {
	var whole any
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		return Settings{}, []tamis_filter_lifecycle.ConfigError{wrong("", "no JSON: "+err.Error())}
	}
	fields, ok := whole.(map[string]any)
	if !ok {
		return Settings{}, []tamis_filter_lifecycle.ConfigError{wrong("", "expected an object")}
	}
	var reader reader
	var settings Settings
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		place, value := "/"+step(name), fields[name]
		switch name {
		case "require":
			settings.Require = reader.list(place, value)
		case "remove":
			settings.Remove = reader.list(place, value)
		case "set":
			settings.Set = reader.texts(place, value)
		case "denyAgents":
			settings.DenyAgents = reader.list(place, value)
		default:
			reader.wrong(place, fmt.Sprintf("unknown field `%s`, expected require, remove, set or denyAgents", name))
		}
	}
	return settings, reader.errors
}

// reader turns values into texts and gathers what is wrong.
type reader struct {
	errors []tamis_filter_lifecycle.ConfigError
}

func (r *reader) list(place string, value any) []string {
	items, ok := value.([]any)
	if !ok {
		r.wrong(place, "expected a list of texts")
	}
	var texts []string
	for index, item := range items {
		texts = append(texts, r.text(fmt.Sprintf("%s/%d", place, index), item))
	}
	return texts
}

func (r *reader) texts(place string, value any) map[string]string {
	items, ok := value.(map[string]any)
	if !ok {
		r.wrong(place, "expected an object of texts")
	}
	texts := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(items)) {
		texts[name] = r.text(place+"/"+step(name), items[name])
	}
	return texts
}

func (r *reader) text(place string, value any) string {
	text, ok := value.(string)
	if !ok {
		r.wrong(place, "expected a text")
	}
	return text
}

func (r *reader) wrong(place, message string) {
	r.errors = append(r.errors, wrong(place, message))
}

func wrong(place, message string) tamis_filter_lifecycle.ConfigError {
	return tamis_filter_lifecycle.ConfigError{Pointer: place, Message: message}
}

// step is one step of a JSON pointer (RFC 6901).
func step(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
