/* Requires, removes and sets request headers, and refuses some clients by their user agent. */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "head_policy.h"

typedef tamis_filter_types_view_t view;
typedef tamis_filter_types_span_t span;
typedef tamis_filter_types_edit_t edit;
typedef exports_tamis_filter_request_decision_t decision;

static const char schema[] = {
#embed "schema.json"
};

/* What configure made. `reads` are names in the order of `interest.reads`. */
static struct {
  settings settings;
  json_text *reads;
  size_t reads_count;
  uint32_t agent;
} policy;

static const json_text user_agent = {"user-agent", 10};
static const json_text version = {"x-policy-version", 16};
static const json_text one = {"1", 1};

static void *allocate(size_t size) {
  void *memory = malloc(size);
  if (memory == NULL) abort();
  return memory;
}

/* The host frees what it is given, so it is given copies. */
static head_policy_string_t copy(json_text text) {
  head_policy_string_t copied;
  head_policy_string_dup_n(&copied, text.octets, text.length);
  return copied;
}

static tamis_filter_types_field_t field(json_text name, json_text value) {
  head_policy_string_t octets = copy(value);
  return (tamis_filter_types_field_t){copy(name), {octets.ptr, octets.len}};
}

/* Place of a name among names; `count` when it is not there. */
static size_t place(const json_text *names, size_t count, json_text name) {
  size_t i = 0;
  while (i < count &&
         !(names[i].length == name.length && memcmp(names[i].octets, name.octets, name.length) == 0)) i++;
  return i;
}

static void add(json_text *names, size_t *count, json_text name) {
  if (place(names, *count, name) == *count) names[(*count)++] = name;
}

static size_t count_of(const json *list) {
  return list == NULL ? 0 : list->count;
}

static head_policy_list_string_t copies(const json_text *names, size_t count) {
  head_policy_list_string_t list = {allocate(count * sizeof *list.ptr), count};
  for (size_t i = 0; i < count; i++) list.ptr[i] = copy(names[i]);
  return list;
}

void exports_tamis_filter_lifecycle_config_schema(head_policy_string_t *ret) {
  head_policy_string_dup_n(ret, schema, sizeof schema);
}

bool exports_tamis_filter_lifecycle_validate(head_policy_string_t *config,
                                             exports_tamis_filter_lifecycle_list_config_error_t *err) {
  settings checked;
  bool right = settings_parse(config, &checked, err);
  if (right) settings_free(&checked);
  head_policy_string_free(config);
  return right;
}

bool exports_tamis_filter_lifecycle_configure(head_policy_string_t *config,
                                              exports_tamis_filter_lifecycle_interest_t *ret,
                                              exports_tamis_filter_lifecycle_list_config_error_t *err) {
  settings *s = &policy.settings;
  bool right = settings_parse(config, s, err);
  head_policy_string_free(config);
  if (!right) return false;

  size_t most = count_of(s->require) + count_of(s->remove) + 1;
  policy.reads = allocate(most * sizeof *policy.reads);
  policy.reads_count = 0;
  for (size_t i = 0; i < count_of(s->require); i++) add(policy.reads, &policy.reads_count, s->require->items[i].text);
  for (size_t i = 0; i < count_of(s->remove); i++) add(policy.reads, &policy.reads_count, s->remove->items[i].text);
  add(policy.reads, &policy.reads_count, user_agent);
  policy.agent = (uint32_t)place(policy.reads, policy.reads_count, user_agent);

  size_t count = 0;
  json_text *writes = allocate((count_of(s->remove) + count_of(s->set) + 1) * sizeof *writes);
  for (size_t i = 0; i < count_of(s->remove); i++) add(writes, &count, s->remove->items[i].text);
  for (size_t i = 0; i < count_of(s->set); i++) add(writes, &count, s->set->items[i].name);
  add(writes, &count, version);

  *ret = (exports_tamis_filter_lifecycle_interest_t){.reads = copies(policy.reads, policy.reads_count),
                                                     .writes = copies(writes, count)};
  free(writes);
  return true;
}

/* The first span of a field; NULL when the exchange has none. */
static const span *find(const view *seen, uint32_t field) {
  for (size_t i = 0; i < seen->spans.len; i++) {
    if (seen->spans.ptr[i].field == field) return &seen->spans.ptr[i];
  }
  return NULL;
}

static bool has(const view *seen, json_text name) {
  return find(seen, (uint32_t)place(policy.reads, policy.reads_count, name)) != NULL;
}

static bool lacks(const view *seen) {
  const json *require = policy.settings.require;
  for (size_t i = 0; i < count_of(require); i++) {
    if (!has(seen, require->items[i].text)) return true;
  }
  return false;
}

static bool denies(const view *seen) {
  const span *agent = find(seen, policy.agent);
  const json *denied = policy.settings.deny_agents;
  for (size_t i = 0; agent != NULL && i < count_of(denied); i++) {
    json_text prefix = denied->items[i].text;
    if (agent->length >= prefix.length &&
        memcmp(seen->octets.ptr + agent->start, prefix.octets, prefix.length) == 0) return true;
  }
  return false;
}

static void answer(uint16_t status, const char *reason, decision *ret) {
  *ret = (decision){.verdict = {.tag = EXPORTS_TAMIS_FILTER_REQUEST_VERDICT_ANSWER, .val.answer = {.status = status}},
                    .reason = {.is_some = true}};
  head_policy_string_dup(&ret->reason.val, reason);
}

static void change(const view *seen, decision *ret) {
  const json *remove = policy.settings.remove, *set = policy.settings.set;
  edit *edits = allocate((count_of(remove) + count_of(set) + 1) * sizeof *edits);
  size_t count = 0;
  for (size_t i = 0; i < count_of(remove); i++) {
    json_text name = remove->items[i].text;
    if (!has(seen, name)) continue;
    edits[count++] = (edit){TAMIS_FILTER_TYPES_EDIT_REMOVE_HEADER, {.remove_header = copy(name)}};
  }
  for (size_t i = 0; i < count_of(set); i++) {
    tamis_filter_types_field_t wanted = field(set->items[i].name, set->items[i].text);
    edits[count++] = (edit){TAMIS_FILTER_TYPES_EDIT_SET_HEADER, {.set_header = wanted}};
  }
  *ret = (decision){0};
  if (count == 0) {
    free(edits);
  } else {
    ret->verdict.tag = EXPORTS_TAMIS_FILTER_REQUEST_VERDICT_CHANGE;
    ret->verdict.val.change = (exports_tamis_filter_request_list_edit_t){edits, count};
  }
}

void exports_tamis_filter_request_on_request(view *seen, decision *ret) {
  if (lacks(seen)) answer(400, "header-policy.missing", ret);
  else if (denies(seen)) answer(403, "header-policy.agent", ret);
  else change(seen, ret);
  tamis_filter_types_view_free(seen);
}

void exports_tamis_filter_response_on_response(view *seen, exports_tamis_filter_response_decision_t *ret) {
  edit *added = allocate(sizeof *added);
  *added = (edit){TAMIS_FILTER_TYPES_EDIT_ADD_HEADER, {.add_header = field(version, one)}};
  *ret = (exports_tamis_filter_response_decision_t){
      .verdict = {.tag = EXPORTS_TAMIS_FILTER_RESPONSE_VERDICT_CHANGE, .val.change = {added, 1}}};
  tamis_filter_types_view_free(seen);
}
