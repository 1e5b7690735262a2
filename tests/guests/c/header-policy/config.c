#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef exports_tamis_filter_lifecycle_list_config_error_t errors;

/* A text that grows. */
typedef struct {
  char *octets;
  size_t length;
} buffer;

static void append(buffer *b, const char *octets, size_t length) {
  char *grown = realloc(b->octets, b->length + length + 1);
  if (grown == NULL) abort();
  b->octets = grown;
  memcpy(grown + b->length, octets, length);
  b->length += length;
}

/* Adds one step to a JSON pointer (RFC 6901). */
static void append_step(buffer *b, const char *name, size_t length) {
  append(b, "/", 1);
  for (size_t i = 0; i < length; i++) {
    if (name[i] == '~') append(b, "~0", 2);
    else if (name[i] == '/') append(b, "~1", 2);
    else append(b, name + i, 1);
  }
}

static void wrong(errors *all, buffer place, buffer message) {
  void *grown = realloc(all->ptr, (all->len + 1) * sizeof *all->ptr);
  if (grown == NULL) abort();
  all->ptr = grown;
  all->ptr[all->len++] = (exports_tamis_filter_lifecycle_config_error_t){
      {(uint8_t *)place.octets, place.length}, {(uint8_t *)message.octets, message.length}};
}

/* Says that the value at two steps (each may be NULL) is not what was expected. */
static void expected(errors *all, const json_text *field, const json_text *step, const char *what) {
  buffer place = {0}, message = {0};
  if (field != NULL) append_step(&place, field->octets, field->length);
  if (step != NULL) append_step(&place, step->octets, step->length);
  append(&message, "expected ", 9);
  append(&message, what, strlen(what));
  wrong(all, place, message);
}

static void unknown(errors *all, const json_text *field) {
  static const char begin[] = "unknown field `", end[] = "`, expected require, remove, set or denyAgents";
  buffer place = {0}, message = {0};
  append_step(&place, field->octets, field->length);
  append(&message, begin, sizeof begin - 1);
  append(&message, field->octets, field->length);
  append(&message, end, sizeof end - 1);
  wrong(all, place, message);
}

/* Checks a list or an object of texts. */
static void check(const json *field, json_kind kind, errors *all) {
  if (field->kind != kind) {
    expected(all, &field->name, NULL, kind == JSON_ARRAY ? "a list of texts" : "an object of texts");
    return;
  }
  for (size_t i = 0; i < field->count; i++) {
    if (field->items[i].kind == JSON_STRING) continue;
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%zu", i);
    json_text index = {digits, (size_t)length};
    expected(all, &field->name, kind == JSON_ARRAY ? &index : &field->items[i].name, "a text");
  }
}

static bool is(const json_text *text, const char *name) {
  return text->length == strlen(name) && memcmp(text->octets, name, text->length) == 0;
}

bool settings_parse(const head_policy_string_t *text, settings *out, errors *all) {
  *out = (settings){0};
  *all = (errors){0};
  buffer whole = {0}, message = {0};
  if (!json_parse((const char *)text->ptr, text->len, &out->whole)) {
    append(&message, "no JSON", 7);
    wrong(all, whole, message);
  } else if (out->whole.kind != JSON_OBJECT) {
    expected(all, NULL, NULL, "an object");
  }
  for (size_t i = 0; all->len == 0 && i < out->whole.count; i++) {
    const json *field = &out->whole.items[i];
    const struct {
      const char *name;
      json_kind kind;
      const json **slot;
    } known[] = {{"require", JSON_ARRAY, &out->require},
                 {"remove", JSON_ARRAY, &out->remove},
                 {"set", JSON_OBJECT, &out->set},
                 {"denyAgents", JSON_ARRAY, &out->deny_agents}};
    size_t k = 0;
    while (k < 4 && !is(&field->name, known[k].name)) k++;
    if (k == 4) {
      unknown(all, &field->name);
    } else {
      check(field, known[k].kind, all);
      *known[k].slot = field;
    }
  }
  if (all->len > 0) settings_free(out);
  return all->len == 0;
}

void settings_free(settings *settings) {
  json_free(&settings->whole);
}
