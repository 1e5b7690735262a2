#include "json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NESTED = 64 };

typedef struct {
  const char *at, *end;
  int depth;
} reader;

static bool value(reader *r, json *out);

static void skip_space(reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

static bool take(reader *r, char octet) {
  if (r->at == r->end || *r->at != octet) return false;
  r->at++;
  return true;
}

static bool word(reader *r, const char *text) {
  size_t length = strlen(text);
  if ((size_t)(r->end - r->at) < length || memcmp(r->at, text, length) != 0) return false;
  r->at += length;
  return true;
}

static bool digits(reader *r) {
  const char *start = r->at;
  while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
  return r->at > start;
}

static bool number(reader *r) {
  take(r, '-');
  if (!take(r, '0') && !digits(r)) return false;
  if (take(r, '.') && !digits(r)) return false;
  if (!take(r, 'e') && !take(r, 'E')) return true;
  if (!take(r, '+')) take(r, '-');
  return digits(r);
}

/* Four hexadecimal digits. */
static bool hex(reader *r, uint32_t *out) {
  *out = 0;
  for (int i = 0; i < 4; i++, r->at++) {
    if (r->at == r->end) return false;
    char c = *r->at;
    uint32_t digit;
    if (c >= '0' && c <= '9') digit = (uint32_t)(c - '0');
    else if (c >= 'a' && c <= 'f') digit = (uint32_t)(c - 'a') + 10;
    else if (c >= 'A' && c <= 'F') digit = (uint32_t)(c - 'A') + 10;
    else return false;
    *out = *out << 4 | digit;
  }
  return true;
}

static size_t utf8(uint32_t code, char *out) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static const uint32_t lead[] = {0, 0xC0, 0xE0, 0xF0};
  out[0] = (char)(lead[more] | code >> (6 * more));
  for (size_t i = 1; i <= more; i++) out[i] = (char)(0x80 | (code >> (6 * (more - i)) & 0x3F));
  return more + 1;
}

/* What follows a backslash. An escape is never shorter than what it stands for. */
static bool escape(reader *r, json_text *out) {
  static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  if (r->at == r->end) return false;
  char c = *r->at++;
  const char *found = c == '\0' ? NULL : strchr(names, c);
  if (found != NULL) {
    out->octets[out->length++] = meant[found - names];
    return true;
  }
  uint32_t code, low;
  if (c != 'u' || !hex(r, &code) || (code >= 0xDC00 && code < 0xE000)) return false;
  if (code >= 0xD800 && code < 0xDC00) {
    if (!word(r, "\\u") || !hex(r, &low) || low < 0xDC00 || low >= 0xE000) return false;
    code = 0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00));
  }
  out->length += utf8(code, out->octets + out->length);
  return true;
}

static bool string(reader *r, json_text *out) {
  if (!take(r, '"')) return false;
  const char *end = r->at;
  while (end < r->end && *end != '"') end += *end == '\\' ? 2 : 1;
  if (end >= r->end) return false;
  out->octets = malloc((size_t)(end - r->at) + 1);
  if (out->octets == NULL) return false;
  while (!take(r, '"')) {
    if ((unsigned char)*r->at < 0x20) return false;
    if (take(r, '\\')) {
      if (!escape(r, out)) return false;
    } else {
      out->octets[out->length++] = *r->at++;
    }
  }
  return true;
}

/* The items of an array, or with `named` the members of an object, after the opening bracket. */
static bool items(reader *r, json *out, char close, bool named) {
  skip_space(r);
  if (take(r, close)) return true;
  do {
    json *grown = realloc(out->items, (out->count + 1) * sizeof *grown);
    if (grown == NULL) return false;
    out->items = grown;
    json *item = &grown[out->count++];
    *item = (json){0};
    if (named) {
      skip_space(r);
      if (!string(r, &item->name)) return false;
      skip_space(r);
      if (!take(r, ':')) return false;
    }
    if (!value(r, item)) return false;
    skip_space(r);
  } while (take(r, ','));
  return take(r, close);
}

static bool value(reader *r, json *out) {
  skip_space(r);
  if (r->at == r->end || r->depth == MOST_NESTED) return false;
  switch (*r->at) {
    case '{':
    case '[': {
      bool named = *r->at++ == '{';
      out->kind = named ? JSON_OBJECT : JSON_ARRAY;
      r->depth++;
      bool whole = items(r, out, named ? '}' : ']', named);
      r->depth--;
      return whole;
    }
    case '"':
      out->kind = JSON_STRING;
      return string(r, &out->text);
    case 't':
      out->kind = JSON_BOOL;
      return word(r, "true");
    case 'f':
      out->kind = JSON_BOOL;
      return word(r, "false");
    case 'n':
      out->kind = JSON_NULL;
      return word(r, "null");
    default:
      out->kind = JSON_NUMBER;
      return number(r);
  }
}

bool json_parse(const char *text, size_t length, json *out) {
  *out = (json){0};
  reader r = {text, text + length, 0};
  if (!value(&r, out)) return false;
  skip_space(&r);
  return r.at == r.end;
}

void json_free(json *v) {
  for (size_t i = 0; i < v->count; i++) json_free(&v->items[i]);
  free(v->items);
  free(v->name.octets);
  free(v->text.octets);
}
