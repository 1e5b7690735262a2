// Package export_tamis_filter_lifecycle is what every filter exports.
package export_tamis_filter_lifecycle

import (
	"wit_component/tamis_filter_lifecycle"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

type errors = []tamis_filter_lifecycle.ConfigError

// ConfigSchema gives the JSON Schema of the configuration.
func ConfigSchema() string {
	return "{}"
}

// Validate accepts every configuration.
func Validate(string) witTypes.Result[witTypes.Unit, errors] {
	return witTypes.Ok[witTypes.Unit, errors](witTypes.Unit{})
}

// Configure declares the header at which the filter fails.
func Configure(string) witTypes.Result[tamis_filter_lifecycle.Interest, errors] {
	return witTypes.Ok[tamis_filter_lifecycle.Interest, errors](tamis_filter_lifecycle.Interest{
		Reads:        []string{"x-panic"},
		RequestBody:  tamis_filter_lifecycle.BodyModeNone,
		ResponseBody: tamis_filter_lifecycle.BodyModeNone,
	})
}
