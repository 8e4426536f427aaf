/* SPDX-License-Identifier: Apache-2.0 */
/* The names of workers, and the thread that keeps their leases alive.
 *
 * A lease is renewed three times in its length. When its worker is gone it ends by itself and others
 * take the trial over; where the worker was a process of this machine, they need not wait for that. */
#include "search/search_run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HOST = 72 };

/* ---- names ----------------------------------------------------------------------------------------- */

/* What tells two machines of one name apart, and two containers of one machine: when it was started, and
 * whose process numbers these are. */
static uint64_t machine_digest(void) {
    char text[128] = "";
    ssize_t n = 0;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, 64);
        close(fd);
    }
    if (n < 0) n = 0;
    ssize_t more = readlink("/proc/self/ns/pid", text + n, sizeof text - 64);
    if (n == 0 || more <= 0) return 0;
    return msx__hash64(text, (size_t)(n + more));
}

/* "name.digest"; without the digest, which no name of another machine equals, nothing is known of it. */
static void machine_name(char out[HOST]) {
    char host[HOST - 16] = "";
    uint64_t digest = machine_digest();
    if (gethostname(host, sizeof host - 1) != 0 || !*host) strcpy(host, "machine");
    for (char *c = host; *c; c++)
        if (*c == ':' || (unsigned char)*c <= 32) *c = '-';
    if (digest)
        snprintf(out, HOST, "%s.%08x", host, (unsigned)(digest ^ digest >> 32));
    else
        snprintf(out, HOST, "%s", host);
}

/* Threads are counted through the process's life: a name never comes again. */
void msx__name_runner(msx__runner *r) {
    static atomic_long threads;
    char host[HOST];
    const char *named = r->run->s->options.worker;
    machine_name(host);
    snprintf(r->name, sizeof r->name, "%s:%ld:%ld", *named ? named : host, (long)getpid(),
             atomic_fetch_add(&threads, 1));
}

bool msx__worker_is_gone(const char *name) {
    char host[HOST];
    if (!machine_digest()) return false;
    machine_name(host);
    size_t n = strlen(host);
    if (strncmp(name, host, n) != 0 || name[n] != ':') return false;
    long process = strtol(name + n + 1, NULL, 10);
    return process > 0 && kill((pid_t)process, 0) != 0 && errno == ESRCH;
}

/* ---- renewing -------------------------------------------------------------------------------------- */

static struct timespec in_seconds(double seconds) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double whole = floor(seconds);
    t.tv_sec += (time_t)whole;
    t.tv_nsec += (long)((seconds - whole) * 1e9);
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

/* A failure to renew is no failure of the run: the lease goes on for a while, and whoever finishes a
 * trial that has been taken over learns it then. */
static void renew_all(msx__run *run) {
    msx_search *s = run->s;
    for (int i = 0; i < run->n_runners; i++) {
        msx__runner *r = &run->runners[i];
        pthread_mutex_lock(&run->beat_lock);
        int64_t number = r->number, attempt = r->attempt;
        pthread_mutex_unlock(&run->beat_lock);
        bool mine;
        double until = msx__store_now(s->store) + (double)s->options.lease;
        if (number >= 0) msx__store_renew(s->store, number, r->name, attempt, until, &mine);
    }
}

static void *beat(void *payload) {
    msx__run *run = payload;
    pthread_mutex_lock(&run->beat_lock);
    while (!run->beat_stops) {
        struct timespec until = in_seconds((double)run->s->options.lease / 3);
        int code = 0;
        while (!run->beat_stops && code != ETIMEDOUT)
            code = pthread_cond_timedwait(&run->beat_event, &run->beat_lock, &until);
        if (run->beat_stops) break;
        pthread_mutex_unlock(&run->beat_lock);
        renew_all(run);
        pthread_mutex_lock(&run->beat_lock);
    }
    pthread_mutex_unlock(&run->beat_lock);
    return NULL;
}

msx_status msx__beat_start(msx__run *run) {
    if (!msx__store_is_shared(run->s->store)) return MSX_OK;
    run->beats = pthread_create(&run->beat, NULL, beat, run) == 0;
    return run->beats ? MSX_OK : msx__fail(run->s->ctx, MSX_E_LIMIT, "no thread can be started");
}

void msx__beat_stop(msx__run *run) {
    if (!run->beats) return;
    pthread_mutex_lock(&run->beat_lock);
    run->beat_stops = true;
    pthread_cond_signal(&run->beat_event);
    pthread_mutex_unlock(&run->beat_lock);
    pthread_join(run->beat, NULL);
    run->beats = false;
}
