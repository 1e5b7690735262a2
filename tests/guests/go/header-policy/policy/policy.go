// Package policy requires, removes and sets request headers, and refuses some clients by their user agent.
package policy

import (
	"bytes"
	_ "embed"
	"maps"
	"slices"
	"wit_component/tamis_filter_types"
)

// Schema is the JSON Schema of the configuration.
//
//go:embed schema.json
var Schema string

// Policy is what the hooks need, in the shape in which they need it; numbers are places in Reads.
type Policy struct {
	Reads, Writes []string

	require []uint32
	remove  []removal
	set     []tamis_filter_types.Edit
	agent   uint32
	denied  [][]byte
}

type removal struct {
	field uint32
	edit  tamis_filter_types.Edit
}

// Current is what configure made; the hooks run after it.
var Current *Policy

// New makes a policy of settings.
func New(settings Settings) *Policy {
	policy := &Policy{
		Reads:  distinct(settings.Require, settings.Remove, []string{"user-agent"}),
		Writes: distinct(settings.Remove, slices.Sorted(maps.Keys(settings.Set)), []string{"x-policy-version"}),
	}
	place := func(name string) uint32 { return uint32(slices.Index(policy.Reads, name)) }
	policy.agent = place("user-agent")
	for _, name := range settings.Require {
		policy.require = append(policy.require, place(name))
	}
	for _, name := range distinct(settings.Remove) {
		edit := tamis_filter_types.MakeEditRemoveHeader(name)
		policy.remove = append(policy.remove, removal{place(name), edit})
	}
	for _, name := range slices.Sorted(maps.Keys(settings.Set)) {
		field := tamis_filter_types.Field{Name: name, Value: []byte(settings.Set[name])}
		policy.set = append(policy.set, tamis_filter_types.MakeEditSetHeader(field))
	}
	for _, prefix := range settings.DenyAgents {
		policy.denied = append(policy.denied, []byte(prefix))
	}
	return policy
}

// Lacks tells whether a required header is not there.
func (p *Policy) Lacks(seen tamis_filter_types.View) bool {
	return slices.ContainsFunc(p.require, func(field uint32) bool {
		_, there := find(seen, field)
		return !there
	})
}

// Denies tells whether the user agent begins with what is denied.
func (p *Policy) Denies(seen tamis_filter_types.View) bool {
	span, there := find(seen, p.agent)
	if !there {
		return false
	}
	agent := seen.Octets[span.Start : span.Start+span.Length]
	return slices.ContainsFunc(p.denied, func(prefix []byte) bool { return bytes.HasPrefix(agent, prefix) })
}

// Edits are the changes to a request that goes on.
func (p *Policy) Edits(seen tamis_filter_types.View) []tamis_filter_types.Edit {
	edits := make([]tamis_filter_types.Edit, 0, len(p.remove)+len(p.set))
	for _, removal := range p.remove {
		if _, there := find(seen, removal.field); there {
			edits = append(edits, removal.edit)
		}
	}
	return append(edits, p.set...)
}

// find gives the first span of a field.
func find(seen tamis_filter_types.View, field uint32) (tamis_filter_types.Span, bool) {
	for _, span := range seen.Spans {
		if span.Field == field {
			return span, true
		}
	}
	return tamis_filter_types.Span{}, false
}

// distinct joins lists and leaves out what came before.
func distinct(lists ...[]string) []string {
	var names []string
	for _, name := range slices.Concat(lists...) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
