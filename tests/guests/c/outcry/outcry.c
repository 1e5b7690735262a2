/* Prints a line for each request, and fails for those with `x-panic`. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "head_policy.h"

void exports_tamis_filter_lifecycle_config_schema(head_policy_string_t *ret) {
  head_policy_string_dup(ret, "{}");
}

bool exports_tamis_filter_lifecycle_validate(head_policy_string_t *config,
                                             exports_tamis_filter_lifecycle_list_config_error_t *err) {
  (void)err;
  head_policy_string_free(config);
  return true;
}

bool exports_tamis_filter_lifecycle_configure(head_policy_string_t *config,
                                              exports_tamis_filter_lifecycle_interest_t *ret,
                                              exports_tamis_filter_lifecycle_list_config_error_t *err) {
  (void)err;
  head_policy_string_free(config);
  *ret = (exports_tamis_filter_lifecycle_interest_t){0};
  head_policy_string_t *name = malloc(sizeof *name);
  if (name == NULL) abort();
  head_policy_string_dup(name, "x-panic");
  ret->reads.ptr = name;
  ret->reads.len = 1;
  return true;
}

/* `assert` is compiled out of an optimised build. */
static void fail(void) {
  fprintf(stderr, "%s:%d: no tenant in the request\n", __FILE__, __LINE__);
  abort();
}

void exports_tamis_filter_request_on_request(tamis_filter_types_view_t *seen,
                                             exports_tamis_filter_request_decision_t *ret) {
  printf("seen %" PRIu64 "\n", seen->exchange);
  fflush(stdout);
  if (seen->spans.len > 0) fail();
  *ret = (exports_tamis_filter_request_decision_t){0};
  tamis_filter_types_view_free(seen);
}

void exports_tamis_filter_response_on_response(tamis_filter_types_view_t *seen,
                                               exports_tamis_filter_response_decision_t *ret) {
  *ret = (exports_tamis_filter_response_decision_t){0};
  tamis_filter_types_view_free(seen);
}
