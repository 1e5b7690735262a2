/* From configuration text to settings, with errors that say where. */
#ifndef CONFIG_H
#define CONFIG_H

#include "head_policy.h"
#include "json.h"

typedef struct {
  json whole;
  /* Parts of `whole`; NULL when not said. */
  const json *require, *remove, *set, *deny_agents;
} settings;

/* Reads a configuration; false fills `errors`. The settings are the caller's to free, the errors the host's. */
bool settings_parse(const head_policy_string_t *text, settings *out,
                    exports_tamis_filter_lifecycle_list_config_error_t *errors);
void settings_free(settings *settings);

#endif
