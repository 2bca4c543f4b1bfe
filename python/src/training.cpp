#include <nanobind/stl/array.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <nvfp4/model_recipe.hpp>
#include <nvfp4/osci_reset.hpp>
#include <nvfp4/random.hpp>

#include "arguments.hpp"

/// What a whole model's training asks for beside its layers' products.
namespace nvfp4::python {
namespace {

using IndexInput = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::string_view name(Attention a) {
  return a == Attention::softmax ? "softmax" : a == Attention::linear ? "linear" : "gla";
}

ModelRecipe published(std::string_view text, std::int64_t steps, bool late_switch) {
  if (const PublishedModel* found = find_published_model(text))
    return model_recipe(*found, steps, late_switch);
  std::string names;
  for (const PublishedModel& m : published_models())
    names += (names.empty() ? "" : ", ") + std::string(m.name);
  throw std::invalid_argument("model '" + std::string(text) + "': expected one of " + names);
}

ModelRecipe protection(const Recipe& recipe, std::string_view attention) {
  for (const Attention a : {Attention::softmax, Attention::linear, Attention::gla})
    if (name(a) == attention) return post_qk_protection(recipe, a);
  throw std::invalid_argument("attention '" + std::string(attention) +
                              "': expected one of softmax, linear, gla");
}

OsciResetState state_of(const IndexInput& elements, const FloatInput& w, const FloatInput& d,
                        const FloatInput& w_moved, const FloatInput& d_moved) {
  const auto floats = [](const FloatInput& v) { return std::vector<float>(v.data(), v.data() + v.size()); };
  return {.elements = {elements.data(), elements.data() + elements.size()},
          .w = floats(w),
          .d = floats(d),
          .w_moved = floats(w_moved),
          .d_moved = floats(d_moved)};
}

nb::tuple arrays_of(OsciResetState&& s) {
  const std::size_t n = s.elements.size();
  return nb::make_tuple(array_of<std::int64_t>(std::move(s.elements), {n}),
                        array_of<float>(std::move(s.w), {n}), array_of<float>(std::move(s.d), {n}),
                        array_of<float>(std::move(s.w_moved), {n}),
                        array_of<float>(std::move(s.d_moved), {n}));
}

nb::tuple reset(const MatrixInput& w, std::string_view dtype, std::int64_t step, const OsciReset& how,
                const IndexInput& elements, const FloatInput& w_before, const FloatInput& d_before,
                const FloatInput& w_moved, const FloatInput& d_moved, std::string_view device, int threads) {
  const MatrixView view = view_of(w, dtype);
  OsciResetState state = state_of(elements, w_before, d_before, w_moved, d_moved);
  const Kernels& kernels = kernels_of(device);
  OsciResetStep done = released(threads, [&] {
    return osci_reset(converted(view, view.dtype, kernels), step, how, std::move(state), kernels);
  });
  return nb::make_tuple(array_of(std::move(done.w)), arrays_of(std::move(done.state)), done.resets);
}

void bind_model_recipe(nb::module_& m) {
  nb::class_<ModelRecipe>(m, "ModelRecipe")
      .def(
          "__init__",
          [](ModelRecipe* self, const Recipe& recipe, const Recipe& high_precision, int first_blocks,
             int last_blocks, std::vector<std::string> keep, std::int64_t switch_step, bool forward_only) {
            new (self) ModelRecipe{recipe,          high_precision, first_blocks, last_blocks,
                                   std::move(keep), switch_step,    forward_only};
          },
          nb::arg("recipe"), nb::arg("high_precision"), nb::kw_only(), nb::arg("first_blocks") = 0,
          nb::arg("last_blocks") = 0, nb::arg("keep") = std::vector<std::string>{},
          nb::arg("switch_step") = -1, nb::arg("switch_forward_only") = false)
      .def_ro("recipe", &ModelRecipe::recipe)
      .def_ro("high_precision", &ModelRecipe::high_precision)
      .def_ro("first_blocks", &ModelRecipe::first_blocks)
      .def_ro("last_blocks", &ModelRecipe::last_blocks)
      .def_ro("keep", &ModelRecipe::keep)
      .def_ro("switch_step", &ModelRecipe::switch_step)
      .def_ro("switch_forward_only", &ModelRecipe::switch_forward_only)
      .def(
          "recipe_at",
          [](const ModelRecipe& model, std::int64_t step, std::string layer, int block, int blocks) {
            return recipe_at(model, {std::move(layer), block, blocks}, step);
          },
          nb::arg("step"), nb::arg("layer") = "", nb::arg("block") = 0, nb::arg("blocks") = 1)
      .def(
          "is_equal", [](const ModelRecipe& a, const ModelRecipe& b) { return a == b; }, nb::arg("other"));
  m.def("published_model_recipe", &published, nb::arg("model"), nb::arg("steps"), nb::arg("late_switch"));
  m.def("post_qk_protection", &protection, nb::arg("recipe"), nb::arg("attention"));
}

void bind_osci_reset(nb::module_& m) {
  nb::class_<OsciReset>(m, "OsciReset")
      .def(
          "__init__",
          [](OsciReset* self, std::int64_t period, std::int64_t track, std::int64_t start, float threshold,
             int share) {
            new (self) OsciReset{period, track, start, threshold, share};
          },
          nb::kw_only(), nb::arg("period") = 400, nb::arg("track") = 50, nb::arg("start") = 0,
          nb::arg("threshold") = 8.0f, nb::arg("share") = 100)
      .def_ro("period", &OsciReset::period)
      .def_ro("track", &OsciReset::track)
      .def_ro("start", &OsciReset::start)
      .def_ro("threshold", &OsciReset::threshold)
      .def_ro("share", &OsciReset::share)
      .def(
          "__getstate__",
          [](const OsciReset& o) { return nb::make_tuple(o.period, o.track, o.start, o.threshold, o.share); })
      .def("__setstate__",
           [](OsciReset& o, const std::tuple<std::int64_t, std::int64_t, std::int64_t, float, int>& s) {
             const auto& [period, track, start, threshold, share] = s;
             new (&o) OsciReset{period, track, start, threshold, share};
           });
  m.def("osci_reset", &reset, nb::arg("w"), nb::arg("w_dtype"), nb::arg("step"), nb::arg("how"),
        nb::arg("elements"), nb::arg("w_before"), nb::arg("d_before"), nb::arg("w_moved"), nb::arg("d_moved"),
        nb::arg("device"), nb::arg("num_threads"));
}

}  // namespace

void bind_training(nb::module_& m) {
  bind_model_recipe(m);
  bind_osci_reset(m);
  m.def(
      "philox4x32",
      [](std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
        return philox4x32(counter, key);
      },
      nb::arg("counter"), nb::arg("key"));
}

}  // namespace nvfp4::python
