/* The parsed command line. */
#include "system/config.h"

static void json_free(gpointer json)
{
    json_object_put(json);
}

Config *config_new(void)
{
    Config *c = g_new0(Config, 1);
    GPtrArray **jsons[] = { &c->objects, &c->drives, &c->blockdevs, &c->devices, &c->chardevs, &c->mons, &c->fw_cfgs, &c->smbios,
                            &c->add_fds, &c->globals };
    GPtrArray **texts[] = { &c->accels, &c->serials, &c->monitors, &c->qmps, &c->qmps_pretty, &c->debugcons, &c->firmware_dirs };
    for (size_t i = 0; i < G_N_ELEMENTS(jsons); i++)
        *jsons[i] = g_ptr_array_new_with_free_func(json_free);
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        *texts[i] = g_ptr_array_new_with_free_func(g_free);
    return c;
}

void config_free(Config *c)
{
    if (!c)
        return;
    json_object *jsons[] = { c->machine, c->smp, c->memory, c->rtc, c->boot, c->name, c->action, c->msg, c->overcommit };
    char *texts[] = { c->cpu, c->kernel, c->initrd, c->append, c->bios, c->uuid, c->pidfile, c->qtest, c->qtest_log, c->help };
    GPtrArray *lists[] = { c->objects, c->drives, c->blockdevs, c->devices, c->chardevs, c->mons, c->fw_cfgs, c->smbios, c->add_fds,
                           c->globals, c->accels, c->serials, c->monitors, c->qmps, c->qmps_pretty, c->debugcons,
                           c->firmware_dirs };
    for (size_t i = 0; i < G_N_ELEMENTS(jsons); i++)
        json_object_put(jsons[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
        g_ptr_array_unref(lists[i]);
    g_free(c);
}

void config_merge(json_object **to, json_object *from)
{
    if (!*to) {
        *to = from;
        return;
    }
    json_object_object_foreach(from, key, value) {
        json_object_object_add(*to, key, json_object_get(value));
    }
    json_object_put(from);
}
