/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file medsamix.hpp
 * @brief C++17 face of the library: handles that free themselves, failures as exceptions.
 *
 * Everything is inline over the C functions, so it adds nothing to the ABI. Handles convert to the C
 * pointer implicitly, so that any C function can be used beside the classes.
 *
 * @code
 * msx::context ctx;
 * auto device = msx::device::open(ctx, "cpu");
 * auto weights = msx::checkpoint::open(ctx, "medsam.pth");
 * auto model = msx::model::load(ctx, device, weights, MSX_PRESET_MEDSAM);
 * @endcode
 */
#ifndef MEDSAMIX_MEDSAMIX_HPP
#define MEDSAMIX_MEDSAMIX_HPP

#include <medsamix/medsamix.h>

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace msx {

/** A failed call: what() is the library's text, status() its code. */
class error : public std::runtime_error {
  public:
    error(msx_status status, const std::string &text) : std::runtime_error(text), status_(status) {
    }
    msx_status status() const noexcept {
        return status_;
    }

  private:
    msx_status status_;
};

/** Owns a context. */
class context {
  public:
    context() {
        msx_status status = msx_ctx_create(&ctx_, nullptr);
        if (status < 0) throw error(status, msx_status_name(status));
    }
    context(const context &) = delete;
    context &operator=(const context &) = delete;
    ~context() {
        msx_ctx_free(ctx_);
    }
    operator msx_ctx *() const noexcept {
        return ctx_;
    }
    /** Throw when `status` is a failure; else pass it on. */
    msx_status check(msx_status status) const {
        if (status < 0) {
            const char *text = msx_ctx_error(ctx_);
            throw error(status, *text ? text : msx_status_name(status));
        }
        return status;
    }

  private:
    msx_ctx *ctx_ = nullptr;
};

/** Owns any handle that `Free` releases. */
template <typename T, void (*Free)(T *)> class handle {
  public:
    handle() = default;
    explicit handle(T *pointer) noexcept : pointer_(pointer) {
    }
    handle(handle &&other) noexcept : pointer_(other.release()) {
    }
    handle &operator=(handle &&other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    handle(const handle &) = delete;
    handle &operator=(const handle &) = delete;
    ~handle() {
        Free(pointer_);
    }
    T *get() const noexcept {
        return pointer_;
    }
    operator T *() const noexcept {
        return pointer_;
    }
    T *release() noexcept {
        return std::exchange(pointer_, nullptr);
    }
    void reset(T *pointer = nullptr) noexcept {
        Free(std::exchange(pointer_, pointer));
    }

  private:
    T *pointer_ = nullptr;
};

/* The pattern of every factory below: call the C function, throw on failure, own the result. */
#define MSX_HPP_MAKE(Class, ctx, call)                                                             \
    decltype(std::declval<Class>().get()) out = nullptr;                                           \
    (ctx).check(call);                                                                             \
    return Class(out)

struct checkpoint : handle<msx_checkpoint, msx_checkpoint_free> {
    using handle::handle;
    static checkpoint open(const context &ctx, const std::string &path) {
        MSX_HPP_MAKE(checkpoint, ctx, msx_checkpoint_open(&out, ctx, path.c_str()));
    }
    static checkpoint create(const context &ctx) {
        MSX_HPP_MAKE(checkpoint, ctx, msx_checkpoint_create(&out, ctx));
    }
    /** The same network for inputs of another size. */
    checkpoint resize(const context &ctx, int64_t image_size,
                      msx_positions how = MSX_POSITIONS_BILINEAR) const {
        MSX_HPP_MAKE(checkpoint, ctx, msx_checkpoint_resize(&out, get(), image_size, how));
    }
    void save(const context &ctx, const std::string &path,
              const msx_save_options *options = nullptr) const {
        ctx.check(msx_checkpoint_save(get(), path.c_str(), options));
    }
};

struct arch : handle<msx_arch, msx_arch_free> {
    using handle::handle;
    static arch infer(const context &ctx, const checkpoint &c) {
        MSX_HPP_MAKE(arch, ctx, msx_arch_infer(&out, ctx, c));
    }
};

struct groups : handle<msx_groups, msx_groups_free> {
    using handle::handle;
};

struct plan : handle<msx_plan, msx_plan_free> {
    using handle::handle;
    static plan create(const context &ctx) {
        MSX_HPP_MAKE(plan, ctx, msx_plan_create(&out, ctx));
    }
    static plan load(const context &ctx, const std::string &path) {
        MSX_HPP_MAKE(plan, ctx, msx_plan_load(&out, ctx, path.c_str()));
    }
    static plan parse(const context &ctx, const std::string &text,
                      const std::string &source = "plan") {
        MSX_HPP_MAKE(plan, ctx,
                     msx_plan_parse(&out, ctx, text.data(), text.size(), source.c_str()));
    }
};

struct merger : handle<msx_merger, msx_merger_free> {
    using handle::handle;
    /** @param models name and checkpoint; the first is the base and must be called "base". */
    static merger create(const context &ctx,
                         std::initializer_list<std::pair<const char *, const checkpoint *>> models,
                         bool allow_nonfinite = false) {
        std::vector<msx_checkpoint *> checkpoints;
        std::vector<const char *> names;
        for (const auto &m : models) {
            names.push_back(m.first);
            checkpoints.push_back(m.second->get());
        }
        MSX_HPP_MAKE(merger, ctx,
                     msx_merger_create(&out, ctx, checkpoints.data(), names.data(), names.size(),
                                       allow_nonfinite));
    }
    /** Merge by a plan into a new checkpoint in memory. */
    checkpoint run(const context &ctx, const plan &p) const {
        checkpoint target = checkpoint::create(ctx);
        ctx.check(msx_merger_run(get(), p, nullptr, target, nullptr));
        return target;
    }
};

struct image : handle<msx_image, msx_image_free> {
    using handle::handle;
    static image load(const context &ctx, const std::string &path) {
        MSX_HPP_MAKE(image, ctx, msx_image_load(&out, ctx, path.c_str()));
    }
    void save(const context &ctx, const std::string &path) const {
        ctx.check(msx_image_save(get(), path.c_str()));
    }
    int64_t width() const {
        return msx_image_width(get());
    }
    int64_t height() const {
        return msx_image_height(get());
    }
};

struct volume : handle<msx_volume, msx_volume_free> {
    using handle::handle;
    static volume load(const context &ctx, const std::string &path) {
        MSX_HPP_MAKE(volume, ctx, msx_volume_load(&out, ctx, path.c_str()));
    }
};

struct score : handle<msx_score, msx_score_free> {
    using handle::handle;
    static score create(const context &ctx) {
        MSX_HPP_MAKE(score, ctx, msx_score_create(&out, ctx));
    }
};

struct device : handle<msx_device, msx_device_free> {
    using handle::handle;
    static device open(const context &ctx, const std::string &name = "cpu") {
        MSX_HPP_MAKE(device, ctx, msx_device_open(&out, ctx, name.c_str()));
    }
};

struct embedding : handle<msx_embedding, msx_embedding_free> {
    using handle::handle;
};

/** Prompts; the calls chain: `prompts.begin(0).box(10, 20, 60, 70)`. */
struct prompts : handle<msx_prompts, msx_prompts_free> {
    explicit prompts(const context &ctx) : ctx_(&ctx) {
        msx_prompts *out = nullptr;
        ctx.check(msx_prompts_create(&out, ctx));
        reset(out);
    }
    prompts &begin(int64_t image_index) {
        ctx_->check(msx_prompts_begin(get(), image_index));
        return *this;
    }
    prompts &box(double x0, double y0, double x1, double y1) {
        ctx_->check(msx_prompts_box(get(), x0, y0, x1, y1));
        return *this;
    }
    prompts &point(double x, double y, int label = 1) {
        ctx_->check(msx_prompts_point(get(), x, y, label));
        return *this;
    }
    /** Logits of an earlier prediction, side x side. */
    prompts &mask(const float *logits, int64_t n) {
        ctx_->check(msx_prompts_mask(get(), logits, n));
        return *this;
    }

  private:
    const context *ctx_;
};

struct prediction : handle<msx_prediction, msx_prediction_free> {
    using handle::handle;
    image mask(const context &ctx, int64_t prompt, int64_t mask_index = 0) const {
        MSX_HPP_MAKE(image, ctx, msx_prediction_mask(&out, get(), prompt, mask_index));
    }
    float iou(int64_t prompt, int64_t mask_index = 0) const {
        return msx_prediction_iou(get(), prompt)[mask_index];
    }
};

struct model : handle<msx_model, msx_model_free> {
    using handle::handle;
    static model load(const context &ctx, const device &d, const checkpoint &c,
                      msx_preset preset = MSX_PRESET_SAM) {
        MSX_HPP_MAKE(model, ctx, msx_model_load(&out, d, c, preset));
    }
    static model load(const context &ctx, const device &d, const checkpoint &c,
                      const msx_model_options &options) {
        MSX_HPP_MAKE(model, ctx, msx_model_load_with(&out, d, c, &options));
    }
    embedding encode(const context &ctx, const image &i) const {
        const msx_image *images[] = {i.get()};
        MSX_HPP_MAKE(embedding, ctx, msx_model_encode(&out, get(), images, 1));
    }
    embedding load_embedding(const context &ctx, const std::string &path) const {
        MSX_HPP_MAKE(embedding, ctx, msx_embedding_load(&out, get(), path.c_str()));
    }
    void save_embedding(const context &ctx, const embedding &e, const std::string &path) const {
        ctx.check(msx_embedding_save(e.get(), get(), path.c_str()));
    }
    prediction predict(const context &ctx, const embedding &e, const prompts &p) const {
        MSX_HPP_MAKE(prediction, ctx, msx_model_predict(&out, get(), e, p));
    }
};

/** A volume slice by slice. */
struct slices : handle<msx_slices, msx_slices_free> {
    using handle::handle;
    static slices load(const context &ctx, const std::string &path, const std::string &rule,
                       const std::string &scratch, const std::string &axis = "max-spacing") {
        MSX_HPP_MAKE(
            slices, ctx,
            msx_slices_load(&out, ctx, path.c_str(), axis.c_str(), rule.c_str(), scratch.c_str()));
    }
};

/** Prompts on the slices of a volume; the calls chain. */
struct seeds : handle<msx_seeds, msx_seeds_free> {
    explicit seeds(const context &ctx) : ctx_(&ctx) {
        msx_seeds *out = nullptr;
        ctx.check(msx_seeds_create(&out, ctx));
        reset(out);
    }
    seeds &box(int label, int64_t first, int64_t last, double x0, double y0, double x1, double y1) {
        const double corners[4] = {x0, y0, x1, y1};
        ctx_->check(msx_seeds_box(get(), label, first, last, corners));
        return *this;
    }
    seeds &point(int label, int64_t slice, double x, double y, bool inside = true) {
        ctx_->check(msx_seeds_point(get(), label, slice, x, y, inside));
        return *this;
    }

  private:
    const context *ctx_;
};

/** A segmented volume. */
struct segmentation : handle<msx_segmentation, msx_segmentation_free> {
    using handle::handle;
    static segmentation run(const context &ctx, const model &m, const slices &image, const seeds &s,
                            const msx_volume_options *options = nullptr) {
        MSX_HPP_MAKE(segmentation, ctx, msx_segment_volume(&out, m, image, s, options));
    }
    void save_labels(const context &ctx, const std::string &path) const {
        ctx.check(msx_slices_save_labels(msx_segmentation_labels(get()), path.c_str()));
    }
};

/** Masks of everything in an image. */
struct masks : handle<msx_masks, msx_masks_free> {
    using handle::handle;
    static masks generate(const context &ctx, const model &m, const image &i,
                          const msx_generate_options *options = nullptr) {
        MSX_HPP_MAKE(masks, ctx, msx_masks_generate(&out, m, i, options));
    }
    int64_t count() const {
        return msx_masks_count(get());
    }
    msx_mask_record record(const context &ctx, int64_t i) const {
        msx_mask_record r = {};
        r.struct_size = sizeof r;
        ctx.check(msx_masks_record(get(), i, &r));
        return r;
    }
    image mask(const context &ctx, int64_t i) const {
        MSX_HPP_MAKE(image, ctx, msx_masks_image(&out, get(), i));
    }
    image labels(const context &ctx) const {
        MSX_HPP_MAKE(image, ctx, msx_masks_labels(&out, get()));
    }
};

struct space : handle<msx_space, msx_space_free> {
    using handle::handle;
    static space create(const context &ctx) {
        MSX_HPP_MAKE(space, ctx, msx_space_create(&out, ctx));
    }
};

struct optimizer : handle<msx_optimizer, msx_optimizer_free> {
    using handle::handle;
    static optimizer create(const context &ctx, const std::string &driver, const space &s,
                            int n_objectives, int64_t n_trials, uint64_t seed) {
        MSX_HPP_MAKE(
            optimizer, ctx,
            msx_optimizer_create(&out, ctx, driver.c_str(), s, n_objectives, n_trials, seed));
    }
};

struct dataset : handle<msx_dataset, msx_dataset_free> {
    using handle::handle;
    static dataset open(const context &ctx, const std::string &folder) {
        MSX_HPP_MAKE(dataset, ctx, msx_dataset_open(&out, ctx, folder.c_str()));
    }
};

struct evaluator : handle<msx_evaluator, msx_evaluator_free> {
    using handle::handle;
    static evaluator create(const context &ctx, msx_split split,
                            const msx_eval_options *options = nullptr) {
        MSX_HPP_MAKE(evaluator, ctx, msx_evaluator_create(&out, ctx, split, options));
    }
};

struct search : handle<msx_search, msx_search_free> {
    using handle::handle;
    static search create(const context &ctx, const device &d) {
        MSX_HPP_MAKE(search, ctx, msx_search_create(&out, d));
    }
    static search open(const context &ctx, const device &d, const std::string &store) {
        MSX_HPP_MAKE(search, ctx, msx_search_open(&out, d, store.c_str()));
    }
    search &set(const context &ctx, const std::string &key, const std::string &value) {
        ctx.check(msx_search_set(get(), key.c_str(), value.c_str()));
        return *this;
    }
};

#undef MSX_HPP_MAKE

} // namespace msx

#endif
