// Package export_tamis_filter_response is the hook on responses.
package export_tamis_filter_response

import (
	"wit_component/tamis_filter_response"
	"wit_component/tamis_filter_types"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

// OnResponse tells the version of the policy.
func OnResponse(tamis_filter_types.View) tamis_filter_response.Decision {
	version := tamis_filter_types.Field{Name: "x-policy-version", Value: []byte("1")}
	edits := []tamis_filter_types.Edit{tamis_filter_types.MakeEditAddHeader(version)}
	return tamis_filter_response.Decision{
		Verdict: tamis_filter_response.MakeVerdictChange(edits),
		Reason:  witTypes.None[string](),
	}
}
