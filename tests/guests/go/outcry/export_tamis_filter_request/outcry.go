// Package export_tamis_filter_request prints a line for each request, and panics for those with `x-panic`.
package export_tamis_filter_request

import (
	"fmt"
	"wit_component/tamis_filter_request"
	"wit_component/tamis_filter_types"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

// OnRequest decides about a request when its head is complete.
func OnRequest(seen tamis_filter_types.View) tamis_filter_request.Decision {
	fmt.Println("seen", seen.Exchange)
	if len(seen.Spans) > 0 {
		fail()
	}
	return tamis_filter_request.Decision{
		Verdict: tamis_filter_request.MakeVerdictPass(),
		Reason:  witTypes.None[string](),
	}
}

func fail() {
	panic("no tenant in the request")
}
