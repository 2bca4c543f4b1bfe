#include <nanobind/stl/map.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <nvfp4/linear.hpp>
#include <nvfp4/model_recipe.hpp>
#include <nvfp4/scheme.hpp>
#include <nvfp4/state.hpp>

#include "arguments.hpp"

namespace nvfp4::python {
namespace {

using StateMap = std::map<std::string, std::vector<std::int64_t>>;

LayerState state_of(const std::map<std::string, StateMap>& given) {
  LayerState state;
  for (const auto& [pass, kept] : given) {
    const Gemm g = named(pass, "state", {Gemm::fprop, Gemm::dgrad, Gemm::wgrad});
    state[g] = SchemeState(kept.begin(), kept.end());
  }
  return state;
}

StateMap map_of(const SchemeState& state) { return {state.begin(), state.end()}; }

std::map<std::string, StateMap> map_of(const LayerState& state) {
  std::map<std::string, StateMap> all;
  for (const Gemm g : all_gemms) all[std::string(name(g))] = map_of(state[g]);
  return all;
}

Recipe recipe_named(std::string_view text) {
  if (const Recipe* found = find_recipe(text)) return *found;
  std::string names;
  for (const Recipe& r : recipes()) names += (names.empty() ? "" : ", ") + r.name;
  throw std::invalid_argument("recipe '" + std::string(text) + "': expected a recipe or one of " + names);
}

OperandRecipe operand_of(std::string dialect, std::string_view block, std::string_view tensor_scale,
                         std::string_view rounding, int rht, std::string_view rht_signs,
                         std::string_view source, int e4m3_max, std::string_view select, bool error_fast) {
  if (rounding != "rne" && rounding != "sr")
    throw std::invalid_argument("rounding '" + std::string(rounding) + "': expected one of rne, sr");
  OperandRecipe o{.dialect = std::move(dialect), .block = block_named(block)};
  o.tensor_scale = tensor_scale_named(tensor_scale);
  o.stochastic = rounding == "sr";
  o.rht = rht;
  o.signs = signs_named(rht_signs);
  o.source = named(source, "source", {Source::input, Source::forward});
  o.four_over_six = four_over_six_of(e4m3_max, select, error_fast);
  return o;
}

GemmRecipe gemm_of(const OperandRecipe& a, const OperandRecipe& b, std::optional<std::string> accumulate,
                   std::string_view out_dtype, std::string_view scheme,
                   std::map<std::string, std::string> options, std::string accumulate_dense) {
  GemmRecipe g{.a = a, .b = b};
  g.accumulate = accumulate ? std::move(*accumulate) : a.dialect.empty() ? "sm100_bf16" : "sm100_nvfp4";
  g.out = dtype_named(out_dtype);
  g.scheme = scheme_recipe(scheme, Options(options.begin(), options.end()));
  g.accumulate_dense = std::move(accumulate_dense);
  return g;
}

Recipe recipe_of(std::string name, const GemmRecipe& fprop, const GemmRecipe& dgrad, const GemmRecipe& wgrad,
                 std::string_view operands) {
  Recipe r{.name = std::move(name),
           .operands = dtype_named(operands),
           .fprop = fprop,
           .dgrad = dgrad,
           .wgrad = wgrad};
  validate(r);
  return r;
}

/// What a backward pass needs of its forward one; empty: nothing.
struct Forward {
  ProductResult product{};
};

using Given = std::optional<std::map<std::string, StateMap>>;

std::optional<LayerState> given_state(const Given& given) {
  return given ? std::optional(state_of(*given)) : std::nullopt;
}

nb::tuple forward(const Recipe& recipe, const MatrixInput& x, std::string_view x_dtype, const MatrixInput& w,
                  std::string_view w_dtype, std::uint64_t seed, const Given& given, std::string_view device,
                  int threads) {
  const MatrixView X = view_of(x, x_dtype), W = view_of(w, w_dtype);
  const std::optional<LayerState> state = given_state(given);
  const Kernels& kernels = kernels_of(device);
  Matrix y;
  ProductResult made = released(threads, [&] {
    ProductResult product = linear_forward(recipe, X, W, seed, kernels, state ? &*state : nullptr);
    y = converted(product.pass.out.view(), Dtype::fp32, kernels);
    return product;
  });
  const StateMap kept = map_of(made.state);
  return nb::make_tuple(array_of(std::move(y)), kept, Forward{std::move(made)});
}

nb::tuple backward(const Recipe& recipe, std::string_view gemm, const MatrixInput& x,
                   std::string_view x_dtype, const MatrixInput& w, std::string_view w_dtype,
                   const MatrixInput& dy, std::string_view dy_dtype, const Forward& of, std::uint64_t seed,
                   const Given& given, std::string_view device, int threads) {
  const MatrixView X = view_of(x, x_dtype), W = view_of(w, w_dtype), D = view_of(dy, dy_dtype);
  const Gemm g = named(gemm, "gemm", {Gemm::dgrad, Gemm::wgrad});
  const std::optional<LayerState> state = given_state(given);
  const Kernels& kernels = kernels_of(device);
  Matrix out;
  const ProductResult made = released(threads, [&] {
    ProductResult product =
        linear_backward(recipe, g, X, W, D, of.product, seed, kernels, state ? &*state : nullptr);
    out = converted(product.pass.out.view(), Dtype::fp32, kernels);
    return product;
  });
  return nb::make_tuple(array_of(std::move(out)), map_of(made.state));
}

nb::tuple layer(const Recipe& recipe, const MatrixInput& x, std::string_view x_dtype, const MatrixInput& w,
                std::string_view w_dtype, const MatrixInput& dy, std::string_view dy_dtype,
                std::uint64_t seed, const Given& given, std::string_view device, int threads) {
  const MatrixView X = view_of(x, x_dtype), W = view_of(w, w_dtype), D = view_of(dy, dy_dtype);
  const std::optional<LayerState> state = given_state(given);
  const Kernels& kernels = kernels_of(device);
  Matrix y, dx, dw;
  const LayerState kept = released(threads, [&] {
    const LinearResult made = linear(recipe, X, W, D, seed, kernels, state ? &*state : nullptr);
    y = converted(made.fprop.out.view(), Dtype::fp32, kernels);
    dx = converted(made.dgrad.out.view(), Dtype::fp32, kernels);
    dw = converted(made.wgrad.out.view(), Dtype::fp32, kernels);
    return made.state;
  });
  return nb::make_tuple(array_of(std::move(y)), array_of(std::move(dx)), array_of(std::move(dw)),
                        map_of(kept));
}

std::map<std::string, StateMap> updated_state(const Recipe& recipe,
                                              const std::map<std::string, StateMap>& given, std::int64_t step,
                                              const MatrixInput& x, std::string_view x_dtype,
                                              const MatrixInput& w, std::string_view w_dtype,
                                              const MatrixInput& dy, std::string_view dy_dtype,
                                              std::uint64_t seed, std::string_view device, int threads) {
  const MatrixView X = view_of(x, x_dtype), W = view_of(w, w_dtype), D = view_of(dy, dy_dtype);
  LayerState state = state_of(given);
  const Kernels& kernels = kernels_of(device);
  return map_of(
      released(threads, [&] { return updated(recipe, std::move(state), step, X, W, D, seed, kernels); }));
}

bool is_due_of(const GemmRecipe& gemm, const StateMap& state, std::int64_t step) {
  return is_due(gemm, SchemeState(state.begin(), state.end()), step);
}

void bind_records(nb::module_& m) {
  nb::class_<OperandRecipe>(m, "OperandRecipe")
      .def(
          "__init__",
          [](OperandRecipe* self, std::string dialect, std::string_view block, std::string_view tensor_scale,
             std::string_view rounding, int rht, std::string_view rht_signs, std::string_view source,
             int e4m3_max, std::string_view select, bool error_fast) {
            new (self) OperandRecipe(operand_of(std::move(dialect), block, tensor_scale, rounding, rht,
                                                rht_signs, source, e4m3_max, select, error_fast));
          },
          nb::arg("dialect") = "", nb::kw_only(), nb::arg("block") = "1x16",
          nb::arg("tensor_scale") = "tensor", nb::arg("rounding") = "rne", nb::arg("rht") = 0,
          nb::arg("rht_signs") = "te", nb::arg("source") = "input", nb::arg("e4m3_max") = 448,
          nb::arg("select") = "mae", nb::arg("error_fast") = false)
      .def_ro("dialect", &OperandRecipe::dialect)
      .def_prop_ro("block", [](const OperandRecipe& o) { return block_name(o.block); })
      .def_prop_ro("tensor_scale", [](const OperandRecipe& o) { return std::string(name(o.tensor_scale)); })
      .def_prop_ro("rounding",
                   [](const OperandRecipe& o) { return std::string(o.stochastic ? "sr" : "rne"); })
      .def_ro("rht", &OperandRecipe::rht)
      .def_prop_ro("rht_signs", [](const OperandRecipe& o) { return std::string(name(o.signs)); })
      .def_prop_ro("source", [](const OperandRecipe& o) { return std::string(name(o.source)); })
      .def_prop_ro("e4m3_max", [](const OperandRecipe& o) { return o.four_over_six.e4m3_max; })
      .def_prop_ro("select", [](const OperandRecipe& o) { return std::string(name(o.four_over_six.select)); })
      .def_prop_ro("error_fast", [](const OperandRecipe& o) { return o.four_over_six.error_fast; });
  nb::class_<GemmRecipe>(m, "GemmRecipe")
      .def(
          "__init__",
          [](GemmRecipe* self, const OperandRecipe& a, const OperandRecipe& b,
             std::optional<std::string> accumulate, std::string_view out_dtype, std::string_view scheme,
             std::map<std::string, std::string> options, std::string accumulate_dense) {
            new (self) GemmRecipe(gemm_of(a, b, std::move(accumulate), out_dtype, scheme, std::move(options),
                                          std::move(accumulate_dense)));
          },
          nb::arg("a"), nb::arg("b"), nb::kw_only(), nb::arg("accumulate") = nb::none(),
          nb::arg("out_dtype") = "fp32", nb::arg("scheme") = "plain",
          nb::arg("options") = std::map<std::string, std::string>{},
          nb::arg("accumulate_dense") = "sm100_bf16")
      .def_ro("a", &GemmRecipe::a)
      .def_ro("b", &GemmRecipe::b)
      .def_ro("accumulate", &GemmRecipe::accumulate)
      .def_prop_ro("out_dtype", [](const GemmRecipe& g) { return std::string(name(g.out)); })
      .def_prop_ro("scheme", [](const GemmRecipe& g) { return g.scheme.name; })
      .def_prop_ro("options",
                   [](const GemmRecipe& g) {
                     return std::map<std::string, std::string>(g.scheme.options.begin(),
                                                               g.scheme.options.end());
                   })
      .def_ro("accumulate_dense", &GemmRecipe::accumulate_dense)
      .def_prop_ro("keeps", [](const GemmRecipe& g) {
        std::vector<std::string> names;
        for (const auto& kept : find_scheme(g.scheme.name)->keeps) names.emplace_back(kept);
        return names;
      });
  nb::class_<Recipe>(m, "Recipe")
      .def(
          "__init__",
          [](Recipe* self, std::string name, const GemmRecipe& fprop, const GemmRecipe& dgrad,
             const GemmRecipe& wgrad, std::string_view operands) {
            new (self) Recipe(recipe_of(std::move(name), fprop, dgrad, wgrad, operands));
          },
          nb::arg("name"), nb::arg("fprop"), nb::arg("dgrad"), nb::arg("wgrad"), nb::arg("operands") = "bf16")
      .def_static("of_name", &recipe_named, nb::arg("name"))
      .def_ro("name", &Recipe::name)
      .def_prop_ro("operands", [](const Recipe& r) { return std::string(name(r.operands)); })
      .def_ro("fprop", &Recipe::fprop)
      .def_ro("dgrad", &Recipe::dgrad)
      .def_ro("wgrad", &Recipe::wgrad)
      .def(
          "with_dialect",
          [](const Recipe& r, std::string_view dialect, int e4m3_max, std::string_view select,
             bool error_fast) {
            return with_dialect(r, dialect, four_over_six_of(e4m3_max, select, error_fast));
          },
          nb::arg("dialect"), nb::kw_only(), nb::arg("e4m3_max") = 448, nb::arg("select") = "mae",
          nb::arg("error_fast") = false)
      .def(
          "is_equal", [](const Recipe& a, const Recipe& b) { return a == b; }, nb::arg("other"));
  nb::class_<Forward>(m, "Forward").def(nb::init<>());
}

}  // namespace

void bind_recipes(nb::module_& m) {
  bind_records(m);
  m.def("is_due", &is_due_of, nb::arg("gemm"), nb::arg("state"), nb::arg("step"));
  m.def("linear", &layer, nb::arg("recipe"), nb::arg("x"), nb::arg("x_dtype"), nb::arg("w"),
        nb::arg("w_dtype"), nb::arg("dy"), nb::arg("dy_dtype"), nb::arg("seed"), nb::arg("state").none(),
        nb::arg("device"), nb::arg("num_threads"));
  m.def(
      "needs_forward",
      [](const Recipe& r) { return needs_forward(r, Gemm::dgrad) || needs_forward(r, Gemm::wgrad); },
      nb::arg("recipe"));
  m.def("linear_forward", &forward, nb::arg("recipe"), nb::arg("x"), nb::arg("x_dtype"), nb::arg("w"),
        nb::arg("w_dtype"), nb::arg("seed"), nb::arg("state").none(), nb::arg("device"),
        nb::arg("num_threads"));
  m.def("linear_backward", &backward, nb::arg("recipe"), nb::arg("gemm"), nb::arg("x"), nb::arg("x_dtype"),
        nb::arg("w"), nb::arg("w_dtype"), nb::arg("dy"), nb::arg("dy_dtype"), nb::arg("forward"),
        nb::arg("seed"), nb::arg("state").none(), nb::arg("device"), nb::arg("num_threads"));
  m.def("updated_state", &updated_state, nb::arg("recipe"), nb::arg("state"), nb::arg("step"), nb::arg("x"),
        nb::arg("x_dtype"), nb::arg("w"), nb::arg("w_dtype"), nb::arg("dy"), nb::arg("dy_dtype"),
        nb::arg("seed"), nb::arg("device"), nb::arg("num_threads"));
}

}  // namespace nvfp4::python
