/*
 * The tree of memory regions and its address spaces: every change marks the map dirty, the outermost commit
 * flattens each address space anew and publishes the result. See mem/memory.h.
 */
#include <mem/memory.h>

#include <string.h>

#include "system/memory_internal.h"

/* The map is one per process, like the guest; all of it is changed under the main domain's lock only. */
static struct {
    GPtrArray *spaces;      /* AddressSpace * */
    unsigned depth;         /* of transactions */
    bool dirty;
    bool committing;
    uint64_t generation;    /* last one given to a view */
    Domain *main_domain;
} map;

void memory_set_main_domain(Domain *domain)
{
    map.main_domain = domain;
}

/* ---- views ---- */

static void view_release(void *opaque)
{
    MemView *view = opaque;
    for (unsigned i = 0; i < view->n; i++) {
        const MemRange *r = &view->ranges[i];
        ram_block_free(r->ram);
        object_unref(r->owner); /* mr may be gone with it */
    }
    g_free(view);
}

void mem_view_unref(MemView *view)
{
    if (!view || atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* Releasing may finalize a device: that happens where the tree may be changed. */
    if (map.main_domain && !domain_is_locked(map.main_domain))
        domain_post(map.main_domain, view_release, view);
    else
        view_release(view);
}

static MemView *view_ref(MemView *view)
{
    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    return view;
}

MemView *address_space_view_ref(AddressSpace *as)
{
    g_mutex_lock(&as->view_lock);
    MemView *view = view_ref(as->view);
    g_mutex_unlock(&as->view_lock);
    return view;
}

uint64_t address_space_generation(const AddressSpace *as)
{
    return atomic_load_explicit(&as->generation, memory_order_acquire);
}

static void view_add_user(MemView *view)
{
    if (view->users++)
        return;
    for (unsigned i = 0; i < view->n; i++)
        atomic_fetch_add(&view->ranges[i].mr->live, 1);
}

static void view_remove_user(MemView *view)
{
    if (--view->users)
        return;
    for (unsigned i = 0; i < view->n; i++)
        atomic_fetch_sub(&view->ranges[i].mr->live, 1);
}

/* ---- publishing ---- */

/* The region that really decides: through containers that show just one alias over everything (bus master switches). */
static MemoryRegion *effective_root(MemoryRegion *root)
{
    for (int hops = 0; hops < 8; hops++) {
        if (!root->enabled || root->kind != MR_CONTAINER || root->readonly || !root->children || root->children->next)
            return root;
        MemoryRegion *child = root->children->data;
        if (!child->enabled || child->readonly || child->kind != MR_ALIAS || child->addr || child->alias_offset ||
            child->size != UINT64_MAX || root->size != UINT64_MAX || child->alias->size != UINT64_MAX)
            return root;
        root = child->alias;
    }
    return root;
}

/* Takes over view. */
static void space_publish(AddressSpace *as, MemView *view)
{
    MemView *old = as->view;
    /* Regions come alive before anybody can find them, and die after nobody can: not all are guarded by our lock. */
    view_add_user(view);
    g_mutex_lock(&as->view_lock);
    as->view = view;
    atomic_store_explicit(&as->generation, view->generation, memory_order_release);
    g_mutex_unlock(&as->view_lock);
    if (!old)
        return;
    view_remove_user(old);
    for (unsigned i = 0; i < as->listeners->len; i++) {
        MemListener *listener = g_ptr_array_index(as->listeners, i);
        listener->changed(listener, as, old, view);
    }
    mem_view_unref(old);
}

/* The new view of as, shared with the spaces that have the same effective root. (owned) */
static MemView *space_view(AddressSpace *as, GHashTable *done)
{
    MemoryRegion *root = effective_root(as->root);
    MemView *view = g_hash_table_lookup(done, root);
    if (view)
        return view_ref(view);
    view = mem_view_build(root);
    if (as->view && mem_view_equal(view, as->view)) {
        mem_view_unref(view);
        view = view_ref(as->view);
    } else {
        view->generation = ++map.generation;
    }
    g_hash_table_insert(done, root, view_ref(view));
    return view;
}

static void map_update(void)
{
    if (map.committing || !map.spaces) {
        map.dirty = map.committing;
        return;
    }
    map.committing = true;
    do {
        map.dirty = false;
        bool changed = false;
        g_autoptr(GHashTable) done =
            g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)mem_view_unref);
        /* By index: a listener may add or remove spaces. */
        for (unsigned i = 0; i < map.spaces->len; i++) {
            AddressSpace *as = g_ptr_array_index(map.spaces, i);
            MemView *view = space_view(as, done);
            if (view == as->view) {
                mem_view_unref(view);
            } else {
                space_publish(as, view);
                changed = true;
            }
        }
        if (changed)
            dma_views_flush();
    } while (map.dirty);
    map.committing = false;
}

void memory_transaction_begin(void)
{
    map.depth++;
}

void memory_transaction_commit(void)
{
    g_assert(map.depth > 0);
    if (--map.depth == 0 && map.dirty)
        map_update();
}

static void map_changed(void)
{
    map.dirty = true;
    if (map.depth == 0)
        map_update();
}

/* ---- address spaces ---- */

AddressSpace *address_space_new(MemoryRegion *root, const char *name)
{
    AddressSpace *as = g_new0(AddressSpace, 1);
    as->name = g_strdup(name);
    as->root = root;
    g_mutex_init(&as->view_lock);
    as->listeners = g_ptr_array_new();
    g_autoptr(GHashTable) done = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)mem_view_unref);
    if (!map.spaces)
        map.spaces = g_ptr_array_new();
    /* One that shows the same map shares its view. */
    MemoryRegion *real = effective_root(root);
    for (unsigned i = 0; i < map.spaces->len && !map.dirty; i++) {
        AddressSpace *other = g_ptr_array_index(map.spaces, i);
        if (effective_root(other->root) == real) {
            space_publish(as, view_ref(other->view));
            break;
        }
    }
    if (!as->view)
        space_publish(as, space_view(as, done));
    g_ptr_array_add(map.spaces, as);
    return as;
}

void address_space_free(AddressSpace *as)
{
    if (!as)
        return;
    g_ptr_array_remove(map.spaces, as);
    dma_views_flush();
    view_remove_user(as->view);
    mem_view_unref(as->view);
    g_ptr_array_unref(as->listeners);
    g_mutex_clear(&as->view_lock);
    g_free(as->name);
    g_free(as);
}

void address_space_add_listener(AddressSpace *as, MemListener *listener)
{
    g_ptr_array_add(as->listeners, listener);
}

void address_space_remove_listener(AddressSpace *as, MemListener *listener)
{
    g_ptr_array_remove(as->listeners, listener);
}

/* ---- regions ---- */

static void region_init(MemoryRegion *mr, MemoryRegionKind kind, Object *owner, const char *name, uint64_t size)
{
    memset(mr, 0, sizeof(*mr));
    mr->kind = kind;
    mr->owner = owner;
    mr->name = g_strdup(name ? name : "");
    mr->size = size;
    mr->enabled = true;
}

void memory_region_init(MemoryRegion *mr, Object *owner, const char *name, uint64_t size)
{
    region_init(mr, MR_CONTAINER, owner, name, size);
}

void memory_region_init_io(MemoryRegion *mr, Object *owner, Domain *domain, const MemoryRegionOps *ops, void *opaque,
                           const char *name, uint64_t size)
{
    region_init(mr, MR_IO, owner, name, size);
    mr->domain = domain;
    mr->ops = ops;
    mr->opaque = opaque;
}

static bool region_init_own_ram(MemoryRegion *mr, MemoryRegionKind kind, Object *owner, const char *name, uint64_t size,
                                GError **err)
{
    region_init(mr, kind, owner, name, size);
    mr->ram = ram_block_new(name, size, err);
    mr->owns_ram = true;
    if (!mr->ram)
        memory_region_clear(mr);
    return mr->ram != NULL;
}

bool memory_region_init_ram(MemoryRegion *mr, Object *owner, const char *name, uint64_t size, GError **err)
{
    return region_init_own_ram(mr, MR_RAM, owner, name, size, err);
}

bool memory_region_init_rom(MemoryRegion *mr, Object *owner, const char *name, uint64_t size, GError **err)
{
    return region_init_own_ram(mr, MR_ROM, owner, name, size, err);
}

bool memory_region_init_romd(MemoryRegion *mr, Object *owner, Domain *domain, const MemoryRegionOps *ops, void *opaque,
                             const char *name, uint64_t size, GError **err)
{
    if (!region_init_own_ram(mr, MR_ROMD, owner, name, size, err))
        return false;
    mr->domain = domain;
    mr->ops = ops;
    mr->opaque = opaque;
    return true;
}

void memory_region_init_ram_block(MemoryRegion *mr, Object *owner, const char *name, RamBlock *ram)
{
    region_init(mr, MR_RAM, owner, name, ram->size);
    mr->ram = ram;
}

void memory_region_init_alias(MemoryRegion *mr, Object *owner, const char *name, MemoryRegion *target, uint64_t offset,
                              uint64_t size)
{
    region_init(mr, MR_ALIAS, owner, name, size);
    mr->alias = target;
    mr->alias_offset = offset;
}

void memory_region_clear(MemoryRegion *mr)
{
    if (mr->parent)
        memory_region_remove(mr);
    while (mr->children)
        memory_region_remove(mr->children->data);
    g_clear_pointer((char **)&mr->name, g_free);
    g_free(atomic_exchange(&mr->notifiers, NULL));
    if (mr->owns_ram)
        ram_block_free(mr->ram);
    mr->owns_ram = false;
    /* kind, domain, ops stay: a view that is being dropped by another thread may still look at them. */
}

static int by_priority(const void *a, const void *b)
{
    return ((const MemoryRegion *)a)->priority < ((const MemoryRegion *)b)->priority ? 1 : -1;
}

void memory_region_add(MemoryRegion *parent, uint64_t addr, MemoryRegion *child, int priority)
{
    g_assert(!child->parent && parent != child);
    child->parent = parent;
    child->addr = addr;
    child->priority = priority;
    /* Among equals the newest comes first: by_priority never says "equal", and the list is searched from its head. */
    parent->children = g_list_insert_sorted(parent->children, child, by_priority);
    map_changed();
}

void memory_region_remove(MemoryRegion *child)
{
    if (!child->parent)
        return;
    child->parent->children = g_list_remove(child->parent->children, child);
    child->parent = NULL;
    map_changed();
}

void memory_region_set_enabled(MemoryRegion *mr, bool enabled)
{
    if (mr->enabled != enabled) {
        mr->enabled = enabled;
        map_changed();
    }
}

void memory_region_set_readonly(MemoryRegion *mr, bool readonly)
{
    if (mr->readonly != readonly) {
        mr->readonly = readonly;
        map_changed();
    }
}

void memory_region_set_romd(MemoryRegion *mr, bool reads_memory)
{
    g_assert(mr->kind == MR_ROMD);
    if (mr->romd_off == reads_memory) {
        mr->romd_off = !reads_memory;
        map_changed();
    }
}

void memory_region_set_addr(MemoryRegion *mr, uint64_t addr)
{
    if (mr->addr != addr) {
        mr->addr = addr;
        map_changed();
    }
}

void memory_region_set_alias_offset(MemoryRegion *mr, uint64_t offset)
{
    if (mr->alias_offset != offset) {
        mr->alias_offset = offset;
        map_changed();
    }
}

void memory_region_set_size(MemoryRegion *mr, uint64_t size)
{
    g_assert(!mr->ram || size <= mr->ram->size);
    if (mr->size != size) {
        mr->size = size;
        map_changed();
    }
}

bool memory_region_is_mapped(const MemoryRegion *mr)
{
    return mr->parent || atomic_load(&((MemoryRegion *)mr)->live) > 0;
}

/* ---- doorbells ---- */

/* Puts the new table in place and waits until no reader can hold the old one; readers never block. */
static void notifiers_replace(MemoryRegion *mr, struct MemNotifierTable *table)
{
    struct MemNotifierTable *old = atomic_exchange(&mr->notifiers, table);
    while (atomic_load(&mr->notifier_readers))
        g_thread_yield();
    g_free(old);
}

void memory_region_add_notifier(MemoryRegion *mr, const MemNotifier *notifier)
{
    const struct MemNotifierTable *old = mr->notifiers;
    unsigned n = old ? old->n : 0;
    struct MemNotifierTable *table = g_malloc(sizeof(*table) + (n + 1) * sizeof(table->entry[0]));
    if (n)
        memcpy(table->entry, old->entry, n * sizeof(table->entry[0]));
    table->entry[n] = *notifier;
    table->n = n + 1;
    notifiers_replace(mr, table);
}

void memory_region_remove_notifier(MemoryRegion *mr, uint64_t offset, unsigned size, bool match, uint64_t data)
{
    const struct MemNotifierTable *old = mr->notifiers;
    if (!old)
        return;
    struct MemNotifierTable *table = g_malloc(sizeof(*table) + old->n * sizeof(table->entry[0]));
    table->n = 0;
    for (unsigned i = 0; i < old->n; i++) {
        const MemNotifier *e = &old->entry[i];
        if (e->offset != offset || e->size != size || e->match != match || (match && e->data != data))
            table->entry[table->n++] = *e;
    }
    if (!table->n)
        g_clear_pointer(&table, g_free);
    notifiers_replace(mr, table);
}

bool memory_notifier_hit(MemoryRegion *mr, uint64_t offset, uint64_t value, unsigned size)
{
    bool hit = false;
    atomic_fetch_add(&mr->notifier_readers, 1);
    const struct MemNotifierTable *table = atomic_load(&mr->notifiers);
    for (unsigned i = 0; table && i < table->n && !hit; i++) {
        const MemNotifier *e = &table->entry[i];
        if (e->offset == offset && (!e->size || e->size == size) && (!e->match || e->data == value)) {
            bh_schedule(e->bh);
            hit = true;
        }
    }
    atomic_fetch_sub(&mr->notifier_readers, 1);
    return hit;
}
