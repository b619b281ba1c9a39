/* Preloaded into a server: its wall clock is as far ahead as the eight bytes of a file say, a double in seconds. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile const double *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHRONOS_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) ahead = page;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (result != 0 || !ahead || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return result;
    double shift = *ahead, seconds = floor(shift);
    now->tv_sec += (time_t)seconds;
    now->tv_nsec += (long)((shift - seconds) * 1e9);
    if (now->tv_nsec >= 1000000000L) {
        now->tv_nsec -= 1000000000L;
        now->tv_sec += 1;
    }
    return result;
}
