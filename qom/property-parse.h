/* Text and JSON to plain values. All return false for what is not one, without a sentence: the caller knows the names. */
#pragma once

#include <json-c/json.h>
#include <qom/property.h>

bool parse_json_bool(json_object *json, bool *out);          /* true, or "on", "yes", "true", "y" and their opposites */
bool parse_json_unsigned(json_object *json, uint64_t *out);  /* integer, or its text in decimal or 0x hexadecimal */
bool parse_json_signed(json_object *json, int64_t *out);
bool parse_json_size(json_object *json, uint64_t *out);      /* bytes; text may have a suffix */
/* devfn = slot * 8 + function. Text is "slot" or "slot.function", both hexadecimal; a number is the devfn, -1 "any". */
bool parse_json_pci_addr(json_object *json, int64_t *devfn);
bool parse_mac(const char *text, uint8_t mac[6]);
bool parse_uuid(const char *text, uint8_t uuid[16]);         /* RFC 4122 order; "auto" is a random one (version 4) */
void format_uuid(const uint8_t uuid[16], char text[37]);

/* property.c */
char *property_accepted(const Property *prop);               /* (owned) "a number from 1 to 64" */
json_object *property_number_json(const Property *prop, uint64_t number); /* (owned) */
/* "TYPE 'ID': property 'P' can't be 'V': it takes ACCEPTED"; accepted NULL: the kind's own words. Returns false. */
bool property_error(GError **err, const Object *obj, const Property *prop, json_object *given, const char *accepted);
