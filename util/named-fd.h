/* Descriptors named by getfd, and what fd= options mean. Any thread. */
#pragma once

#include <rhea/base.h>

/* put takes fd over and closes an older one of that name; take gives it away, -1 if there is none. */
void named_fd_put(const char *name, int fd);
int named_fd_take(const char *name);
/* text of an fd= option: the number of an inherited descriptor or a getfd name (which is used up). -1 with a sentence. */
int fd_from_text(const char *text, GError **err) WARN_UNUSED;
