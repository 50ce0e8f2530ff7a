/* The way to the background. */
#include "system/daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/exit-paths.h"

/* The child's end of the pipe on which the parent waits; one per process. */
static int notify_fd = -1;

static void G_GNUC_NORETURN wait_for_child(int fd)
{
    char status = 1;
    ssize_t n;
    /* Ended before the child was ready is not success. */
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    do {
        n = read(fd, &status, 1);
    } while (n < 0 && errno == EINTR);
    /* Nothing came: the child ended, after it said why. */
    _exit(n == 1 ? status : 1);
}

bool daemonize_start(GError **err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC)) {
        error_set_errno(err, errno, "-daemonize: no pipe");
        return false;
    }
    pid_t pid = fork();
    if (pid < 0) {
        error_set_errno(err, errno, "-daemonize: no process");
        return false;
    }
    if (pid > 0) {
        close(fds[1]);
        wait_for_child(fds[0]);
    }
    close(fds[0]);
    notify_fd = fds[1];
    setsid();
    umask(027);
    return true;
}

bool daemonize_finish(GError **err)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || chdir("/")) {
        error_set_errno(err, errno, "-daemonize: %s", null < 0 ? "/dev/null" : "/");
        return false;
    }
    fflush(NULL);
    for (int fd = 0; fd <= 2; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    char status = 0;
    ssize_t n;
    do {
        n = write(notify_fd, &status, 1);
    } while (n < 0 && errno == EINTR);
    close(notify_fd);
    notify_fd = -1;
    return true;
}

bool pidfile_create(const char *path, GError **err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        error_set_errno(err, errno, "-pidfile: can't open '%s'", path);
        return false;
    }
    /* Held until the end of the process: a second emulator with the same file is told. */
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(fd, F_SETLK, &lock)) {
        error_set_errno(err, errno, "-pidfile: '%s' is locked by a running process", path);
        close(fd);
        return false;
    }
    exit_paths_add(path);
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) || write(fd, text, len) != len) {
        error_set_errno(err, errno, "-pidfile: can't write '%s'", path);
        return false;
    }
    return true;
}
