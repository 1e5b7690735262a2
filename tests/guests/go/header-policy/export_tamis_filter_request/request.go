// Package export_tamis_filter_request is the hook on requests.
package export_tamis_filter_request

import (
	"wit_component/policy"
	"wit_component/tamis_filter_request"
	"wit_component/tamis_filter_types"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

// OnRequest decides about a request when its head is complete.
func OnRequest(seen tamis_filter_types.View) tamis_filter_request.Decision {
	switch current := policy.Current; {
	case current.Lacks(seen):
		return answer(400, "header-policy.missing")
	case current.Denies(seen):
		return answer(403, "header-policy.agent")
	default:
		return change(current.Edits(seen))
	}
}

func answer(status uint16, reason string) tamis_filter_request.Decision {
	return tamis_filter_request.Decision{
		Verdict: tamis_filter_request.MakeVerdictAnswer(tamis_filter_types.Reply{Status: status}),
		Reason:  witTypes.Some(reason),
	}
}

func change(edits []tamis_filter_types.Edit) tamis_filter_request.Decision {
	verdict := tamis_filter_request.MakeVerdictPass()
	if len(edits) > 0 {
		verdict = tamis_filter_request.MakeVerdictChange(edits)
	}
	return tamis_filter_request.Decision{Verdict: verdict, Reason: witTypes.None[string]()}
}
