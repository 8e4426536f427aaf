/* SPDX-License-Identifier: Apache-2.0 */
/* The corpora of small files: every reject reason with its status and text, every valid file read. */
#include "support/support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static msx_ctx *ctx;

static void setup(void) {
    ctx = test_ctx();
}
static void teardown(void) {
    msx_ctx_free(ctx);
}

typedef struct reject {
    const char *file;
    msx_status status;
    const char *text; /* part of the message behind the file's name */
} reject;

static const reject torch_zip[] = {
    {"reject_big_endian.pth", MSX_E_UNSUPPORTED, "written on a big-endian machine"},
    {"reject_call_arguments.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 29: the pickle calls something that has no name"},
    {"reject_call_beside_the_weights.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 63: the pickle calls posix.system, which is no pa"},
    {"reject_call_control_characters.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 19: the pickle calls os?[31m.system, which is no "},
    {"reject_call_inst.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 7: the pickle calls os.system, which is no part o"},
    {"reject_call_nameless.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 5: the pickle calls something that has no name"},
    {"reject_call_obj.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 18: the pickle calls os.system, which is no part "},
    {"reject_call_protocol0.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 28: the pickle calls os.system, which is no part "},
    {"reject_call_protocol4.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 25: the pickle calls builtins.eval, which is no p"},
    {"reject_call_system.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 51: the pickle calls posix.system, which is no pa"},
    {"reject_empty.pth", MSX_E_FORMAT, "the file is empty"},
    {"reject_meta_not_json.pth", MSX_E_FORMAT, "medsamix.json is not JSON: string or"},
    {"reject_meta_not_strings.pth", MSX_E_FORMAT, "medsamix.json must map strings to strings"},
    {"reject_module_source.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 47: holds the source code of a class, not only te"},
    {"reject_torchscript_compressed.pth", MSX_E_UNSUPPORTED, "TorchScript, a program"},
    {"reject_no_state_dict.pth", MSX_E_UNSUPPORTED,
     "data.pkl: holds no state dict: no dictionary of tensors at the t"},
    {"reject_opcode_persid.pth", MSX_E_FORMAT, "data.pkl: byte 2: unknown opcode 0x50"},
    {"reject_opcode_unknown.pth", MSX_E_FORMAT, "data.pkl: byte 2: unknown opcode 0xff"},
    {"reject_pickle_below_mark.pth", MSX_E_FORMAT, "data.pkl: byte 5: the stack is empty"},
    {"reject_pickle_class_no_text.pth", MSX_E_FORMAT,
     "data.pkl: byte 6: the name of a class is no text"},
    {"reject_pickle_dict_bomb.pth", MSX_E_FORMAT, "data.pkl: byte 617: more items than bytes"},
    {"reject_pickle_dict_of_no_pairs.pth", MSX_E_FORMAT,
     "data.pkl: byte 34: a dictionary made of something else than pair"},
    {"reject_pickle_empty.pth", MSX_E_FORMAT, "data.pkl: byte 0: the pickle has no end"},
    {"reject_pickle_ends_in_line.pth", MSX_E_FORMAT,
     "data.pkl: byte 2: the pickle ends inside a line"},
    {"reject_pickle_ends_in_opcode.pth", MSX_E_FORMAT,
     "data.pkl: byte 2: the pickle ends inside an opcode"},
    {"reject_pickle_items_for_a_tuple.pth", MSX_E_FORMAT,
     "data.pkl: byte 5: items for something that is no container"},
    {"reject_pickle_long_text.pth", MSX_E_FORMAT,
     "data.pkl: byte 2: the pickle ends inside an opcode"},
    {"reject_pickle_memo_large.pth", MSX_E_FORMAT, "data.pkl: byte 3: a memo index is too large"},
    {"reject_pickle_memo_missing.pth", MSX_E_FORMAT,
     "data.pkl: byte 2: the memo has no such entry"},
    {"reject_pickle_memo_no_number.pth", MSX_E_FORMAT,
     "data.pkl: byte 3: a memo index is no number"},
    {"reject_pickle_no_end.pth", MSX_E_FORMAT, "data.pkl: byte 168: the pickle has no end"},
    {"reject_pickle_no_mark.pth", MSX_E_FORMAT, "data.pkl: byte 2: no mark is set"},
    {"reject_pickle_obj_no_class.pth", MSX_E_FORMAT, "data.pkl: byte 3: an object has no class"},
    {"reject_pickle_object_no_class.pth", MSX_E_FORMAT, "data.pkl: byte 5: an object has no class"},
    {"reject_pickle_odd_items.pth", MSX_E_FORMAT, "data.pkl: byte 6: a key has no value"},
    {"reject_pickle_protocol.pth", MSX_E_FORMAT, "data.pkl: byte 0: unknown pickle protocol"},
    {"reject_pickle_size_arguments.pth", MSX_E_FORMAT,
     "data.pkl: byte 16: torch.Size needs a tuple"},
    {"reject_pickle_stack_empty.pth", MSX_E_FORMAT, "data.pkl: byte 2: the stack is empty"},
    {"reject_pickle_storage_no_tuple.pth", MSX_E_FORMAT,
     "data.pkl: byte 3: a storage has no identification"},
    {"reject_plain_pickle.pkl", MSX_E_UNSUPPORTED, "a plain pickle, not a file of torch.save"},
    {"reject_plain_pickle_call.pkl", MSX_E_UNSUPPORTED,
     "magic number (from byte 0): byte 25: the pickle calls posix.syst"},
    {"reject_prefix_clash.pth", MSX_E_FORMAT, "tensor 'mask_decoder.w' occurs twice"},
    {"reject_single_tensor.pth", MSX_E_UNSUPPORTED,
     "data.pkl: holds no state dict: no dictionary of tensors at the t"},
    {"reject_state_cycle.pth", MSX_E_UNSUPPORTED,
     "data.pkl: holds no state dict: no dictionary of tensors at the t"},
    {"reject_storage_identification.pth", MSX_E_FORMAT,
     "data.pkl: byte 121: not the identification of a storage"},
    {"reject_storage_missing.pth", MSX_E_FORMAT,
     "data.pkl: byte 121: a storage is not in the file"},
    {"reject_storage_negative.pth", MSX_E_FORMAT,
     "data.pkl: byte 124: not the identification of a storage"},
    {"reject_storage_short.pth", MSX_E_FORMAT,
     "storage '0' should have 6 elements of 4 bytes, but has 20 bytes"},
    {"reject_storage_two_sizes.pth", MSX_E_FORMAT,
     "data.pkl: byte 230: storage '0' is used with two types or sizes"},
    {"reject_storage_two_types.pth", MSX_E_FORMAT,
     "data.pkl: byte 228: storage '0' is used with two types or sizes"},
    {"reject_storage_unknown_type.pth", MSX_E_UNSUPPORTED,
     "data.pkl: byte 119: a storage of an unknown type"},
    {"reject_tar.pth", MSX_E_UNSUPPORTED, "a tar container (torch 0.1, or an archive)"},
    {"reject_tensor_expanded.pth", MSX_E_UNSUPPORTED,
     "data.pkl: tensor 'w': an expanded view with more elements than a"},
    {"reject_tensor_name_control.pth", MSX_E_FORMAT,
     "data.pkl: byte 31: a tensor has no printable name"},
    {"reject_tensor_name_long.pth", MSX_E_FORMAT,
     "data.pkl: byte 765: a tensor has no printable name"},
    {"reject_tensor_name_not_utf8.pth", MSX_E_FORMAT,
     "data.pkl: byte 31: a tensor has no printable name"},
    {"reject_tensor_name_number.pth", MSX_E_FORMAT,
     "data.pkl: byte 134: a tensor has no printable name"},
    {"reject_tensor_negative_offset.pth", MSX_E_FORMAT,
     "data.pkl: tensor 'w': has no storage, offset, shape or strides t"},
    {"reject_tensor_negative_size.pth", MSX_E_FORMAT,
     "data.pkl: tensor 'w': has no storage, offset, shape or strides t"},
    {"reject_tensor_negative_stride.pth", MSX_E_FORMAT,
     "data.pkl: tensor 'w': has no storage, offset, shape or strides t"},
    {"reject_tensor_outside.pth", MSX_E_FORMAT, "data.pkl: tensor 'w': lies outside its storage"},
    {"reject_tensor_outside_empty.pth", MSX_E_FORMAT,
     "data.pkl: tensor 'w': lies outside its storage"},
    {"reject_tensor_parameter_of_nothing.pth", MSX_E_FORMAT, "data.pkl: tensor 'w': is no tensor"},
    {"reject_tensor_rank_9.pth", MSX_E_FORMAT,
     "data.pkl: tensor 'w': has no storage, offset, shape or strides t"},
    {"reject_tensor_shape_overflow.pth", MSX_E_FORMAT,
     "data.pkl: tensor 'w': lies outside its storage"},
    {"reject_tensor_sparse.pth", MSX_E_UNSUPPORTED,
     "data.pkl: tensor 'w': quantized, sparse or another special tenso"},
    {"reject_tensor_stride_overflow.pth", MSX_E_FORMAT,
     "data.pkl: tensor 'w': lies outside its storage"},
    {"reject_tensor_strides_missing.pth", MSX_E_FORMAT,
     "data.pkl: tensor 'w': has no storage, offset, shape or strides t"},
    {"reject_tensor_twice.pth", MSX_E_FORMAT, "tensor 'w' occurs twice"},
    {"reject_tensor_untyped.pth", MSX_E_UNSUPPORTED,
     "data.pkl: tensor 'w': of an unknown element type"},
    {"reject_text.pth", MSX_E_UNSUPPORTED,
     "neither a torch file (.pth, .pt) nor a safetensors file"},
    {"reject_torchscript.pth", MSX_E_UNSUPPORTED, "TorchScript, a program and not only weights"},
    {"reject_whole_object.pth", MSX_E_UNSUPPORTED,
     "data.pkl: holds a whole Python object (Net), not a state dict"},
    {"reject_zip64_broken.pth", MSX_E_FORMAT, "byte 381: the zip64 end record is broken"},
    {"reject_zip64_contradicts.pth", MSX_E_FORMAT,
     "byte 457: the two end records of the zip file contradict each ot"},
    {"reject_zip64_extra_short.pth", MSX_E_FORMAT, "byte 327: a zip64 size is missing"},
    {"reject_zip64_misplaced.pth", MSX_E_FORMAT,
     "byte 437: the zip64 end record is not where it should be"},
    {"reject_zip64_size_missing.pth", MSX_E_FORMAT, "byte 327: a zip64 size is missing"},
    {"reject_zip_absolute_name.pth", MSX_E_FORMAT,
     "byte 323: a zip record has an unsafe name (empty, absolute, or w"},
    {"reject_zip_compressed.pth", MSX_E_UNSUPPORTED, "zip record a/data/0 is compressed"},
    {"reject_zip_control_name.pth", MSX_E_FORMAT,
     "byte 322: a zip record has an unsafe name (empty, absolute, or w"},
    {"reject_zip_crc_of_pickle.pth", MSX_E_FORMAT,
     "byte 46: the checksum of archive/data.pkl is wrong"},
    {"reject_zip_directory_longer.pth", MSX_E_FORMAT,
     "byte 327: the zip directory is longer than its records"},
    {"reject_zip_directory_misplaced.pth", MSX_E_FORMAT,
     "byte 381: the zip directory does not end where its end record be"},
    {"reject_zip_directory_outside.pth", MSX_E_FORMAT,
     "byte 381: the zip directory does not end where its end record be"},
    {"reject_zip_directory_short_name.pth", MSX_E_FORMAT, "byte 62: the zip directory is broken"},
    {"reject_zip_directory_signature.pth", MSX_E_FORMAT, "byte 271: the zip directory is broken"},
    {"reject_zip_duplicate_name.pth", MSX_E_FORMAT, "zip record a/data/0 occurs twice"},
    {"reject_zip_empty_name.pth", MSX_E_FORMAT,
     "byte 319: a zip record has an unsafe name (empty, absolute, or w"},
    {"reject_zip_encrypted.pth", MSX_E_UNSUPPORTED, "zip record a/data/0 is encrypted"},
    {"reject_zip_local_checksum_differs.pth", MSX_E_FORMAT,
     "byte 209: a zip record has another size or checksum than the dir"},
    {"reject_zip_local_flags_differ.pth", MSX_E_FORMAT,
     "byte 209: a zip record has other flags than the directory says"},
    {"reject_zip_local_name_differs.pth", MSX_E_FORMAT,
     "byte 209: a zip record has another name than the directory says"},
    {"reject_zip_local_size_differs.pth", MSX_E_FORMAT,
     "byte 209: a zip record has another size or checksum than the dir"},
    {"reject_zip_more_records_than_directory.pth", MSX_E_FORMAT,
     "byte 381: more zip records than the directory holds"},
    {"reject_zip_no_local_header.pth", MSX_E_FORMAT, "byte 1: a zip record has no local header"},
    {"reject_zip_no_records.pth", MSX_E_UNSUPPORTED, "a zip file, but not one of torch.save"},
    {"reject_zip_no_root.pth", MSX_E_UNSUPPORTED, "a zip file, but not one of torch.save"},
    {"reject_zip_other_content.pth", MSX_E_UNSUPPORTED,
     "a zip file, but not one of torch.save (no word/data.pkl)"},
    {"reject_zip_outside.pth", MSX_E_FORMAT, "byte 327: a zip record lies outside the file"},
    {"reject_zip_overlap.pth", MSX_E_FORMAT, "byte 0: zip records overlap"},
    {"reject_zip_parent_folder.pth", MSX_E_FORMAT,
     "byte 325: a zip record has an unsafe name (empty, absolute, or w"},
    {"reject_zip_several_parts.pth", MSX_E_FORMAT, "byte 381: the zip file is in several parts"},
    {"reject_zip_sizes_contradict.pth", MSX_E_FORMAT,
     "byte 327: a zip record has contradicting sizes"},
    {"reject_zip_truncated.pth", MSX_E_FORMAT, "byte 373: the zip directory is missing"},
    {"reject_zip_unknown_flags.pth", MSX_E_FORMAT, "byte 327: a zip record has unknown flags"},
};

static const reject torch_legacy[] = {
    {"reject_big_endian.pth", MSX_E_UNSUPPORTED,
     "machine (from byte 21): not written on a little-endian machine"},
    {"reject_call.pth", MSX_E_UNSUPPORTED,
     "object (from byte 70): byte 22: the pickle calls os.system, whic"},
    {"reject_count_differs.pth", MSX_E_FORMAT,
     "byte 252: storage '0' has 5 elements here and 6 in the pickle"},
    {"reject_count_missing.pth", MSX_E_FORMAT, "byte 252: 8 bytes expected but the file has 252"},
    {"reject_count_negative.pth", MSX_E_FORMAT,
     "byte 252: storage '0' has -6 elements here and 6 in the pickle"},
    {"reject_key_bomb.pth", MSX_E_FORMAT, "storage keys (from byte 216): a key is no text"},
    {"reject_key_missing.pth", MSX_E_FORMAT,
     "object (from byte 70): byte 122: a storage is not in the file"},
    {"reject_key_no_text.pth", MSX_E_FORMAT, "storage keys (from byte 216): a key is no text"},
    {"reject_key_twice.pth", MSX_E_FORMAT, "storage '0' occurs twice"},
    {"reject_key_unused.pth", MSX_E_FORMAT, "storage '1' has no type in the pickle"},
    {"reject_keys_no_list.pth", MSX_E_FORMAT, "storage keys (from byte 216): not a list"},
    {"reject_magic_only.pth", MSX_E_FORMAT,
     "version (from byte 15): byte 0: the pickle has no end"},
    {"reject_module_source_instance.pth", MSX_E_UNSUPPORTED,
     "holds the source code of a class, not only tensors"},
    {"reject_negative_stride.pth", MSX_E_FORMAT,
     "object (from byte 70): tensor 'w': has no storage, offset, shape"},
    {"reject_no_state_dict.pth", MSX_E_UNSUPPORTED,
     "object (from byte 70): holds no state dict: no dictionary of ten"},
    {"reject_trailing.pth", MSX_E_FORMAT,
     "byte 284: the last storage ends here, the file does not"},
    {"reject_truncated.pth", MSX_E_FORMAT, "byte 280: storage '0' ends behind the file"},
    {"reject_view.pth", MSX_E_UNSUPPORTED,
     "object (from byte 70): byte 133: a view of a storage, as only to"},
};

static const reject safetensors[] = {
    {"reject_data_missing.safetensors", MSX_E_FORMAT,
     "the tensors need 34359738368 bytes, the file holds 0"},
    {"reject_data_too_long.safetensors", MSX_E_FORMAT,
     "the tensors need 24 bytes, the file holds 25"},
    {"reject_data_truncated.safetensors", MSX_E_FORMAT,
     "the tensors need 24 bytes, the file holds 23"},
    {"reject_deep_json.safetensors", MSX_E_FORMAT,
     "byte 2061: the header is not JSON: maximum parsing depth reached"},
    {"reject_dtype_f8.safetensors", MSX_E_UNSUPPORTED,
     "tensor 'w': element type 'F8_E4M3' is not read"},
    {"reject_dtype_unknown.safetensors", MSX_E_UNSUPPORTED,
     "tensor 'w': element type 'F99' is not read"},
    {"reject_duplicate_key.safetensors", MSX_E_FORMAT,
     "byte 75: the header is not JSON: duplicate object key"},
    {"reject_entry_lacks_shape.safetensors", MSX_E_FORMAT,
     "tensor 'w': needs exactly dtype, shape and data_offsets"},
    {"reject_entry_number.safetensors", MSX_E_FORMAT,
     "tensor 'w': needs exactly dtype, shape and data_offsets"},
    {"reject_entry_unknown_key.safetensors", MSX_E_FORMAT,
     "tensor 'w': needs exactly dtype, shape and data_offsets"},
    {"reject_header_too_long.safetensors", MSX_E_FORMAT,
     "byte 0: the header should have 2147483648 bytes, but the file ha"},
    {"reject_header_truncated.safetensors", MSX_E_FORMAT,
     "byte 0: the header should have 400 bytes, but the file has 73"},
    {"reject_hole.safetensors", MSX_E_FORMAT,
     "tensor 'b': data begins at 12, the one before ends at 8 (a hole)"},
    {"reject_hole_at_start.safetensors", MSX_E_FORMAT,
     "tensor 'w': data begins at 8, the one before ends at 0 (a hole)"},
    {"reject_json_cut_by_the_length.safetensors", MSX_E_FORMAT,
     "byte 48: the header is not JSON: string or '}' expected"},
    {"reject_metadata_list.safetensors", MSX_E_FORMAT, "__metadata__ must map strings to strings"},
    {"reject_metadata_number.safetensors", MSX_E_FORMAT,
     "__metadata__ must map strings to strings"},
    {"reject_name_control.safetensors", MSX_E_FORMAT,
     "a tensor's name is empty, too long, or no printable UTF-8"},
    {"reject_name_empty.safetensors", MSX_E_FORMAT,
     "a tensor's name is empty, too long, or no printable UTF-8"},
    {"reject_name_long.safetensors", MSX_E_FORMAT,
     "a tensor's name is empty, too long, or no printable UTF-8"},
    {"reject_not_json.safetensors", MSX_E_FORMAT,
     "byte 13: the header is not JSON: unexpected token near end of fi"},
    {"reject_not_utf8.safetensors", MSX_E_FORMAT,
     "byte 10: the header is not JSON: unable to decode byte 0xff near"},
    {"reject_nul_in_name.safetensors", MSX_E_FORMAT,
     "byte 19: the header is not JSON: NUL byte in object key not supp"},
    {"reject_offsets_huge.safetensors", MSX_E_FORMAT,
     "byte 78: the header is not JSON: too big integer near '999999999"},
    {"reject_offsets_reversed.safetensors", MSX_E_FORMAT,
     "tensor 'w': data_offsets [24, 0] do not fit shape (2, 3) of F32"},
    {"reject_offsets_three.safetensors", MSX_E_FORMAT,
     "tensor 'w': shape and data_offsets must be integers >= 0"},
    {"reject_overlap.safetensors", MSX_E_FORMAT,
     "tensor 'b': data begins at 8, the one before ends at 16 (an over"},
    {"reject_prefix_clash.safetensors", MSX_E_FORMAT, "tensor 'mask_decoder.w' occurs twice"},
    {"reject_rank_9.safetensors", MSX_E_UNSUPPORTED, "tensor 'w': rank 9, at most 8 is read"},
    {"reject_shape_differs.safetensors", MSX_E_FORMAT,
     "tensor 'w': data_offsets [0, 24] do not fit shape (2, 2) of F32"},
    {"reject_shape_fraction.safetensors", MSX_E_FORMAT,
     "tensor 'w': shape and data_offsets must be integers >= 0"},
    {"reject_shape_negative.safetensors", MSX_E_FORMAT,
     "tensor 'w': shape and data_offsets must be integers >= 0"},
    {"reject_shape_overflow.safetensors", MSX_E_FORMAT,
     "tensor 'w': data_offsets [0, 24] do not fit shape (4611686018427"},
};

typedef struct corpus {
    const char *folder;
    const reject *rejects;
    size_t n;
} corpus;

static const corpus corpora[] = {
    {"fuzz/corpus/torch_zip", torch_zip, sizeof torch_zip / sizeof *torch_zip},
    {"fuzz/corpus/torch_legacy", torch_legacy, sizeof torch_legacy / sizeof *torch_legacy},
    {"fuzz/corpus/safetensors", safetensors, sizeof safetensors / sizeof *safetensors},
};
enum { N_CORPORA = sizeof corpora / sizeof *corpora };

START_TEST(every_reject_reason_has_its_status_and_text) {
    for (size_t i = 0; i < corpora[_i].n; i++) {
        const reject *r = corpora[_i].rejects + i;
        char name[300];
        msx_checkpoint *c;
        snprintf(name, sizeof name, "%s/%s", corpora[_i].folder, r->file);
        const char *path = test_path(name);
        msx_status got = msx_checkpoint_open(&c, ctx, path);
        ck_assert_ptr_null(c);
        test_fails(ctx, got, r->status, r->text);
        const char *text = msx_ctx_error(ctx);
        ck_assert_msg(!strncmp(text, path, strlen(path)), "%s", text);
        for (; *text; text++) ck_assert_int_ge((unsigned char)*text, 0x20); /* one line */
        msx_ctx_clear_error(ctx);
    }
}
END_TEST

START_TEST(every_file_of_the_corpus_is_expected_to_be_what_it_is_called) {
    DIR *folder = opendir(test_path(corpora[_i].folder));
    ck_assert_ptr_nonnull(folder);
    size_t rejects = 0, valid = 0;
    for (struct dirent *e; (e = readdir(folder));) {
        char name[600];
        msx_checkpoint *c;
        snprintf(name, sizeof name, "%s/%s", corpora[_i].folder, e->d_name);
        if (!strncmp(e->d_name, "reject_read_", 12)) continue;
        rejects += !strncmp(e->d_name, "reject_", 7);
        if (strncmp(e->d_name, "valid_", 6) != 0) continue;
        valid++;
        test_ok(ctx, msx_checkpoint_open(&c, ctx, test_path(name)));
        for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
            float out[16];
            int64_t n = msx_checkpoint_elements(c, i);
            ck_assert_int_le(n, 6);
            msx_status status = msx_checkpoint_read(c, i, out, n);
            if (msx_checkpoint_dtype(c, i) < MSX_DTYPE_I8)
                test_ok(ctx, status);
            else
                test_fails(ctx, status, MSX_E_UNSUPPORTED, "not a floating type");
        }
        msx_checkpoint_free(c);
    }
    closedir(folder);
    ck_assert_uint_eq(rejects, corpora[_i].n);
    ck_assert_uint_ge(valid, 6);
}
END_TEST

START_TEST(a_wrong_checksum_is_found_when_the_tensor_is_read) {
    msx_checkpoint *c;
    float out[6];
    test_ok(ctx, msx_checkpoint_open(
                     &c, ctx, test_path("fuzz/corpus/torch_zip/reject_read_crc_of_data.pth")));
    for (int i = 0; i < 2; i++)
        test_fails(ctx, msx_checkpoint_read(c, 0, out, 6), MSX_E_FORMAT,
                   "byte 247: the checksum of tensor 'w' is wrong");
    msx_checkpoint_free(c);
}
END_TEST

static void expect_values(const char *file, const char *name, int64_t n, const float *expected) {
    char path[200];
    msx_checkpoint *c;
    int64_t got;
    snprintf(path, sizeof path, "fuzz/corpus/%s", file);
    test_ok(ctx, msx_checkpoint_open(&c, ctx, test_path(path)));
    float *values = test_tensor(c, name, &got);
    ck_assert_int_eq(got, n);
    ck_assert_mem_eq(values, expected, (size_t)n * sizeof *values);
    free(values);
    msx_checkpoint_free(c);
}

START_TEST(small_files_hold_their_values) {
    static const float six[] = {1, 2, 3, 4, 5, 6}, across[] = {1, 4, 2, 5, 3, 6};
    static const char *const files[] = {
        "torch_zip/valid_flat.pth",      "torch_zip/valid_trainer.pth",
        "torch_zip/valid_protocol4.pth", "torch_legacy/valid_flat.pth",
        "torch_zip/valid_half.pth",      "torch_legacy/valid_python2.pth",
        "torch_legacy/valid_half.pth",   "torch_legacy/valid_two_storages.pth",
        "torch_zip/valid_double.pth",    "torch_zip/valid_untyped_v3.pth",
        "torch_zip/valid_parameter.pth", "safetensors/valid_flat.safetensors",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) expect_values(files[i], "w", 6, six);
    expect_values("torch_zip/valid_strided.pth", "w", 6, across);
    expect_values("torch_zip/valid_two_views.pth", "b", 4, six + 2);
    expect_values("torch_zip/valid_nested.pth", "mask_decoder.w", 6, six);
    expect_values("safetensors/valid_any_order.safetensors", "b", 2, six + 4);
}
END_TEST

int main(void) {
    Suite *s = suite_create("reject");
    TCase *t = tcase_create("reject");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, every_reject_reason_has_its_status_and_text, 0, N_CORPORA);
    tcase_add_loop_test(t, every_file_of_the_corpus_is_expected_to_be_what_it_is_called, 0,
                        N_CORPORA);
    tcase_add_test(t, a_wrong_checksum_is_found_when_the_tensor_is_read);
    tcase_add_test(t, small_files_hold_their_values);
    suite_add_tcase(s, t);
    return test_run(s);
}
