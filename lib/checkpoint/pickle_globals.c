/* SPDX-License-Identifier: Apache-2.0 */
/* The functions a pickle may call. Nothing is ever called; the list decides which files are taken
 * for model files at all. What is not in it refuses the file, unless the rule is tolerant. */
#include "checkpoint/pickle.h"

#include <string.h>

static const struct {
    const char *module, *name;
    msx__callable kind;
    bool strict; /* torch.load(weights_only=True) takes it, too */
} functions[] = {
    /* tensors */
    {"torch._utils", "_rebuild_tensor_v2", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_tensor_v3", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_tensor", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_parameter", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_parameter_with_state", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_qtensor", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_sparse_tensor", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_sparse_csr_tensor", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_device_tensor_from_numpy", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_meta_tensor_no_storage", MSX__CALL_KEPT, true},
    {"torch._utils", "_rebuild_wrapper_subclass", MSX__CALL_KEPT, true},
    {"torch._tensor", "_rebuild_from_type_v2", MSX__CALL_KEPT, true},
    {"torch.nn.parameter", "Parameter", MSX__CALL_KEPT, true},
    /* dictionaries */
    {"collections", "OrderedDict", MSX__CALL_DICT, true},
    {"collections", "defaultdict", MSX__CALL_DICT, false},
    {"collections", "Counter", MSX__CALL_DICT, true},
    {"builtins", "dict", MSX__CALL_DICT, false},
    {"__builtin__", "dict", MSX__CALL_DICT, false},
    /* values of trainers' states: epochs, scores, learning rates, paths, options */
    {"torch", "Size", MSX__CALL_TUPLE, true},
    {"torch", "device", MSX__CALL_OPAQUE, true},
    {"torch", "Generator", MSX__CALL_OPAQUE, false},
    {"torch.serialization", "_get_layout", MSX__CALL_OPAQUE, true},
    {"builtins", "set", MSX__CALL_OPAQUE, true},
    {"builtins", "frozenset", MSX__CALL_OPAQUE, false},
    {"builtins", "bytearray", MSX__CALL_OPAQUE, true},
    {"builtins", "complex", MSX__CALL_OPAQUE, true},
    {"builtins", "slice", MSX__CALL_OPAQUE, false},
    {"builtins", "range", MSX__CALL_OPAQUE, false},
    {"__builtin__", "set", MSX__CALL_OPAQUE, true},
    {"__builtin__", "frozenset", MSX__CALL_OPAQUE, false},
    {"__builtin__", "bytearray", MSX__CALL_OPAQUE, true},
    {"__builtin__", "complex", MSX__CALL_OPAQUE, true},
    {"_codecs", "encode", MSX__CALL_OPAQUE, true},
    {"copyreg", "_reconstructor", MSX__CALL_OPAQUE, false},
    {"copy_reg", "_reconstructor", MSX__CALL_OPAQUE, false},
    {"numpy", "dtype", MSX__CALL_OPAQUE, false},
    {"numpy", "ndarray", MSX__CALL_OPAQUE, false},
    {"numpy.core.multiarray", "scalar", MSX__CALL_OPAQUE, false},
    {"numpy.core.multiarray", "_reconstruct", MSX__CALL_OPAQUE, false},
    {"numpy._core.multiarray", "scalar", MSX__CALL_OPAQUE, false},
    {"numpy._core.multiarray", "_reconstruct", MSX__CALL_OPAQUE, false},
    {"numpy.core.numeric", "_frombuffer", MSX__CALL_OPAQUE, false},
    {"numpy._core.numeric", "_frombuffer", MSX__CALL_OPAQUE, false},
    {"numpy.random._pickle", "__randomstate_ctor", MSX__CALL_OPAQUE, false},
    {"numpy.random._pickle", "__generator_ctor", MSX__CALL_OPAQUE, false},
    {"numpy.random._pickle", "__bit_generator_ctor", MSX__CALL_OPAQUE, false},
    {"functools", "partial", MSX__CALL_OPAQUE, false}, /* holds a function, calls none */
    {"argparse", "Namespace", MSX__CALL_OPAQUE, false},
    {"types", "SimpleNamespace", MSX__CALL_OPAQUE, false},
    {"pathlib", "PosixPath", MSX__CALL_OPAQUE, false},
    {"pathlib", "WindowsPath", MSX__CALL_OPAQUE, false},
    {"pathlib", "PurePosixPath", MSX__CALL_OPAQUE, false},
    {"pathlib", "PureWindowsPath", MSX__CALL_OPAQUE, false},
    {"pathlib._local", "PosixPath", MSX__CALL_OPAQUE, false},
    {"datetime", "datetime", MSX__CALL_OPAQUE, false},
    {"datetime", "date", MSX__CALL_OPAQUE, false},
    {"datetime", "time", MSX__CALL_OPAQUE, false},
    {"datetime", "timedelta", MSX__CALL_OPAQUE, false},
    {"datetime", "timezone", MSX__CALL_OPAQUE, false},
    {"decimal", "Decimal", MSX__CALL_OPAQUE, false},
    {"fractions", "Fraction", MSX__CALL_OPAQUE, false},
    {"uuid", "UUID", MSX__CALL_OPAQUE, false},
};

static bool same(const char *text, size_t length, const char *with) {
    return length == strlen(with) && !memcmp(text, with, length);
}

msx__callable msx__classify_call(const char *module, size_t module_length, const char *name,
                                 size_t name_length) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (same(module, module_length, functions[i].module) &&
            same(name, name_length, functions[i].name))
            return functions[i].kind;
    return MSX__CALL_REFUSED;
}

/* Classes that are named and not called: those of tensors, storages and element types. */
static bool is_torch_class(const char *module, size_t module_length, const char *name,
                           size_t name_length) {
    static const char *const types[] = {
        "float32", "float16", "bfloat16", "float64",   "int8",
        "uint8",   "int16",   "uint16",   "int32",     "uint32",
        "int64",   "uint64",  "bool",     "complex64", "complex128",
        "qint8",   "quint8",  "qint32",   "strided",   "per_tensor_affine",
        "Tensor",
    };
    static const char *const modules[] = {"torch", "torch.cuda", "torch.storage"};
    static const char ending[] = "Storage";
    size_t n = sizeof ending - 1;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (same(module, module_length, modules[i]) && name_length >= n &&
            !memcmp(name + name_length - n, ending, n))
            return true;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (same(module, module_length, "torch") && same(name, name_length, types[i])) return true;
    return false;
}

bool msx__global_is_strict(const char *module, size_t module_length, const char *name,
                           size_t name_length) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (same(module, module_length, functions[i].module) &&
            same(name, name_length, functions[i].name))
            return functions[i].strict;
    return is_torch_class(module, module_length, name, name_length);
}
