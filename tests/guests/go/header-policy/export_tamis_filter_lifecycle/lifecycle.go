// Package export_tamis_filter_lifecycle is what every filter exports.
package export_tamis_filter_lifecycle

import (
	"wit_component/policy"
	"wit_component/tamis_filter_lifecycle"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

type errors = []tamis_filter_lifecycle.ConfigError

// ConfigSchema gives the JSON Schema of the configuration.
func ConfigSchema() string {
	return policy.Schema
}

// Validate checks a configuration.
func Validate(config string) witTypes.Result[witTypes.Unit, errors] {
	if _, wrong := policy.Parse(config); len(wrong) > 0 {
		return witTypes.Err[witTypes.Unit](wrong)
	}
	return witTypes.Ok[witTypes.Unit, errors](witTypes.Unit{})
}

// Configure makes the policy that the hooks follow.
func Configure(config string) witTypes.Result[tamis_filter_lifecycle.Interest, errors] {
	settings, wrong := policy.Parse(config)
	if len(wrong) > 0 {
		return witTypes.Err[tamis_filter_lifecycle.Interest](wrong)
	}
	policy.Current = policy.New(settings)
	return witTypes.Ok[tamis_filter_lifecycle.Interest, errors](tamis_filter_lifecycle.Interest{
		Reads:        policy.Current.Reads,
		Writes:       policy.Current.Writes,
		RequestBody:  tamis_filter_lifecycle.BodyModeNone,
		ResponseBody: tamis_filter_lifecycle.BodyModeNone,
	})
}
