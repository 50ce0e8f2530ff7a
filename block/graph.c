/*
 * Edges of the node graph and the permissions on them.
 *
 * Every user of a node says what it does (perm) and what it lets others do meanwhile (shared). A new use is refused when it does
 * something that another use does not share, or the other way round. What the users of a node need is passed on to its children, and
 * at the bottom the file driver turns it into locks on the host file, so that other processes are bound by it too.
 */
#include "block/block-int.h"

static const struct {
    uint32_t bit;
    const char *name;
} perm_names[] = {
    {BLOCK_PERM_READ, "consistent read"}, {BLOCK_PERM_WRITE, "write"},
    {BLOCK_PERM_UNCHANGED, "write unchanged"}, {BLOCK_PERM_RESIZE, "resize"},
};

static char *perm_text(uint32_t perm)
{
    GString *text = g_string_new(NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(perm_names); i++)
        if (perm & perm_names[i].bit)
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", perm_names[i].name);
    return g_string_free(text, FALSE);
}

/* "device \"disk0\"", "node \"fmt\"". (owned) */
char *block_user_description(const BlockEdge *edge)
{
    if (edge->parent)
        return g_strdup_printf("node \"%s\" (as \"%s\")", edge->parent->name, edge->name);
    if (edge->disk && edge->disk->owner) {
        g_autofree char *path = object_path(edge->disk->owner);
        return g_strdup_printf("device %s", path);
    }
    if (edge->disk && edge->disk->id[0])
        return g_strdup_printf("drive \"%s\"", edge->disk->id);
    return g_strdup("another user");
}

static bool check_conflict(const BlockNode *node, const BlockEdge *a, const BlockEdge *b, GError **err)
{
    uint32_t clash = a->perm & ~b->shared;
    if (!clash)
        return true;
    g_autofree char *what = perm_text(clash), *user = block_user_description(a), *other = block_user_description(b);
    error_set(err, "%s can't have \"%s\" on node \"%s\": it is in use by %s, which does not share that", user, what,
              node->name, other);
    return false;
}

static void node_needs(const BlockNode *node, uint32_t *perm, uint32_t *shared)
{
    *perm = 0;
    *shared = BLOCK_PERM_ALL;
    for (guint i = 0; i < node->parents->len; i++) {
        const BlockEdge *e = (const BlockEdge *)node->parents->pdata[i];
        *perm |= e->perm;
        *shared &= e->shared;
    }
}

/* Brings the children of a node in line with what its users need now. On failure everything below is as it was. */
static bool refresh_node(BlockNode *node, GError **err)
{
    uint32_t perm, shared;
    node_needs(node, &perm, &shared);
    for (guint i = 0; i < node->children->len; i++) {
        BlockEdge *edge = (BlockEdge *)node->children->pdata[i];
        uint32_t nperm = perm, nshared = shared;
        if (node->driver->child_perm)
            node->driver->child_perm(node, edge, perm, shared, &nperm, &nshared);
        if (!block_edge_set_perm(edge, nperm, nshared, err)) {
            /* what was granted before can be granted again */
            return false;
        }
    }
    return !node->driver->set_perm || node->driver->set_perm(node, perm, node->force_share ? BLOCK_PERM_ALL : shared, err);
}

bool block_edge_set_perm(BlockEdge *edge, uint32_t perm, uint32_t shared, GError **err)
{
    BlockNode *node = edge->child;
    uint32_t old_perm = edge->perm, old_shared = edge->shared;
    if (perm == old_perm && shared == old_shared)
        return true;
    if ((perm & (BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE)) && node->read_only) {
        error_set(err, "node \"%s\" is read-only", node->name);
        return false;
    }
    edge->perm = perm;
    edge->shared = shared;
    bool ok = true;
    for (guint i = 0; ok && i < node->parents->len; i++) {
        const BlockEdge *other = (const BlockEdge *)node->parents->pdata[i];
        ok = other == edge || (check_conflict(node, edge, other, err) && check_conflict(node, other, edge, err));
    }
    if (ok && refresh_node(node, err))
        return true;
    edge->perm = old_perm;
    edge->shared = old_shared;
    if (ok) {
        g_autoptr(GError) ignored = NULL;
        if (!refresh_node(node, &ignored))
            report_warning("locks of node \"%s\" could not be restored: %s", node->name, ignored->message);
    }
    return false;
}

BlockEdge *block_edge_new(BlockNode *child, BlockNode *parent, Disk *disk, const char *name, uint32_t perm,
                          uint32_t shared, GError **err)
{
    BlockEdge *edge = g_new0(BlockEdge, 1);
    edge->name = g_strdup(name);
    edge->child = block_node_ref(child);
    edge->parent = parent;
    edge->disk = disk;
    edge->shared = BLOCK_PERM_ALL;
    g_ptr_array_add(child->parents, edge);
    if (!block_edge_set_perm(edge, perm, shared, err)) {
        block_edge_free(edge);
        return NULL;
    }
    if (parent)
        g_ptr_array_add(parent->children, edge);
    return edge;
}

void block_edge_free(BlockEdge *edge)
{
    g_autoptr(GError) err = NULL;
    if (!block_edge_set_perm(edge, 0, BLOCK_PERM_ALL, &err))
        report_warning("%s", err->message);
    g_ptr_array_remove(edge->child->parents, edge);
    if (edge->parent)
        g_ptr_array_remove(edge->parent->children, edge);
    block_node_unref(edge->child);
    g_free(edge->name);
    g_free(edge);
}
