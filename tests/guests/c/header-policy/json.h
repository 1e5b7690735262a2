/* A small JSON reader (RFC 8259). */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } json_kind;

/* Octets of UTF-8, without an end mark. */
typedef struct {
  char *octets;
  size_t length;
} json_text;

typedef struct json {
  json_kind kind;
  json_text name;      /* of a member of an object */
  json_text text;      /* of a string */
  struct json *items;  /* of an array or an object */
  size_t count;
} json;

/* Reads one value that fills the text; false when it is no JSON. The caller frees what is read, either way. */
bool json_parse(const char *text, size_t length, json *value);
void json_free(json *value);

#endif
