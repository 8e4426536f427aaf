/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are made to cost: each is refused, with its reason, in less than a second of processor time
 * and 64 MB of memory of the whole program. */
#include "support/support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TENSORS = 65537, HUGE_FILE = 4 }; /* GiB */
#define MOST_BYTES   ((int64_t)64 * 1000 * 1000)
#define MOST_SECONDS 1.0

static const char *folder;
static char program[256], path[256];

static void set_up(void) {
    folder = test_make_folder();
    snprintf(program, sizeof program, "%s/medsamix", getenv("B") ? getenv("B") : "build");
    if (access(program, X_OK)) ck_abort_msg("%s is not there; build it", program);
}
static void tear_down(void) {
    test_remove_folder(folder);
}

/* ---- making files ------------------------------------------------------------------------------- */

/* Bytes of a file, its hole in front of what is added behind. */
static FILE *begin(const char *name, const void *head, size_t n) {
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(head, 1, n, f), n);
    return f;
}
static void end_at(FILE *f, int64_t size) {
    ck_assert_int_eq(fflush(f), 0);
    if (size) ck_assert_int_eq(ftruncate(fileno(f), size), 0);
    ck_assert_int_eq(fclose(f), 0);
}
static void put(FILE *f, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) fputc((int)(value >> 8 * i & 255), f);
}

static void make_hole(const char *name, const void *head, size_t n) {
    end_at(begin(name, head, n), (int64_t)HUGE_FILE << 30);
}

static void zeros(void) {
    make_hole("zeros.pth", "", 0);
}
static void zip_without_end(void) {
    make_hole("hole.pth", "PK\3\4", 4);
}
static void index_without_end(void) {
    make_hole("hole.json", "{\"weight_map\":{", 15);
}
static void legacy_without_end(void) {
    static const char magic[] = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    make_hole("hole.pt", magic, sizeof magic - 1);
}
static void header_of_a_gigabyte(void) {
    make_hole("hole.safetensors", "\0\0\0\x40\0\0\0\0{", 9);
}
static void data_that_no_tensor_has(void) {
    static const char header[] =
        "\x38\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}  ";
    make_hole("long.safetensors", header, sizeof header - 1);
}
static void text_of_a_gigabyte(void) {
    static const char pickle[] = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
                                 "\x80\x04\x8d\0\0\0\x40\0\0\0\0";
    make_hole("text.pt", pickle, sizeof pickle - 1);
}

typedef struct record {
    const char *name, *data; /* NULL: a hole */
    uint64_t size;
    off_t at;
} record;

/* What local and central header have in common. */
static void put_header(FILE *to, const record *r) {
    put(to, 20, 2);
    put(to, 0, 4);                    /* flags, stored */
    put(to, (uint64_t)0x21 << 16, 4); /* 1980 */
    put(to, 0, 4);                    /* no checksum */
    put(to, r->size, 4);
    put(to, r->size, 4);
    put(to, strlen(r->name), 2);
    put(to, 0, 2);
}

static void make_zip(const char *name, record *records, size_t n) {
    FILE *f = begin(name, "", 0);
    for (record *r = records; r < records + n; r++) {
        r->at = ftello(f);
        put(f, 0x04034b50, 4);
        put_header(f, r);
        fputs(r->name, f);
        if (r->data)
            ck_assert_uint_eq(fwrite(r->data, 1, r->size, f), r->size);
        else
            ck_assert_int_eq(fseeko(f, (off_t)r->size, SEEK_CUR), 0);
    }
    off_t directory = ftello(f);
    for (record *r = records; r < records + n; r++) {
        put(f, 0x02014b50, 4);
        put(f, 20, 2);
        put_header(f, r);
        put(f, 0, 8); /* comment, disk, attributes */
        put(f, 0, 2);
        put(f, (uint64_t)r->at, 4);
        fputs(r->name, f);
    }
    off_t end = ftello(f);
    put(f, 0x06054b50, 4);
    put(f, 0, 4);
    put(f, n, 2);
    put(f, n, 2);
    put(f, (uint64_t)(end - directory), 4);
    put(f, (uint64_t)directory, 4);
    put(f, 0, 2);
    end_at(f, 0);
}

/* Less a little, so that no zip64 is needed. */
static void pickle_of_four_gigabytes(void) {
    record pickle = {"a/data.pkl", NULL, 0xF0000000, 0};
    make_zip("pickle.pth", &pickle, 1);
}

/* ---- 65,537 tensors ------------------------------------------------------------------------------- */

static void many_in_safetensors(void) {
    char *text;
    size_t n;
    FILE *header = open_memstream(&text, &n);
    for (int i = 0; i < TENSORS; i++)
        fprintf(header, "%c\"t%d\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                i ? ',' : '{', i, 4 * i, 4 * i + 4);
    fputc('}', header);
    ck_assert_int_eq(fclose(header), 0);
    FILE *f = begin("many.safetensors", "", 0);
    put(f, n, 8);
    ck_assert_uint_eq(fwrite(text, 1, n, f), n);
    end_at(f, (int64_t)(8 + n + 4 * TENSORS));
    free(text);
}

/* A safetensors header of few tensors, one of them with very many extents. */
static void extents_in_safetensors(void) {
    enum { EXTENTS = 4000000 };
    static const char head[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[1";
    static const char tail[] = "],\"data_offsets\":[0,4]}}";
    size_t n = sizeof head - 1 + 2 * EXTENTS + sizeof tail - 1;
    FILE *f = begin("extents.safetensors", "", 0);
    put(f, n, 8);
    fputs(head, f);
    for (int i = 0; i < EXTENTS; i++) fputs(",1", f);
    fputs(tail, f);
    end_at(f, (int64_t)n + 12);
}

static void many_in_an_index(void) {
    FILE *f = begin("many.json", "{\"weight_map\":", 14);
    for (int i = 0; i < TENSORS; i++) fprintf(f, "%c\"t%d\":\"a.safetensors\"", i ? ',' : '{', i);
    fputs("}}", f);
    end_at(f, 0);
}

/* The object of a file of torch before 1.6: a dictionary of tensors of one element of one storage. */
static void many_in_legacy(void) {
    static const char head[] = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
                               "\x80\x02}(X\x0d\0\0\0little_endian\x88u."
                               "\x80\x02" /* what all share goes into the memo */
                               "ctorch._utils\n_rebuild_tensor_v2\nq\0000"
                               "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuJ"
                               "\1\0\1\0NtQq\0010K\1\x85q\0020}(";
    FILE *f = begin("many.pt", head, sizeof head - 1);
    for (int i = 0; i < TENSORS; i++) {
        char name[16];
        put(f, 'X', 1);
        put(f, (uint64_t)snprintf(name, sizeof name, "t%d", i), 4);
        fputs(name, f);
        fwrite("h\0(h\1J", 1, 6, f);
        put(f, (uint64_t)i, 4);
        fputs("h\2h\2\x89NtR", f);
    }
    fputs("u.", f);
    fwrite("\x80\x02](X\1\0\0\0000e.", 1, 12, f);
    put(f, TENSORS, 8);
    end_at(f, ftello(f) + 4 * (int64_t)TENSORS);
}

/* The same in a zip, without a memo: nothing is shared, and the pickle is four times as long. */
static void many_in_a_zip(void) {
    static const char storage[] = "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuJ"
                                  "\1\0\1\0tQJ";
    static const char head[] = "ctorch._utils\n_rebuild_tensor_v2\n(";
    static const char tail[] = "K\1\x85K\1\x85\x89"
                               "ccollections\nOrderedDict\n)RtR";
    char *pickle;
    size_t n;
    FILE *f = open_memstream(&pickle, &n);
    fputs("\x80\x02}(", f);
    for (int i = 0; i < TENSORS; i++) {
        char name[16];
        put(f, 'X', 1);
        put(f, (uint64_t)snprintf(name, sizeof name, "t%d", i), 4);
        fputs(name, f);
        fputs(head, f);
        fwrite(storage, 1, sizeof storage - 1, f);
        put(f, (uint64_t)i, 4);
        fputs(tail, f);
    }
    fputs("u.", f);
    ck_assert_int_eq(fclose(f), 0);
    record both[2] = {{"a/data.pkl", pickle, n, 0}, {"a/data/0", NULL, 4 * TENSORS, 0}};
    make_zip("many.pth", both, 2);
    free(pickle);
}

/* ---- running ---------------------------------------------------------------------------------------- */

/* The file of a corpus instead of one that is made. */
#define CORPUS(name) .corpus = "fuzz/corpus/" name

static const struct hostile {
    void (*make)(void);
    const char *corpus;
    int code; /* exit code of the program */
    const char *text;
} cases[] = {
    {.make = zeros, .code = 3, .text = "neither a torch file"},
    {.make = zip_without_end, .code = 3, .text = "the zip directory is missing"},
    {.make = index_without_end, .code = 5, .text = "an index of 4294967296 bytes, more than"},
    {.make = legacy_without_end, .code = 3, .text = "unknown opcode 0x00"},
    {.make = header_of_a_gigabyte, .code = 5, .text = "the header has 1073741824 bytes, more than"},
    {.make = data_that_no_tensor_has,
     .code = 3,
     .text = "the tensors need 4 bytes, the file holds 42949"},
    {.make = text_of_a_gigabyte, .code = 3, .text = "the pickle ends inside an opcode"},
    {.make = pickle_of_four_gigabytes,
     .code = 5,
     .text = "data.pkl has 4026531840 bytes, more than"},
    {.make = many_in_safetensors, .code = 5, .text = "65537 tensors, more than the limit of 65536"},
    {.make = extents_in_safetensors,
     .code = 5,
     .text = "values in the header, more than 65536 tensors"},
    {.make = many_in_an_index, .code = 5, .text = "weight_map has 65537 tensors, more than"},
    {.make = many_in_legacy, .code = 5, .text = "65537 tensors, more than the limit of 65536"},
    {.make = many_in_a_zip, .code = 5, .text = "65537 tensors, more than the limit of 65536"},
    {CORPUS("safetensors/reject_rank_9.safetensors"), .code = 3, .text = "rank 9, at most 8"},
    {CORPUS("torch_zip/reject_tensor_rank_9.pth"), .code = 3, .text = "strides that make sense"},
    {CORPUS("torch_zip/reject_tensor_negative_stride.pth"), .code = 3,
     .text = "strides that make sense"},
    {CORPUS("torch_legacy/reject_negative_stride.pth"), .code = 3,
     .text = "strides that make sense"},
    {CORPUS("torch_zip/reject_zip_overlap.pth"), .code = 3, .text = "zip records overlap"},
    {CORPUS("torch_zip/reject_zip_compressed.pth"), .code = 3, .text = "is compressed"},
    {CORPUS("torch_zip/reject_zip_local_name_differs.pth"), .code = 3, .text = "another name than"},
    {CORPUS("torch_zip/reject_zip_local_size_differs.pth"), .code = 3,
     .text = "another size or checksum"},
    {CORPUS("torch_zip/reject_zip_local_checksum_differs.pth"), .code = 3,
     .text = "another size or checksum"},
    {CORPUS("torch_zip/reject_zip_local_flags_differ.pth"), .code = 3, .text = "other flags than"},
    {CORPUS("torch_zip/reject_pickle_dict_bomb.pth"), .code = 3, .text = "more items than bytes"},
    {CORPUS("torch_legacy/reject_key_bomb.pth"), .code = 3, .text = "a key is no text"},
};
enum { CASES = sizeof cases / sizeof *cases };

static double seconds_of(struct timeval t) {
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

/* Run `medsamix inspect FILE`; what it says on stderr. A program of its own, because the memory of a
 * forked test counts from what the test itself held. */
static int inspect(const char *file, struct rusage *usage, char *text, size_t room) {
    int ends[2], code = 0;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        execl(program, program, "inspect", file, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; n + 1 < room && (got = read(ends[0], text + n, room - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = 0;
    close(ends[0]);
    ck_assert_int_eq(wait4(child, &code, 0, usage), child);
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

START_TEST(what_is_made_to_cost_is_refused_cheaply) {
    const struct hostile *h = &cases[_i];
    struct rusage usage;
    char text[4096];
    if (h->make) h->make();
    const char *file = h->make ? path : test_path(h->corpus);
    int code = inspect(file, &usage, text, sizeof text);
    ck_assert_msg(code == h->code && strstr(text, file) && strstr(text, h->text),
                  "exit code %d, not %d; '%s' is not in: %s", code, h->code, h->text, text);
    double seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    int64_t bytes = usage.ru_maxrss * (int64_t)1024;
    printf("%-28s %5.2f s %6.1f MB\n", strrchr(file, '/') + 1, seconds, 1e-6 * (double)bytes);
    if (getenv("MSX_SANITIZED")) return; /* which takes time and memory of its own */
    ck_assert_double_lt(seconds, MOST_SECONDS);
    ck_assert_int_lt(bytes, MOST_BYTES);
}
END_TEST

int main(void) {
    Suite *s = suite_create("hostile");
    TCase *t = tcase_create("hostile");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, what_is_made_to_cost_is_refused_cheaply, 0, CASES);
    suite_add_tcase(s, t);
    return test_run(s);
}
