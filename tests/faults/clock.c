/* A wall clock that is wrong by a number of seconds in a shared file, for what the Python interpreter asks.

   Preloaded into a process. Only calls that come from the interpreter itself are answered wrongly: C++ libraries wait
   for absolute times of the wall clock in system calls that no library sees, and would wait for hours. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int (*system_clock)(clockid_t, struct timespec *);
static const volatile int64_t *wrong_by_s;
static uintptr_t interpreter, from, to;

static int find(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size, (void)unused;
    for (int k = 0; k < object->dlpi_phnum; k++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[k];
        uintptr_t begin = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && interpreter >= begin && interpreter < begin + part->p_memsz) {
            from = begin, to = begin + part->p_memsz;
            return 1;
        }
    }
    return 0;
}

__attribute__((constructor)) static void start(void) {
    system_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    interpreter = (uintptr_t)dlsym(RTLD_DEFAULT, "PyObject_Call");
    const char *path = getenv("GROK_SWEEPS_CLOCK");
    int file = path && interpreter ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *shared = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (shared == MAP_FAILED) return;
    dl_iterate_phdr(find, NULL);
    wrong_by_s = shared;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    if (!system_clock) start();
    int failed = system_clock(clock, now);
    if (!failed && clock == CLOCK_REALTIME && wrong_by_s && caller >= from && caller < to) now->tv_sec += *wrong_by_s;
    return failed;
}
