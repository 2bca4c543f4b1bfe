#include <nanobind/operators.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <nvfp4/compare.hpp>
#include <nvfp4/producers.hpp>

#include "arguments.hpp"

namespace nvfp4::python {
namespace {

Stochastic stochastic_of(std::string_view rule, std::string_view map, std::uint64_t seed,
                         std::uint64_t stream, int rounds, std::int64_t row, std::int64_t col,
                         bool from_caller) {
  return {.rule = named(rule, "sr_rule", {SrRule::carry, SrRule::te_software}),
          .map = named(map, "random_map", {ByteMap::hw, ByteMap::te}),
          .random = {.seed = seed, .stream = stream, .rounds = rounds, .row = row, .col = col},
          .from_caller = from_caller};
}

QuantizeSpec spec_of(std::string_view dialect, std::optional<std::string> block,
                     std::optional<std::string> tensor_scale, std::optional<float> amax, int e4m3_max,
                     std::string_view select, bool error_fast, std::optional<Stochastic> stochastic) {
  QuantizeSpec spec = default_spec(dialect_named(dialect));
  if (block) spec.block = block_named(*block);
  if (tensor_scale) spec.tensor_scale = tensor_scale_named(*tensor_scale);
  spec.amax = amax;
  spec.four_over_six = four_over_six_of(e4m3_max, select, error_fast);
  spec.stochastic = stochastic;
  validate(spec);
  return spec;
}

/// What `nvfp4 quantize` makes of its options.
Producer profile_of(const QuantizeSpec& spec, bool columns, int rht, std::string_view signs,
                    std::uint64_t seed) {
  Producer made{.name = "", .spec = spec, .columns = columns, .rht = rht, .signs = signs_named(signs)};
  made.seed = made.signs == Signs::seed ? seed : 0;
  if (rht) validate(Hadamard{.signs = made.signs, .size = rht}, 0, 0);
  return made;
}

Producer producer_named(std::string_view text) {
  if (const Producer* found = find_producer(text)) return *found;
  std::string names;
  for (const Producer& p : producers()) names += (names.empty() ? "" : ", ") + std::string(p.name);
  throw std::invalid_argument("producer '" + std::string(text) + "': expected one of " + names);
}

using Pair = std::pair<BlockScaledTensor, std::optional<BlockScaledTensor>>;

Pair quantize_matrix(const MatrixInput& x, std::string_view dtype, Producer producer, bool transposed,
                     const std::optional<WordInput>& words, std::string_view device, int threads) {
  const MatrixView view = view_of(x, dtype);
  if (words) {
    if (!producer.spec.stochastic) throw std::invalid_argument("random_words need rounding 'sr'");
    if (producer.columns)
      throw std::invalid_argument(
          "random_words are for one operand: quantize the columns with transpose=True");
    producer.spec.stochastic->from_caller = true;
    producer.spec.stochastic->words = span_of<std::uint32_t>(*words);
  }
  const Kernels& kernels = kernels_of(device);
  return released(threads, [&]() -> Pair {
    const Matrix turned = transposed ? transpose(view) : Matrix{};
    ProducerResult made = quantize(producer, transposed ? turned.view() : view, kernels);
    return {std::move(made.rows), std::move(made.columns)};
  });
}

/// The transform that this profile applies before it quantizes; along tokens where that is of the columns.
nb::object transform_by(const Producer& producer, const MatrixInput& x, std::string_view dtype) {
  const MatrixView view = view_of(x, dtype);
  const Along along = producer.columns ? Along::tokens : Along::row;
  const Hadamard h = transform_of(producer, view.dtype, along);
  return array_of(released(0, [&] { return cpu_kernels().hadamard(view, h); }));
}

std::vector<std::uint8_t> bytes_of(const ByteInput& input, std::string_view what, std::int64_t rows,
                                   std::int64_t cols) {
  if (input.size() != static_cast<std::size_t>(rows * cols))
    throw std::invalid_argument(std::string(what) + ": expected " + std::to_string(rows) + " x " +
                                std::to_string(cols) + " bytes, found " + std::to_string(input.size()));
  return {input.data(), input.data() + input.size()};
}

std::size_t globals_of(const BlockScaledTensor& t) {
  if (t.spec.dialect->global_is == GlobalIs::none) return 0;
  const bool one = t.spec.tensor_scale == TensorScale::tensor;
  return one ? 1 : static_cast<std::size_t>(t.rows * t.globals_per_row());
}

BlockScaledTensor tensor_of(const QuantizeSpec& spec, std::string_view dtype, std::int64_t rows,
                            std::int64_t cols, const ByteInput& packed, const ByteInput& scales,
                            const std::optional<FloatInput>& global) {
  if (rows < 1 || cols < 1) throw std::invalid_argument("shape: expected 1 or more rows and columns");
  BlockScaledTensor t{.spec = spec, .dtype = dtype_named(dtype), .rows = rows, .cols = cols};
  t.codes = bytes_of(packed, "packed", rows, t.row_bytes());
  t.scales = bytes_of(scales, "scales", rows, t.blocks_per_row());
  if (global) t.global.assign(global->data(), global->data() + global->size());
  if (t.global.size() != globals_of(t))
    throw std::invalid_argument("global: expected " + std::to_string(globals_of(t)) + " values, found " +
                                std::to_string(t.global.size()));
  return t;
}

ByteArray packed_of(BlockScaledTensor& t) {
  const auto rows = static_cast<std::size_t>(t.rows), cols = static_cast<std::size_t>(t.row_bytes());
  return ByteArray(t.codes.data(), {rows, cols}, nb::find(t));
}

ByteArray scales_of(BlockScaledTensor& t) {
  const auto rows = static_cast<std::size_t>(t.rows), cols = static_cast<std::size_t>(t.blocks_per_row());
  return ByteArray(t.scales.data(), {rows, cols}, nb::find(t));
}

std::optional<nb::ndarray<nb::numpy, float>> global_of(BlockScaledTensor& t) {
  if (t.global.empty()) return std::nullopt;
  const auto parts = static_cast<std::size_t>(t.globals_per_row());
  if (!t.spec.dialect->outer_cols)
    return nb::ndarray<nb::numpy, float>(t.global.data(), {t.global.size()}, nb::find(t));
  return nb::ndarray<nb::numpy, float>(t.global.data(), {t.global.size() / parts, parts}, nb::find(t));
}

/// One code an element, padding left out.
ByteArray codes_of(const BlockScaledTensor& t) {
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(t.rows * t.cols));
  const bool bytes = info(t.spec.dialect->element).bits == 8;
  for (std::int64_t i = 0; i < t.rows; ++i) {
    const std::uint8_t* row = t.codes.data() + i * t.row_bytes();
    std::uint8_t* to = codes.data() + i * t.cols;
    for (std::int64_t j = 0; j < t.cols; ++j)
      to[j] = bytes ? row[j] : static_cast<std::uint8_t>(row[j / 2] >> (j % 2 * 4) & 15);
  }
  return array_of<std::uint8_t>(std::move(codes),
                                {static_cast<std::size_t>(t.rows), static_cast<std::size_t>(t.cols)});
}

nb::object dequantize(const BlockScaledTensor& t, std::string_view dtype, std::string_view device,
                      int threads) {
  const Kernels& kernels = kernels_of(device);
  const Dtype type = dtype_named(dtype);
  return array_of(released(threads, [&] {
    Matrix values = kernels.dequantize(t);
    return type == Dtype::fp32 ? std::move(values) : converted(values.view(), type, kernels);
  }));
}

ByteArray scales_in_layout(const ByteInput& scales, std::int64_t rows, std::int64_t cols,
                           std::string_view layout) {
  const ScaleLayout to = layout_named(layout);
  const ScaleExtent extent = padded(to, rows, cols);
  const std::vector<std::uint8_t> linear = bytes_of(scales, "scales", rows, cols);
  return array_of<std::uint8_t>(to_layout(to, linear, rows, cols), {static_cast<std::size_t>(extent.rows),
                                                                    static_cast<std::size_t>(extent.cols)});
}

ByteArray scales_from_layout(const ByteInput& bytes, std::int64_t rows, std::int64_t cols,
                             std::string_view layout) {
  return array_of<std::uint8_t>(from_layout(layout_named(layout), span_of<std::uint8_t>(bytes), rows, cols),
                                {static_cast<std::size_t>(rows), static_cast<std::size_t>(cols)});
}

void bind_specs(nb::module_& m) {
  nb::class_<Stochastic>(m, "Stochastic")
      .def(
          "__init__",
          [](Stochastic* self, std::string_view rule, std::string_view map, std::uint64_t seed,
             std::uint64_t stream, int rounds, std::int64_t row, std::int64_t col, bool from_caller) {
            new (self) Stochastic(stochastic_of(rule, map, seed, stream, rounds, row, col, from_caller));
          },
          nb::kw_only(), nb::arg("rule") = "carry", nb::arg("map") = "hw", nb::arg("seed") = 0,
          nb::arg("stream") = 0, nb::arg("rounds") = 10, nb::arg("row") = 0, nb::arg("col") = 0,
          nb::arg("from_caller") = false)
      .def_prop_ro("rule", [](const Stochastic& s) { return std::string(name(s.rule)); })
      .def_prop_ro("map", [](const Stochastic& s) { return std::string(name(s.map)); })
      .def_prop_ro("seed", [](const Stochastic& s) { return s.random.seed; })
      .def_prop_ro("stream", [](const Stochastic& s) { return s.random.stream; })
      .def_prop_ro("rounds", [](const Stochastic& s) { return s.random.rounds; })
      .def_prop_ro("row", [](const Stochastic& s) { return s.random.row; })
      .def_prop_ro("col", [](const Stochastic& s) { return s.random.col; })
      .def_ro("from_caller", &Stochastic::from_caller);
  nb::class_<QuantizeSpec>(m, "Spec")
      .def(
          "__init__",
          [](QuantizeSpec* self, std::string_view dialect, std::optional<std::string> block,
             std::optional<std::string> tensor_scale, std::optional<float> amax, int e4m3_max,
             std::string_view select, bool error_fast, std::optional<Stochastic> stochastic) {
            new (self) QuantizeSpec(spec_of(dialect, std::move(block), std::move(tensor_scale), amax,
                                            e4m3_max, select, error_fast, stochastic));
          },
          nb::arg("dialect"), nb::kw_only(), nb::arg("block") = nb::none(),
          nb::arg("tensor_scale") = nb::none(), nb::arg("amax") = nb::none(), nb::arg("e4m3_max") = 448,
          nb::arg("select") = "mae", nb::arg("error_fast") = false, nb::arg("stochastic") = nb::none())
      .def_prop_ro("dialect", [](const QuantizeSpec& s) { return std::string(s.dialect->name); })
      .def_prop_ro("block", [](const QuantizeSpec& s) { return block_name(s.block); })
      .def_prop_ro("block_rows", [](const QuantizeSpec& s) { return s.block.rows; })
      .def_prop_ro("block_cols", [](const QuantizeSpec& s) { return s.block.cols; })
      .def_prop_ro("tensor_scale", [](const QuantizeSpec& s) { return std::string(name(s.tensor_scale)); })
      .def_ro("amax", &QuantizeSpec::amax)
      .def_prop_ro("e4m3_max", [](const QuantizeSpec& s) { return s.four_over_six.e4m3_max; })
      .def_prop_ro("select", [](const QuantizeSpec& s) { return std::string(name(s.four_over_six.select)); })
      .def_prop_ro("error_fast", [](const QuantizeSpec& s) { return s.four_over_six.error_fast; })
      .def_ro("stochastic", &QuantizeSpec::stochastic)
      .def_prop_ro("global_divisor", [](const QuantizeSpec& s) { return global_divisor(s); });
  nb::class_<Producer>(m, "Profile")
      .def(
          "__init__",
          [](Producer* self, const QuantizeSpec& spec, bool columns, int rht, std::string_view signs,
             std::uint64_t seed) { new (self) Producer(profile_of(spec, columns, rht, signs, seed)); },
          nb::arg("spec"), nb::kw_only(), nb::arg("columns") = false, nb::arg("rht") = 0,
          nb::arg("rht_signs") = "te", nb::arg("seed") = 0)
      .def_static("of_producer", &producer_named, nb::arg("name"))
      .def_prop_ro("name", [](const Producer& p) { return std::string(p.name); })
      .def_ro("spec", &Producer::spec)
      .def_ro("columns", &Producer::columns)
      .def_ro("rht", &Producer::rht)
      .def_prop_ro("rht_signs", [](const Producer& p) { return std::string(name(p.signs)); })
      .def_ro("seed", &Producer::seed);
}

}  // namespace

void bind_tensor(nb::module_& m) {
  bind_specs(m);
  nb::class_<BlockScaledTensor>(m, "Tensor")
      .def(
          "__init__",
          [](BlockScaledTensor* self, const QuantizeSpec& spec, std::string_view dtype, std::int64_t rows,
             std::int64_t cols, const ByteInput& packed, const ByteInput& scales,
             const std::optional<FloatInput>& global) {
            new (self) BlockScaledTensor(tensor_of(spec, dtype, rows, cols, packed, scales, global));
          },
          nb::arg("spec"), nb::arg("dtype"), nb::arg("rows"), nb::arg("cols"), nb::arg("packed"),
          nb::arg("scales"), nb::arg("global_scale") = nb::none())
      .def_ro("spec", &BlockScaledTensor::spec)
      .def_prop_ro("dtype", [](const BlockScaledTensor& t) { return std::string(name(t.dtype)); })
      .def_ro("rows", &BlockScaledTensor::rows)
      .def_ro("cols", &BlockScaledTensor::cols)
      .def_prop_ro("packed", &packed_of)
      .def_prop_ro("scales", &scales_of)
      .def_prop_ro("global_scale", &global_of)
      .def("codes", &codes_of);
  m.def("quantize", &quantize_matrix, nb::arg("x"), nb::arg("dtype"), nb::arg("profile"),
        nb::arg("transpose"), nb::arg("random_words").none(), nb::arg("device"), nb::arg("num_threads"));
  m.def("transform_of", &transform_by, nb::arg("profile"), nb::arg("x"), nb::arg("dtype"));
  m.def("dequantize", &dequantize, nb::arg("tensor"), nb::arg("dtype"), nb::arg("device"),
        nb::arg("num_threads"));
  m.def(
      "layout_named", [](std::string_view layout) { return std::string(name(layout_named(layout))); },
      nb::arg("layout"));
  m.def("to_layout", &scales_in_layout, nb::arg("scales"), nb::arg("rows"), nb::arg("cols"),
        nb::arg("layout"));
  m.def("from_layout", &scales_from_layout, nb::arg("scales"), nb::arg("rows"), nb::arg("cols"),
        nb::arg("layout"));
}

}  // namespace nvfp4::python
